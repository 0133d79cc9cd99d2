"""RONN under the name ``onnxruntime``, for this process: imports, ``find_spec`` and the distribution's metadata."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, DistributionFinder
from pathlib import Path
from types import ModuleType
from typing import Any

NAME = "onnxruntime"
_HOME = f"{__package__}.{NAME}"


class _Loader(Loader):
    """Gives the module of RONN that has another module's name; there is only one of each."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(f"{__package__}.{spec.name}")
        self.own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.own


class _Distribution(Distribution):
    """The metadata of the distribution ``onnxruntime`` as far as it is RONN."""

    def read_text(self, filename: str) -> str | None:
        from ronn.compat.onnxruntime.environment import __version__

        if filename in ("METADATA", "PKG-INFO"):
            return (
                f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {__version__}\nSummary: RONN in onnxruntime's place\n"
            )
        return f"{NAME}\n" if filename == "top_level.txt" else None

    def locate_file(self, path: Any) -> Path:
        return Path(__file__).parent / str(path)


class _Finder(DistributionFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != NAME and not fullname.startswith(f"{NAME}."):
            return None
        found = importlib.util.find_spec(f"{__package__}.{fullname}")
        if found is None:
            return None
        is_package = found.submodule_search_locations is not None
        spec = ModuleSpec(fullname, _Loader(), origin=found.origin, is_package=is_package)
        spec.submodule_search_locations = found.submodule_search_locations
        return spec

    def find_distributions(self, context: DistributionFinder.Context | None = None) -> Iterable[Distribution]:
        name = None if context is None else context.name
        return [_Distribution()] if name is None or name.lower() == NAME else []


_CHILDREN = str(Path(__file__).parent / "children")  # holds a sitecustomize, which Python imports when it starts


def install(*, children: bool = False) -> None:
    """From now on ``import onnxruntime`` gives RONN, in this process. Doing it twice is fine.

    children: also in Python programs that this process starts from now on (by ``multiprocessing`` with spawn or
    forkserver, by ``subprocess``), and in theirs: a folder is put on their PYTHONPATH, in ``os.environ``. Forked
    children need nothing; Pythons that are started with -I, -E or -S, or without RONN, stay as they are.

    Raises ImportError when the real onnxruntime, or anything else of that name, has been imported already: whoever did
    has kept it.
    """
    if children:
        _set_path([_CHILDREN, *_path()])
    if any(isinstance(f, _Finder) for f in sys.meta_path):
        return
    present = sys.modules.get(NAME)
    if present is not None and present.__name__ != _HOME:
        where = getattr(present, "__file__", None)
        raise ImportError(
            f"{NAME} {getattr(present, '__version__', '')} has been imported already, from {where}: "
            "call ronn.compat.install() before anything imports it, or start the program with `python -m ronn.compat`",
            name=NAME,
            path=where,
        )
    sys.meta_path.insert(0, _Finder())
    importlib.invalidate_caches()


def uninstall() -> None:
    """Undoes ``install``: later imports find whatever is installed under the name. What was imported stays in use."""
    _set_path(_path())
    sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, _Finder)]
    for name in [n for n in sys.modules if n == NAME or n.startswith(f"{NAME}.")]:
        if sys.modules[name].__name__.startswith(_HOME):
            del sys.modules[name]


def _path() -> list[str]:
    """PYTHONPATH without the folder that is for children."""
    return [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p not in ("", _CHILDREN)]


def _set_path(folders: list[str]) -> None:
    if folders:
        os.environ["PYTHONPATH"] = os.pathsep.join(folders)
    else:
        os.environ.pop("PYTHONPATH", None)


def installed() -> bool:
    """Whether RONN answers to the name now."""
    return any(isinstance(f, _Finder) for f in sys.meta_path)
