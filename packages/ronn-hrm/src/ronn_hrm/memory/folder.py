"""The folder that memory lives in: made private, held by one process at a time, written to without half-made files."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from ronn.forks import renew_after_fork
from ronn_hrm.errors import StateError

DATABASE = "memory.sqlite"
LOCK = "LOCK"
RESTORING = "RESTORING"
"""Is there while a snapshot is being put in place of what was kept."""


def prepare(folder: str | os.PathLike[str]) -> Path:
    """Makes the folder (mode 0700) where it is missing. StateError where it cannot be made or written to."""
    path = Path(folder)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as e:
        raise StateError(f"memory folder {path}: {_why(e)}", hint="name a folder that this user may write to") from e
    if not os.access(path, os.W_OK | os.X_OK):
        raise StateError(f"memory folder {path} cannot be written to", hint="name a folder that this user may write to")
    return path


class FolderLock:
    """Holds ``folder`` for this object alone, in this process and others, until ``release`` or the process's end.

    StateError where it is held already. A child process that is forked later does not hold it.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / LOCK
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        except OSError as e:
            raise StateError(
                f"memory folder {folder}: {_why(e)}", hint="name a folder that this user may write to"
            ) from e
        if not _try_lock(self._file):
            holder = os.read(self._file, 32).decode("ascii", "replace").strip()
            os.close(self._file)
            who = f"process {holder}" if holder.isdigit() and int(holder) != os.getpid() else "another session"
            raise StateError(
                f"memory folder {folder} is in use by {who}",
                hint="one session at a time: close the other, or give this one a folder of its own",
            )
        os.ftruncate(self._file, 0)
        os.write(self._file, str(os.getpid()).encode())
        renew_after_fork(self)

    def after_fork(self) -> None:
        """In a child process, whose handle would keep the hold when the parent has let go."""
        self.release()

    def release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def write_file(path: Path, data: bytes, *, sync: bool = True) -> None:
    """``data`` in place of the file at ``path``, at once: a reader, and a crash, find the old one or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(data)
            out.flush()
            if sync:
                os.fsync(out.fileno())
        os.replace(beside, path)
        if sync:
            sync_folder(path.parent)
    except OSError as e:
        beside.unlink(missing_ok=True)
        raise StateError(f"{path} cannot be written: {_why(e)}", hint="make room, or name another folder") from e


def linked(source: Path, target: Path, data: bytes) -> bool:
    """Makes ``target`` another name of ``source``, where that holds ``data``. False: it does not, or cannot be."""
    try:
        if source.read_bytes() != data:
            return False
        os.link(source, target)
    except (OSError, NotImplementedError):
        return False
    return True


def make_private(path: Path) -> None:
    """Makes the file (mode 0600) before SQLite would, with another mode; its journals take this one over."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        os.chmod(path, 0o600)
    except OSError as e:
        raise StateError(f"{path}: {_why(e)}", hint="name a folder that this user may write to") from e


def readonly(folder: Path | None) -> StateError:
    """What is raised where something is to be written that was opened to be read."""
    return StateError(f"memory folder {folder} was opened to be read only", hint="open it without readonly=True")


def sync_folder(folder: Path) -> None:
    """Makes the names in ``folder`` survive a loss of power."""
    if sys.platform == "win32":
        return  # a folder cannot be opened there, and renames are journaled
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_tree(folder: Path) -> None:
    """Removes a folder so that no half of it is ever found under its name."""
    aside = folder.with_name(f".{folder.name}.gone")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        os.rename(folder, aside)
    except FileNotFoundError:
        return
    except OSError as e:
        raise StateError(f"{folder} cannot be removed: {_why(e)}") from e
    shutil.rmtree(aside, ignore_errors=True)


def _why(error: OSError) -> str:
    return error.strerror if error.strerror is not None else str(error)


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: int) -> bool:
        try:
            os.lseek(file, 1 << 20, os.SEEK_SET)  # past the text, which others are to be able to read
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(file, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _try_lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
