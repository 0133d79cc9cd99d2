"""External tensor data: found inside the model's folder only, memory-mapped, never read past its file."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from ronn import knobs
from ronn.frontend.limits import DEFAULTS, Limits
from ronn.frontend.pins import Pins
from ronn.frontend.refused import Refused
from ronn.mapped import MappedFile


class ExternalData:
    """The external files of one model, each mapped once, read-only (or read whole, with RONN_MAP_FILES=0).

    A location may only name a regular file below the model's folder (symlinks resolved). Where the model file is
    itself a symlink, as in download caches, the folder that it leads to counts too. Hard links are read: package
    installers put files in place with them. Where ``pins`` are given, a file is read whole, hashed, and its bytes are
    copied from there. ``used`` bytes of what a model may have are the model file's own.
    """

    def __init__(
        self, model: Path | None, bounds: Limits = DEFAULTS, pins: Pins | None = None, used: int = 0
    ) -> None:
        self.model = model
        self.bounds = bounds
        self.pins = pins
        self.used = used
        self.maps: dict[str, np.ndarray] = {}
        self.paths: list[str] = []

    def __call__(self, entries: dict[str, str], nbytes: int) -> np.ndarray:
        """``nbytes`` bytes as a read-only uint8 array. ValueError when they are not there or may not be read."""
        location = entries.get("location", "")
        offset = _number(entries, "offset", 0)
        length = _number(entries, "length", nbytes)
        if length != nbytes:
            raise ValueError(f"external data of {location!r} has length {length}, but the tensor takes {nbytes} bytes")
        whole = self.map(location)
        if offset > whole.size or length > whole.size - offset:
            raise ValueError(
                f"external data of {location!r} goes from byte {offset} to {offset + length}, "
                f"but the file has {whole.size} bytes"
            )
        found = whole[offset : offset + length]
        return found if self.pins is None else found.copy()

    def map(self, location: str) -> np.ndarray:
        """The whole file at ``location`` as a read-only uint8 array."""
        found = self.maps.get(location)
        if found is None:
            path = self._resolve(location)
            found = self.maps[location] = self._open(location, path)
            self.paths.append(str(path))
        return found

    def _resolve(self, location: str) -> Path:
        if self.model is None:
            raise ValueError(
                f"keeps its data in the external file {location!r}, which can be found only next to a model file: "
                "load the model by its path"
            )
        if not location or "\0" in location:
            raise ValueError(f"external data location {location!r} is not a file name")
        posix, windows = PurePosixPath(location), PureWindowsPath(location)
        if posix.is_absolute() or windows.is_absolute() or windows.drive or location.startswith(("/", "\\")):
            raise ValueError(f"external data location {location!r} is absolute: it must lie in the model's folder")
        if ".." in posix.parts or ".." in windows.parts:
            raise ValueError(f"external data location {location!r} holds '..': it must lie in the model's folder")
        try:
            folders = {self.model.parent.resolve(), self.model.resolve().parent}
            path = (self.model.parent / location).resolve(strict=True)
        except FileNotFoundError:
            raise Refused(
                f"external data file {location!r} is missing in the folder of the model",
                "put it there: a model with external data is several files, to be copied together",
            ) from None
        except (OSError, RuntimeError) as e:
            raise ValueError(f"external data file {location!r} cannot be reached: {e}") from None
        if not any(path.is_relative_to(folder) for folder in folders):
            raise ValueError(f"external data location {location!r} leads out of the model's folder")
        return path

    def _open(self, location: str, path: Path) -> np.ndarray:
        try:
            fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
        except OSError as e:
            raise ValueError(f"external data file {path.name!r} cannot be opened: {e.strerror}") from None
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise ValueError(f"external data file {path.name!r} is not a regular file")
            self.bounds.check_model(self.used + info.st_size, f" with external data file {path.name!r}")
            self.used += info.st_size
            if self.pins is not None:
                with os.fdopen(fd, "rb", closefd=False) as file:
                    data = file.read(info.st_size)
                self.pins.check_external(data, location)
                return np.frombuffer(data, np.uint8)
            if info.st_size == 0:
                return np.empty(0, np.uint8)
            if not knobs.MAP_FILES.get():
                with os.fdopen(fd, "rb", closefd=False) as file:
                    return np.fromfile(file, np.uint8, info.st_size)
            mapped = MappedFile.of(os.dup(fd), str(path))
        except OSError as e:
            raise ValueError(f"external data file {path.name!r} cannot be read: {e.strerror}") from None
        finally:
            os.close(fd)
        return mapped.view(0, len(mapped))


def _number(entries: dict[str, str], key: str, default: int) -> int:
    written = entries.get(key)
    if written is None or written == "":
        return default
    if not (written.isascii() and written.isdigit()) or len(written) > 19:
        raise ValueError(f"external data {key} is {written[:40]!r}, not a number of bytes")
    return int(written)
