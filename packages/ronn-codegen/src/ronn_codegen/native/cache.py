"""The machine-code cache: image files in a folder per machine, written whole or not at all.

Several processes may write at once: each writes a file of its own and moves it into place. A file that is cut off or
damaged is noticed by its length and checksum, and made again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ronn.host import cache_folder
from ronn_codegen.native.image import Image, Mapped, map_file, map_image


class CodeCache:
    """Images by name. A folder that cannot be written to is no error: code then lives in memory only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, machine_key: str) -> CodeCache:
        """The cache of code for a machine, in the user's cache folder."""
        return cls(cache_folder() / "code" / machine_key)

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.img"

    @contextmanager
    def compiling(self) -> Iterator[None]:
        """Held by the one process that fills the cache; the others wait, and then find what it made. Ends with the
        process that holds it; where files cannot be locked, nobody waits."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = open(self.folder / ".lock", "a")  # noqa: SIM115
        except OSError:
            yield
            return
        with file:
            try:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX)
            except (ImportError, OSError):
                pass
            yield

    def load(self, name: str) -> Mapped | None:
        """The image in executable memory; None when there is no sound file of that name."""
        try:
            return map_file(self.path(name))
        except (OSError, ValueError):
            return None

    def store(self, name: str, image: Image) -> Mapped:
        """Writes the image and maps it."""
        temporary = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=self.folder)
            with os.fdopen(handle, "wb") as f:
                f.write(image.pack())
            os.replace(temporary, self.path(name))
            temporary = None
        except OSError:
            return map_image(image)
        finally:
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)
        found = self.load(name)
        return map_image(image) if found is None else found
