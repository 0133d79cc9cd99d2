"""Where fetched archives and models lie, and writes that are either whole or absent."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "RONN_ZOO_CACHE"


class ZooError(Exception):
    """A model cannot be had; the message says why and what to do."""


class ChecksumError(ZooError):
    """A file is not the one that the manifest names."""


def cache_root() -> Path:
    """The cache folder: RONN_ZOO_CACHE, else `ronn/zoo` in the platform's cache folder."""
    override = os.environ.get(CACHE_VARIABLE)
    if override is not None and override != "":
        return Path(override).expanduser()
    return Path(platformdirs.user_cache_dir("ronn")) / "zoo"


def archives_folder() -> Path:
    return cache_root() / "archives"


def model_folder(name: str) -> Path:
    return cache_root() / "models" / name


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def require_sha256(path: Path, expected: str, what: str) -> None:
    """Raises ChecksumError, and leaves the file alone, when `path` has another digest than `expected`."""
    actual = sha256_of(path)
    if actual != expected:
        raise ChecksumError(f"{what}: sha256 is {actual}, the manifest says {expected}; the file was refused")


@contextmanager
def replaced_file(target: Path) -> Iterator[Path]:
    """Yields a temporary path beside `target`; it becomes `target` when the block ends without an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(target: Path, write: Callable[[Path], None]) -> Path:
    with replaced_file(target) as temporary:
        write(temporary)
    return target
