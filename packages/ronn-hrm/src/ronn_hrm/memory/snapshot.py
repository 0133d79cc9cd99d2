"""Snapshots: all of a memory, as it is at one moment, in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

from ronn_hrm.errors import StateError
from ronn_hrm.memory import folder as folders
from ronn_hrm.memory.archive import StateArchive
from ronn_hrm.memory.database import check_kind, connect, explain
from ronn_hrm.memory.episodic import EpisodicStore
from ronn_hrm.memory.settings import Memory


def snapshot(store: EpisodicStore, archive: StateArchive, folder: str | os.PathLike[str]) -> Path:
    """Copies episodes, log, counters, key, and all states, into a new folder; the session may go on meanwhile.

    It is there whole or not at all, can be opened as the folder of a memory, and holds the secret key. StateError where
    the folder is there already, or cannot be written.
    """
    home = Path(folder)
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise StateError(f"{home} is there already", hint="name a new folder for the snapshot")
    beside = home.with_name(f".{home.name}.{os.getpid()}.new")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        copy = StateArchive(beside)
        current = archive.current()
        for id in archive.ids():
            copy.save(archive.load(id))
        if current is not None:
            copy.promote(current)
        store.backup(beside / folders.DATABASE)
        try:
            os.replace(beside, home)
            folders.sync_folder(home.absolute().parent)
        except OSError as e:
            raise StateError(f"{home} cannot be written: {e.strerror}", hint="name another folder") from e
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return home


def restore(source: str | os.PathLike[str], folder: str | os.PathLike[str]) -> None:
    """Puts a snapshot in place of the memory in ``folder``, which no session may have open.

    Where it is interrupted the folder cannot be opened until it is restored again; nothing is mixed.
    """
    source, home = Path(source), folders.prepare(folder)
    given, current = _given(source)
    lock = folders.FolderLock(home)
    try:
        folders.write_file(home / folders.RESTORING, f"{source.absolute()}\n".encode())
        archive = StateArchive(home)
        for id in given.ids():
            archive.save(given.load(id))
        _copy_database(source / folders.DATABASE, home / folders.DATABASE)
        if current is not None:
            archive.promote(current)
        else:
            (home / "CURRENT").unlink(missing_ok=True)
        kept = set(given.ids())
        for id in archive.ids():
            if id not in kept:
                archive.remove(id)
        (home / folders.RESTORING).unlink()
        folders.sync_folder(home)
    finally:
        lock.release()


def open_copy(source: str | os.PathLike[str], settings: Memory | None = None) -> tuple[EpisodicStore, StateArchive]:
    """A memory in this process that begins as a snapshot is; the snapshot stays as it is."""
    source = Path(source)
    given, current = _given(source)
    archive = StateArchive()
    for id in given.ids():
        archive.save(given.load(id))
    if current is not None:
        archive.promote(current)
    return EpisodicStore(None, settings, begin=source / folders.DATABASE), archive


def _given(source: Path) -> tuple[StateArchive, str | None]:
    """The states of a snapshot, and the id of the one that serves. StateError where it is not whole."""
    if not (source / folders.DATABASE).is_file():
        raise StateError(f"{source} holds no snapshot", hint="name the folder that snapshot() was given")
    archive = StateArchive(source, readonly=True)
    current = archive.current()
    if current is not None:
        archive.load(current)
    return archive, current


def _copy_database(source: Path, target: Path) -> None:
    folders.make_private(target)
    try:
        with contextlib.closing(connect(source, readonly=True)) as old, contextlib.closing(connect(target)) as new:
            check_kind(old, source)
            old.backup(new)
            new.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as e:
        raise explain(e, target) from e
