"""The SQLite file of memory: its tables, and what is done to them."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ronn.errors import RonnError
from ronn.forks import renew_after_fork
from ronn.records import dataclass
from ronn_hrm.errors import StateError
from ronn_hrm.memory import folder as folders
from ronn_hrm.memory.codec import pack, to_bytes
from ronn_hrm.memory.episode import Episode
from ronn_hrm.memory.settings import Memory

APPLICATION = 0x524F4E48  # "RONH"
SCHEMA = 1

_TABLES = """
CREATE TABLE entries (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE episodes (
    request INTEGER PRIMARY KEY, bytes INTEGER NOT NULL, role TEXT NOT NULL, epoch INTEGER NOT NULL, at REAL NOT NULL,
    digest BLOB NOT NULL, namespace TEXT NOT NULL, client TEXT NOT NULL, state TEXT NOT NULL, path TEXT NOT NULL,
    score REAL, lam REAL, loss REAL, features BLOB NOT NULL, embedding BLOB, fast BLOB, full BLOB, inputs BLOB);
CREATE INDEX episodes_by_role ON episodes (role, epoch, request, bytes);
CREATE INDEX episodes_by_digest ON episodes (digest);
CREATE TABLE names (id INTEGER PRIMARY KEY, names TEXT UNIQUE NOT NULL);
CREATE TABLE requests (
    id INTEGER PRIMARY KEY, bytes INTEGER NOT NULL, at REAL NOT NULL, digest BLOB NOT NULL, namespace TEXT NOT NULL,
    path TEXT NOT NULL, role TEXT NOT NULL, score REAL, lam REAL, state TEXT NOT NULL, names INTEGER NOT NULL,
    features BLOB NOT NULL, neighbours BLOB NOT NULL, seconds REAL NOT NULL);
CREATE TABLE feedback (request INTEGER PRIMARY KEY, value TEXT NOT NULL);
CREATE TRIGGER feedback_goes AFTER DELETE ON requests BEGIN DELETE FROM feedback WHERE request = OLD.id; END;
CREATE TABLE exact (
    namespace TEXT NOT NULL, digest BLOB NOT NULL, at REAL NOT NULL, outputs BLOB NOT NULL,
    PRIMARY KEY (namespace, digest)) WITHOUT ROWID;
"""
# The history of a stream is in the file too, and may be there first.
_TABLES_THERE = "SELECT COUNT(*) FROM sqlite_master WHERE name NOT LIKE 'history_%' AND name NOT LIKE 'sqlite_%'"
_PUT_EPISODE = f"INSERT OR REPLACE INTO episodes VALUES ({', '.join('?' * 18)})"
_PUT_REQUEST = f"INSERT OR REPLACE INTO requests VALUES ({', '.join('?' * 14)})"
_PUT_ENTRY = "INSERT OR REPLACE INTO entries VALUES (?, ?)"
_ROW = 160  # bytes of a row beside what it holds of variable length

_UNFIT = (TypeError, ValueError, OverflowError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
"""What SQLite raises of values that it has no form for."""
_SLACK = 0.98
"""What is over a bound is brought down to this part of it, so that not every batch has to."""


@dataclass(frozen=True, slots=True)
class Job:
    """Something to do in turn with what is written: ``do(database)``, whose result goes to ``done``."""

    do: Callable[[Database], Any]
    done: list[Any]


def explain(error: sqlite3.Error, where: Path | None) -> StateError:
    """The error of SQLite as one that names the file and the cure."""
    text = str(error)
    name = "memory" if where is None else str(where)
    if "full" in text:
        hint = "make room on the disk; what is not written yet is kept and tried again"
    elif "readonly" in text or "unable to open" in text:
        hint = "name a folder that this user may write to"
    elif "not a database" in text or "malformed" in text:
        hint = "it is damaged or another program's: restore a snapshot, or remove the file and begin anew"
    elif "locked" in text:
        hint = "another program holds the file; end it"
    else:
        hint = "restore a snapshot, or remove the file and begin anew"
    return StateError(f"{name}: {text}", hint=hint)


class Database:
    """The tables, on a connection that only one thread at a time may use.

    path: of the file, or None for one in this process's memory. clock: gives seconds since 1970. begin: a file that one
    in this process's memory begins as.
    """

    def __init__(
        self, path: Path | None, settings: Memory, clock: Callable[[], float], begin: Path | None = None
    ) -> None:
        self.path = path
        self.settings = settings
        self.clock = clock
        self.lock = threading.Lock()
        self._forked = False
        self._numbers_of_names: dict[tuple[str, ...], int] = {}
        self._swept = 0.0
        self._forgot = False
        self.episode_count = self.episode_bytes = self.request_bytes = self.epoch = 0
        if path is not None:
            folders.make_private(path)
        try:
            self.connection = connect(path)
            if begin is not None:
                with contextlib.closing(connect(begin, readonly=True)) as given:
                    check_kind(given, begin)
                    given.backup(self.connection)
            elif not self.connection.execute(_TABLES_THERE).fetchone()[0]:
                self._create()
            check_kind(self.connection, path)
            if path is not None:
                self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute(f"PRAGMA synchronous = {'FULL' if settings.fsync == 'always' else 'NORMAL'}")
            self._measure()
            with self.lock:
                self._transaction(lambda: self._trim(always=True))
        except sqlite3.Error as e:
            raise explain(e, path) from e
        renew_after_fork(self)

    def write(self, batch: list[Any], durable: bool) -> Exception | None:
        """As ``writer.Target`` says. A batch holds episodes, log entries (tuples), and jobs."""
        lost: Exception | None = None
        with self.lock:
            try:
                sync = durable and self.settings.fsync == "flush" and self.path is not None
                if sync:
                    self.connection.execute("PRAGMA synchronous = FULL")
                try:
                    lost = self._transaction(lambda: self._write(batch, sync))
                finally:
                    if sync:
                        self.connection.execute("PRAGMA synchronous = NORMAL")
                if self._forgot:
                    self._forgot = False
                    self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the journal has the old pages
            except sqlite3.Error as e:
                raise explain(e, self.path) from e
        return lost

    def after_fork(self) -> None:
        """In a child process: the connection, and what it knows of the file, are the parent's."""
        self._forked = True
        self.lock = threading.Lock()

    def close(self) -> None:
        if self._forked:
            return
        with self.lock:
            try:
                if self.path is not None:
                    self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self.connection.close()
            except sqlite3.Error as e:
                raise explain(e, self.path) from e

    def _transaction(self, work: Callable[[], Any]) -> Any:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            found = work()
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            self._numbers_of_names.clear()  # those of the transaction are gone
            self._measure()
            raise
        return found

    def _write(self, batch: list[Any], sync: bool) -> Exception | None:
        lost: Exception | None = None
        episodes: list[tuple[Any, ...]] = []
        requests: list[tuple[Any, ...]] = []
        for item in batch:
            try:
                if isinstance(item, Episode):
                    episodes.append(self._episode_row(item))
                elif isinstance(item, tuple):
                    requests.append(self._request_row(item))
                else:
                    lost = self._put(episodes, requests) or lost
                    item.done.append(item.do(self))
            except (RonnError, TypeError, ValueError, AttributeError) as e:
                lost = _lost(_label(item), e)
        lost = self._put(episodes, requests) or lost
        if sync:
            self.put_entry("synced", self.clock())  # a commit of nothing would not reach the disk
        self._trim()
        return lost

    def _put(self, episodes: list[tuple[Any, ...]], requests: list[tuple[Any, ...]]) -> Exception | None:
        """Inserts the rows, and empties the lists."""
        lost: Exception | None = None
        if episodes:
            lost = self._insert(_PUT_EPISODE, episodes)
            self.episode_count += len(episodes)
            self.episode_bytes += sum(row[1] for row in episodes)
            self.epoch = max(self.epoch, max(row[3] for row in episodes))
            episodes.clear()
        if requests:
            lost = self._insert(_PUT_REQUEST, requests) or lost
            self.request_bytes += sum(row[1] for row in requests)
            requests.clear()
        return lost

    def _insert(self, sql: str, rows: list[tuple[Any, ...]]) -> Exception | None:
        """Inserts all rows that SQLite can hold; the error of the last that it cannot."""
        try:
            self.connection.executemany(sql, rows)
            return None
        except _UNFIT:
            lost: Exception | None = None
            for row in rows:
                try:
                    self.connection.execute(sql, row)
                except _UNFIT as e:
                    lost = _lost(f"request {row[0]}", e)
            return lost

    def _episode_row(self, e: Episode) -> tuple[Any, ...]:
        if not isinstance(e.digest, bytes) or not isinstance(e.namespace, str):
            raise TypeError(
                "digest and namespace must be bytes and str"
            )  # SQLite would take others, and never find them
        features = np.asarray(e.features, "<f4").tobytes()
        embedding = None if e.embedding is None else np.asarray(e.embedding, "<f2").tobytes()
        fast = None if e.fast is None else to_bytes(e.fast)
        full = None if e.full is None else to_bytes(e.full)
        inputs = None if e.inputs is None or not self.settings.store_inputs else pack(e.inputs)
        size = _ROW + len(features) + sum(len(b) for b in (embedding, fast, full, inputs) if b is not None)
        return (
            int(e.request), size, e.role, int(e.epoch), float(e.at), e.digest, e.namespace, e.client, e.state, e.path,
            float(e.score), float(e.lam), float(e.loss), features, embedding, fast, full, inputs,
        )  # fmt: skip

    def _request_row(self, item: tuple[Any, ...]) -> tuple[Any, ...]:
        decision, digest, namespace, at = item
        names = self._number_of(tuple(name for name, _ in decision.features))
        features = np.array([value for _, value in decision.features], "<f8").tobytes()
        neighbours = np.array(decision.neighbours, "<i8").tobytes()
        size = _ROW + len(features) + len(neighbours)
        return (
            int(decision.id), size, float(at), digest, namespace, decision.path, decision.role, decision.score,
            float(decision.lam), decision.state, names, features, neighbours, float(decision.seconds),
        )  # fmt: skip

    def _number_of(self, names: tuple[str, ...]) -> int:
        found = self._numbers_of_names.get(names)
        if found is None:
            text = json.dumps(names)
            self.connection.execute("INSERT OR IGNORE INTO names (names) VALUES (?)", (text,))
            row = self.connection.execute("SELECT id FROM names WHERE names = ?", (text,)).fetchone()
            found = self._numbers_of_names[names] = int(row[0])
        return found

    def put_entry(self, name: str, value: Any) -> None:
        self.put_text(name, json.dumps(value))

    def put_text(self, name: str, text: str) -> None:
        self.connection.execute(_PUT_ENTRY, (name, text))

    def entry(self, name: str) -> Any:
        row = self.connection.execute("SELECT value FROM entries WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def last_request(self) -> int:
        """The largest number of a request that is kept."""
        row = self.connection.execute(
            "SELECT MAX(IFNULL((SELECT MAX(id) FROM requests), 0), IFNULL((SELECT MAX(request) FROM episodes), 0))"
        ).fetchone()
        return int(row[0])

    def forget(self, where: str, parameters: list[Any]) -> int:
        """Deletes the rows of all tables for which a condition holds, and overwrites them on disk; the number of
        episodes and answers. Within a transaction."""
        self.connection.execute("PRAGMA secure_delete = ON")
        try:
            count = 0
            for table in ("episodes", "exact"):
                count += self.connection.execute(f"DELETE FROM {table} WHERE {where}", parameters).rowcount
            self.connection.execute(f"DELETE FROM requests WHERE {where}", parameters)
        finally:
            self.connection.execute("PRAGMA secure_delete = OFF")
        self._forgot = self.path is not None
        self._measure()
        return count

    def _measure(self) -> None:
        """Counts what is there."""
        one = self.connection.execute
        self.episode_count, self.episode_bytes, self.epoch = one(
            "SELECT COUNT(*), IFNULL(SUM(bytes), 0), IFNULL(MAX(epoch), 0) FROM episodes INDEXED BY episodes_by_role"
        ).fetchone()
        self.request_bytes = one("SELECT IFNULL(SUM(bytes), 0) FROM requests").fetchone()[0]

    def _trim(self, always: bool = False) -> None:
        """Keeps within age and bounds: the oldest go first, and those that certify the present state last."""
        settings, ttl = self.settings, self.settings.ttl_seconds
        now = self.clock()
        if ttl is not None and (always or now - self._swept > min(ttl / 20, 60.0)):
            self._swept = now
            for table in ("episodes", "requests", "exact"):
                self.connection.execute(f"DELETE FROM {table} WHERE at < ?", (now - ttl,))
            self._measure()
        if self.episode_count > settings.episodes or self.episode_bytes > settings.episode_bytes:
            self._measure()  # a request that was put twice was counted twice
            self._trim_episodes()
        if self.request_bytes > settings.request_bytes:
            self._measure()
            self._drop(
                "SELECT id, bytes FROM requests ORDER BY id", "DELETE FROM requests WHERE id = ?",
                0, self.request_bytes - int(settings.request_bytes * _SLACK),
            )  # fmt: skip
            self._measure()

    def _trim_episodes(self) -> None:
        settings = self.settings
        rows = self.episode_count - settings.episodes
        size = self.episode_bytes - settings.episode_bytes
        if rows <= 0 and size <= 0:
            return
        self._drop(
            f"""SELECT request, bytes FROM episodes INDEXED BY episodes_by_role ORDER BY
                CASE WHEN role IN ('calibrate', 'gate') AND epoch = {self.epoch} THEN 2 WHEN role = 'fit' THEN 1
                ELSE 0 END, request""",
            "DELETE FROM episodes WHERE request = ?",
            rows + int(settings.episodes * (1 - _SLACK)) if rows > 0 else 0,
            size + int(settings.episode_bytes * (1 - _SLACK)) if size > 0 else 0,
        )
        self._measure()

    def _drop(self, ordered: str, delete: str, rows: int, size: int) -> None:
        """Deletes the first rows of a query (key, bytes), at least so many rows and bytes."""
        gone: list[tuple[int]] = []
        for key, length in self.connection.execute(ordered):
            if len(gone) >= rows and size <= 0:
                break
            gone.append((key,))
            size -= length
        self.connection.executemany(delete, gone)

    def _create(self) -> None:
        self.connection.executescript(
            f"BEGIN IMMEDIATE; {_TABLES} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {SCHEMA}; COMMIT;"
        )


def connect(path: Path | None, *, readonly: bool = False) -> sqlite3.Connection:
    """A connection that any thread may use (one at a time), with transactions begun and ended by hand."""
    if path is None:
        name = ":memory:"
    else:
        name = f"{path.absolute().as_uri()}?mode={'ro' if readonly else 'rw'}"
    made = sqlite3.connect(name, timeout=10.0, isolation_level=None, check_same_thread=False, uri=path is not None)
    made.execute("PRAGMA trusted_schema = OFF")
    made.execute("PRAGMA cell_size_check = ON")
    return made


def check_kind(connection: sqlite3.Connection, path: Path | None) -> None:
    """StateError where a file is another program's, or of a later version."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION:
        raise StateError(f"{path} is another program's database", hint="name another folder")
    if version != SCHEMA:
        raise StateError(
            f"{path} has schema {version}, and this version of ronn-hrm reads {SCHEMA}",
            hint="use the version that wrote it, or begin anew in another folder",
        )


def rows_of(connection: sqlite3.Connection, sql: str, parameters: Iterable[Any], path: Path | None) -> list[Any]:
    try:
        return connection.execute(sql, tuple(parameters)).fetchall()
    except sqlite3.Error as e:
        raise explain(e, path) from e


def _lost(what: str, error: Exception) -> StateError:
    lost = StateError(f"{what} could not be kept: {error}", hint="everything else is")
    lost.__cause__ = error
    return lost


def _label(item: Any) -> str:
    if isinstance(item, Episode):
        return f"the episode of request {item.request}"
    if isinstance(item, tuple):
        return f"the log entry of request {getattr(item[0], 'id', '?')}"
    return "a change of memory"
