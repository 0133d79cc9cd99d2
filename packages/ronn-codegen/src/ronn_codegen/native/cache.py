"""The machine-code cache: image files in a folder per machine, written whole or not at all.

Several processes may write at once: each writes a file of its own and moves it into place. A file that is cut off or
damaged is noticed by its length and checksum, and made again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ronn.host import cache_folder
from ronn_codegen.native.image import Image, Mapped, check_file, map_file, map_image

ABOUT = "machine.txt"
_ABANDONED = 3600.0  # seconds after which a temporary file is nobody's any more


class CodeCache:
    """Images by name. A folder that cannot be written to is no error: code then lives in memory only."""

    def __init__(self, folder: Path, about: str = "") -> None:
        self.folder = folder
        self.about = about
        self._made = False
        self._own = False

    @classmethod
    def of(cls, machine_key: str, about: str = "") -> CodeCache:
        """The cache of code for a machine, in the user's cache folder. ``about`` is kept with it, for people."""
        return cls(code_folder() / machine_key, about)

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.img"

    @contextmanager
    def compiling(self) -> Iterator[None]:
        """Held by the one process that fills the cache; the others wait, and then find what it made. Ends with the
        process that holds it; where files cannot be locked, nobody waits."""
        try:
            self._make_folder()
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
        if not self._is_own():
            return None
        try:
            return map_file(self.path(name))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def store(self, name: str, image: Image) -> Mapped:
        """Writes the image and maps it."""
        import tempfile

        temporary = None
        try:
            self._make_folder()
            handle, temporary = tempfile.mkstemp(prefix=f".{name}.img.", dir=self.folder)
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

    def _is_own(self) -> bool:
        """Whether nobody else can put files in place. The folder is closed to others where that can be done."""
        if not self._own and hasattr(os, "getuid"):
            try:
                status = self.folder.stat()
                if status.st_uid == os.getuid() and status.st_mode & 0o077:
                    self.folder.chmod(0o700)
                    status = self.folder.stat()
            except OSError:
                return False
            self._own = status.st_uid == os.getuid() and not status.st_mode & 0o022
            return self._own
        return True

    def _make_folder(self) -> None:
        """The folder, readable by its owner only; what processes that were killed left in it goes. OSError where it
        cannot be made, or is somebody else's."""
        if self._made and self.folder.is_dir():
            return
        for folder in (self.folder.parent.parent, self.folder.parent, self.folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._is_own():
            raise PermissionError(f"{self.folder} belongs to another user")
        about = self.folder / ABOUT
        if self.about and not about.exists():
            about.write_text(self.about + "\n", encoding="utf-8")
        for left in self.folder.glob(".*.img.*"):
            try:
                if time.time() - left.stat().st_mtime > _ABANDONED:
                    left.unlink()
            except OSError:
                pass  # somebody else was quicker
        self._made = True


def code_folder() -> Path:
    """Where machine code is kept, in a folder per machine."""
    return cache_folder() / "code"


def problem(path: Path) -> str:
    """What is wrong with an image file; empty when it is sound."""
    try:
        check_file(path)
    except (OSError, ValueError, KeyError, TypeError) as e:
        return str(e) if str(e) else type(e).__name__
    return ""
