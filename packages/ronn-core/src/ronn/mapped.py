"""Model files whose bytes are constants: mapped read-only, held against what they were, given back when they are read.

A view of a mapped file costs no memory of its own: its pages come from the file when they are read, and can be given
back at once. That holds as long as nobody writes the file. A file that was replaced by another one of its name stays as
it was; one that was overwritten or cut in place is found out by its size and time of change before it is read again.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ronn import knobs
from ronn.errors import ModelError

MIN_MAPPED = 2**14  # bytes of a constant worth mapping
MIN_IN_PLACE = 2**20  # bytes of a mapped constant that runs read where it lies; smaller ones are copied for them
_CAN_GIVE_BACK = hasattr(mmap, "MADV_DONTNEED")

FileState = tuple[int, int, int, int]
"""Device, inode, size in bytes, time of change in ns: what tells a file from another one without reading it."""


def state_of(path: str) -> FileState:
    """The state of the file at ``path`` now. OSError where there is none."""
    info = os.stat(path)
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns


class MappedFile(mmap.mmap):
    """A regular file, mapped read-only. Arrays made of it keep it, and its descriptor, open."""

    _fd: int
    _name: str
    _state: tuple[int, int]
    _key: tuple[int, ...]

    @classmethod
    def of(cls, fd: int, name: str) -> MappedFile:
        """Maps an open file, whose descriptor then belongs to the mapping. OSError or ValueError when that fails."""
        try:
            made = cls(fd, 0, access=mmap.ACCESS_READ)
        except BaseException:
            os.close(fd)
            raise
        made._fd, made._name = fd, name
        info = os.fstat(fd)
        made._state = _state(fd)
        made._key = (info.st_dev, info.st_ino, *made._state)
        if made._state[0] < len(made):
            raise OSError("the file became shorter while it was read")
        return made

    def __del__(self) -> None:
        fd = getattr(self, "_fd", -1)
        if fd >= 0:
            os.close(fd)

    def check(self) -> None:
        """Raises ModelError when the file has been written since it was loaded."""
        if _state(self._fd) != self._state:
            raise ModelError(
                f"{self._name}: was written after it was loaded, and its constants are needed again",
                hint="load it anew; a file that is replaced (written elsewhere, then renamed) does no harm, and "
                "RONN_MAP_FILES=0 reads files whole",
            )

    @property
    def key(self) -> tuple[int, ...]:
        """Which file this is, in the state that it was loaded in."""
        return self._key

    def offset_of(self, array: np.ndarray) -> int:
        """Where in the file the first element of a view of it lies."""
        start: int = np.frombuffer(self, np.uint8, 1).ctypes.data
        return int(array.ctypes.data) - start

    def view(self, offset: int, length: int) -> np.ndarray:
        """Bytes of the file as a read-only uint8 array."""
        return np.frombuffer(self, np.uint8, length, offset)

    def give_back(self, offset: int = 0, length: int | None = None) -> None:
        """Gives the memory of these bytes, and of what shares their pages, back to the system."""
        if _CAN_GIVE_BACK:
            start = offset - offset % mmap.PAGESIZE
            end = len(self) if length is None else offset + length
            self.madvise(mmap.MADV_DONTNEED, start, end - start)


def may_map() -> bool:
    """Whether this system can give back what it mapped, and nobody forbade it."""
    return _CAN_GIVE_BACK and knobs.MAP_FILES.get()


def open_mapped(path: Path) -> MappedFile:
    """Maps the file at ``path``. OSError or ValueError when it cannot be."""
    return MappedFile.of(os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)), str(path))


def _state(fd: int) -> tuple[int, int]:
    info = os.fstat(fd)
    return info.st_size, info.st_mtime_ns


def file_of(array: np.ndarray) -> MappedFile | None:
    """The file that an array is a view of; None for one with memory of its own."""
    base = array.base
    while isinstance(base, (np.ndarray, memoryview)):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return base if isinstance(base, MappedFile) else None


def files_of(arrays: Iterable[np.ndarray]) -> tuple[MappedFile, ...]:
    """The files that arrays are views of, each once."""
    return tuple({id(f): f for a in arrays if (f := file_of(a)) is not None}.values())


def give_back(array: np.ndarray) -> None:
    """Gives the memory of an array that is a view of a file back; the next to read it reads the file again."""
    file = file_of(array)
    if file is not None and array.nbytes >= mmap.PAGESIZE:
        low, high = np.lib.array_utils.byte_bounds(array)
        start = np.frombuffer(file, np.uint8, 1).ctypes.data
        file.give_back(low - start, high - low)


_copies: dict[int, tuple[weakref.ref[np.ndarray], weakref.ref[np.ndarray]]] = {}


def for_runs(array: np.ndarray, *, aligned: bool = False) -> np.ndarray:
    """The constant as runs may read it: a copy of what lies in a file, unless it is large (and aligned, if it must be).

    The same copy again while it and ``array`` are alive.
    """
    file = file_of(array)
    if file is None or (array.nbytes >= MIN_IN_PLACE and (array.flags.aligned or not aligned)):
        return array
    found = _copies.get(id(array))
    if found is not None:
        source, copy = found[0](), found[1]()
        if source is array and copy is not None:
            return copy
    made = array.copy()
    made.flags.writeable = False
    place = id(array)
    _copies[place] = (weakref.ref(array), weakref.ref(made, lambda _: _copies.pop(place, None)))
    return made
