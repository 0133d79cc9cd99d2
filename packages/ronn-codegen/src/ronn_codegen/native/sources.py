"""What machine code depends on: the text of a kernel module and of everything of RONN's that it imports."""

from __future__ import annotations

import hashlib
import os
import re
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from ronn_codegen.native.declare import Signature

_IMPORT = re.compile(
    r"^(?:from\s+(ronn_\w+(?:\.\w+)*)\s+import\s+(\([^)]*\)|[^\n]+)|import\s+(ronn_\w+(?:\.\w+)*))", re.M
)
_DECLARED = re.compile(r'@native\(\s*((?:"[^"]*"\s*)+),?\s*\)')
_ALWAYS = ("ronn_codegen.native.compiler", "ronn_codegen.native.declare", "ronn_codegen.native.machine")


@lru_cache(maxsize=512)
def path_of(module: str) -> Path | None:
    """The source file of a module, found without importing it; None when there is none."""
    package, *inner = module.split(".")
    spec = _package(package)
    if spec is None:
        return None
    if not inner:
        return None if spec.origin is None else Path(spec.origin)
    for folder in () if spec.submodule_search_locations is None else spec.submodule_search_locations:
        place = os.path.join(folder, *inner)
        for file in (place + ".py", os.path.join(place, "__init__.py")):
            if os.path.isfile(file):
                return Path(file)
    return None


@lru_cache(maxsize=64)
def _package(name: str) -> ModuleSpec | None:
    return PathFinder.find_spec(name)


@lru_cache(maxsize=512)
def _text(module: str) -> str | None:
    path = path_of(module)
    return None if path is None else path.read_text(encoding="utf-8")


@lru_cache(maxsize=512)
def _imports(module: str) -> tuple[str, ...]:
    text = _text(module)
    found: list[str] = []
    for package, names, plain in _IMPORT.findall(text if text is not None else ""):
        if plain:
            found.append(plain)
            continue
        found.append(package)
        words = re.findall(r"\w+", re.sub(r"\bas\s+\w+|#.*", "", names))
        found += [f"{package}.{w}" for w in words if path_of(f"{package}.{w}") is not None]
    return tuple(found)


def _reached(*modules: str) -> list[str]:
    """The modules, and all of RONN's that they import."""
    seen: set[str] = set()
    todo = [*modules]
    while todo:
        name = todo.pop()
        if name not in seen and _text(name) is not None:
            seen.add(name)
            todo += _imports(name)
    return sorted(seen)


@lru_cache(maxsize=512)
def digest(module: str) -> str:
    """A key of the machine code of ``module``: its sources and the versions of the compilers."""
    h = hashlib.sha256(_compilers().encode())
    for name in _reached(module, *_ALWAYS):
        h.update(f"\0{name}\0{_text(name)}".encode())
    return h.hexdigest()[:24]


def length(module: str) -> int:
    """Characters of ``module`` and of what it imports: tells roughly which of two modules takes longer to compile."""
    return sum(len(text) for name in _reached(module) if (text := _text(name)) is not None)


@lru_cache(maxsize=1)
def _compilers() -> str:
    """What tells one version of the compilers from another."""
    return " ".join(map(_version, ("numba", "llvmlite")))


def _version(package: str) -> str:
    text = _text(f"{package}._version")
    if text is not None:
        return text
    from importlib import metadata

    return metadata.version(package)


@lru_cache(maxsize=256)
def signatures(module: str) -> dict[str, Signature]:
    """The kernels that the text of ``module`` declares, by name. ModuleNotFoundError when there is no such module."""
    text = _text(module)
    if text is None:
        raise ModuleNotFoundError(f"there is no kernel module {module!r}", name=module)
    forms = ("".join(re.findall(r'"([^"]*)"', quoted)) for quoted in _DECLARED.findall(text))
    return {s.name: s for s in map(Signature.parse, forms)}


def kernel_modules(package: str) -> list[str]:
    """The kernel modules directly in a package, found without importing them: those whose text declares a kernel."""
    path = path_of(package)
    if path is None:
        raise ModuleNotFoundError(f"there is no package {package!r}", name=package)
    names = sorted(f"{package}.{file.stem}" for file in path.parent.glob("*.py") if file.stem != "__init__")
    return [name for name in names if signatures(name)]


def forget() -> None:
    """Reads sources again at the next question (they changed on disk)."""
    for cached in (path_of, _package, _text, _imports, digest, signatures):
        cached.cache_clear()
