"""The entry points of a group, read from the folders of the distributions that are installed.

``importlib.metadata`` does as much for every way to install something, and takes longer to import than a small model to
load: it is asked where there is more on the path than folders.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from functools import reduce
from importlib import import_module
from importlib.machinery import PathFinder
from typing import Any

from ronn.records import dataclass

UNKNOWN = "?"
_VALUE = re.compile(r"([\w.]+)\s*(?::\s*([\w.]+)\s*)?(?:\[.*\]\s*)?$")
_NAME, _VERSION = (re.compile(rf"^{field}: *(\S+)", re.M) for field in ("Name", "Version"))


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """``module:attribute`` under a name, and the distribution that has it."""

    name: str
    value: str
    distribution: str = UNKNOWN
    version: str = UNKNOWN

    def load(self) -> Any:
        """What the entry point names. ValueError for one that is malformed, else whatever the import raises."""
        found = _VALUE.match(self.value)
        if found is None:
            raise ValueError(f"{self.value!r} is no entry point: it should read module:attribute")
        return reduce(getattr, found[2].split(".") if found[2] else (), import_module(found[1]))


def entry_points(group: str) -> list[EntryPoint]:
    """The entry points of a group; of several distributions with one name those of the first on the path."""
    return list(_in_folders(group)) if _only_folders() else _by_metadata(group)


def _only_folders() -> bool:
    finders = (f for f in sys.meta_path if f is not PathFinder)
    return not any(hasattr(f, "find_distributions") for f in finders) and not any(
        path.endswith(".egg") or os.path.isfile(path) for path in sys.path
    )


def _in_folders(group: str) -> Iterator[EntryPoint]:
    seen: set[str] = set()
    for folder in sys.path:
        try:
            names = os.listdir(folder if folder else ".")
        except OSError:
            continue
        for name in names:
            stem, _, kind = name.rpartition(".")
            if kind not in ("dist-info", "egg-info"):
                continue
            project = re.sub(r"[-_.]+", "-", stem.partition("-")[0]).lower()
            if project not in seen:
                seen.add(project)
                yield from _in_distribution(os.path.join(folder, name), group)


def _in_distribution(folder: str, group: str) -> Iterator[EntryPoint]:
    text = _read(folder, "entry_points.txt")
    if f"[{group}]" not in text:
        return
    about = _read(folder, "METADATA") or _read(folder, "PKG-INFO")
    name, version = (found[1] if (found := p.search(about)) else UNKNOWN for p in (_NAME, _VERSION))
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif section == group and "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            yield EntryPoint(key.strip(), value.strip(), name, version)


def _read(folder: str, file: str) -> str:
    try:
        with open(os.path.join(folder, file), encoding="utf-8") as f:
            return f.read()
    except OSError:  # distributions need not have the file, nor be folders
        return ""


def _by_metadata(group: str) -> list[EntryPoint]:
    from importlib import metadata

    return [
        EntryPoint(p.name, p.value) if p.dist is None else EntryPoint(p.name, p.value, p.dist.name, p.dist.version)
        for p in metadata.entry_points(group=group)
    ]
