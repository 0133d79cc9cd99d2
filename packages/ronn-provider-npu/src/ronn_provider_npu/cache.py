"""Compiled programs on disk: files in a folder per device and driver, written whole or not at all.

A file holds what a device's compiler made of some kernels, and says of which. Kernels that are compiled together are
kept together: compilers take about as long for one as for fifty. What is cut off or damaged is noticed by its length
and checksum, and made again. Drivers get nothing to read that was not written by this user.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ronn.host import cache_folder
from ronn.provider.contract import CachedFile
from ronn.records import dataclass

_MAGIC = b"RONNCL01"
_HEAD = struct.Struct("<8sQQ32s")  # magic, bytes of the description, bytes of the program, sha256 of both
ABOUT = "device.txt"
_ABANDONED = 3600.0  # seconds after which a temporary file is nobody's any more


@dataclass(frozen=True, slots=True)
class Packed:
    """A file: which kernels (by the hash of their text) it holds under which names."""

    path: Path
    kernels: Mapping[str, str]


class ProgramCache:
    """Programs of one device with one driver. A folder that cannot be used is no error: nothing is kept then.

    about: what tells the device and its driver from others; part of what files are found by.
    """

    def __init__(self, about: str, folder: Path | None = None) -> None:
        root = programs_folder() if folder is None else folder
        self.folder = root / hashlib.sha256(about.encode()).hexdigest()[:16]
        self.about = about
        self._own = False

    def packs(self) -> list[Packed]:
        """The files that there are."""
        if not self._is_own():
            return []
        found = []
        for path in self.folder.glob("*.bin"):
            try:
                with open(path, "rb") as f:
                    magic, described, _, _ = _HEAD.unpack(f.read(_HEAD.size))
                    if magic == _MAGIC and described < 1 << 24:
                        found.append(Packed(path, json.loads(f.read(described))["kernels"]))
            except (OSError, ValueError, KeyError, TypeError, struct.error):
                continue  # made again
        return found

    def find(self, wanted: Iterable[str]) -> list[Packed]:
        """Files that together hold as many as there are of the kernels wanted; few of them."""
        left, chosen, packs = set(wanted), [], self.packs()
        while left:
            best = max(packs, key=lambda p: len(left & p.kernels.keys()), default=None)
            if best is None or not left & best.kernels.keys():
                break
            chosen.append(best)
            left -= best.kernels.keys()
        return chosen

    def load(self, packed: Packed) -> bytes | None:
        """The program of a file; None, and the file is gone, where it is not sound."""
        try:
            return read(packed.path)
        except (OSError, ValueError):
            packed.path.unlink(missing_ok=True)
            return None

    def drop(self, packed: Packed) -> None:
        """Deletes a file that the driver did not take."""
        packed.path.unlink(missing_ok=True)

    def store(self, kernels: Mapping[str, str], program: bytes) -> bool:
        """Writes a program; whether it is there now."""
        described = json.dumps({"kernels": dict(kernels), "about": self.about}).encode()
        digest = hashlib.sha256(described + program).digest()
        name = hashlib.sha256("\n".join(sorted(kernels)).encode()).hexdigest()[:32]
        temporary = None
        try:
            self._make_folder()
            handle, temporary = tempfile.mkstemp(prefix=f".{name}.bin.", dir=self.folder)
            with os.fdopen(handle, "wb") as f:
                f.write(_HEAD.pack(_MAGIC, len(described), len(program), digest) + described + program)
            os.replace(temporary, self.folder / f"{name}.bin")
            return True
        except OSError:
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)
            return False

    def _is_own(self) -> bool:
        """Whether nobody else can put files in place."""
        if not self._own:
            try:
                status = self.folder.stat()
                if hasattr(os, "getuid"):
                    if status.st_uid == os.getuid() and status.st_mode & 0o077:
                        self.folder.chmod(0o700)
                        status = self.folder.stat()
                    self._own = status.st_uid == os.getuid() and not status.st_mode & 0o022
                else:
                    self._own = True
            except OSError:
                return False
        return self._own

    def _make_folder(self) -> None:
        """The folder, for its owner only. OSError where it cannot be made, or is somebody else's."""
        if self._own and self.folder.is_dir():
            return
        for folder in (self.folder.parent.parent, self.folder.parent, self.folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._is_own():
            raise PermissionError(f"{self.folder} belongs to another user")
        about = self.folder / ABOUT
        if not about.exists():
            about.write_text(self.about + "\n", encoding="utf-8")
        for left in self.folder.glob(".*.bin.*"):
            try:
                if time.time() - left.stat().st_mtime > _ABANDONED:
                    left.unlink()
            except OSError:
                pass  # somebody else was quicker


def programs_folder() -> Path:
    """Where compiled programs are kept, in a folder per device and driver."""
    return cache_folder() / "opencl"


def read(path: Path) -> bytes:
    """The program of a file. ValueError, saying what is wrong, for one that is not sound; OSError."""
    data = path.read_bytes()
    if len(data) < _HEAD.size:
        raise ValueError("it is cut off")
    magic, described, size, digest = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        raise ValueError("it is no program of this version")
    body = data[_HEAD.size :]
    if len(body) != described + size:
        raise ValueError(f"it has {len(body)} bytes behind its head, not {described + size}")
    if hashlib.sha256(body).digest() != digest:
        raise ValueError("its checksum is wrong")
    return body[described:]


def problem(path: Path) -> str:
    """What is wrong with a file; empty when it is sound."""
    try:
        read(path)
    except (OSError, ValueError) as e:
        return str(e)
    return ""


def cached_files(current: Sequence[str]) -> list[CachedFile]:
    """All files; ``current`` are what tells the devices of this process from others."""
    here = {hashlib.sha256(about.encode()).hexdigest()[:16] for about in current}
    found = []
    for path in sorted(programs_folder().glob("*/*.bin")):
        try:
            group = (path.parent / ABOUT).read_text(encoding="utf-8").strip().splitlines()[0]
        except (OSError, IndexError):
            group = path.parent.name
        found.append(CachedFile(path, group, path.parent.name in here))
    return found
