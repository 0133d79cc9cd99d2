"""Episodic memory: what was met, kept in SQLite, written by one thread."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.errors import OptionError
from ronn_hrm.errors import StateError
from ronn_hrm.memory import folder as folders
from ronn_hrm.memory.codec import pack, unpack
from ronn_hrm.memory.database import Database, Job, check_kind, connect, explain, rows_of
from ronn_hrm.memory.episode import ROLES, Episode, Episodes
from ronn_hrm.memory.rows import COLUMNS, LOGGED, LOGS, Logged, condition_of, decode, json_of, logged_of, size_of
from ronn_hrm.memory.settings import Memory
from ronn_hrm.memory.writer import Writer

if TYPE_CHECKING:
    from ronn_hrm.decision import Decision, Entry
    from ronn_hrm.memory.working import ExactCache

_WAITING = 64 << 20
"""Bytes of episodes that may wait for the writer; whoever appends more waits with them."""
_LOG_SIZE = 400
"""About what a log entry takes while it waits."""
_BLOCK = 4096
"""Numbers of requests that are reserved at a time: a crash skips some of them, and none is used twice."""


class EpisodicStore:
    """Episodes, the log of decisions, counters and the secret key, in ``folder/memory.sqlite``, or in this process.

    Any thread may call any method. ``append``, ``log`` and ``put`` return at once; what they were given must not be
    changed afterwards. It is written in batches, in order; ``flush`` waits for that, and methods that read see all that
    was appended before. A process that is killed leaves all that was flushed, and of the rest a first part.

    folder: None for a store without a file. readonly: for programs that look at the folder of a running session.
    clock: gives seconds since 1970. begin: a SQLite file of a memory that a store without a folder begins as. Raises
    StateError where the folder is in use by another session, not writable,
    damaged, or of another program.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        settings: Memory | None = None,
        *,
        readonly: bool = False,
        clock: Callable[[], float] = time.time,
        begin: Path | None = None,
    ) -> None:
        self.settings = Memory() if settings is None else settings
        self.folder = None if folder is None else Path(folder)
        self._clock = clock
        self._writer: Writer | None = None
        self._lock: folders.FolderLock | None = None
        if readonly:
            self._open_readonly()
            return
        if self.folder is not None:
            folders.prepare(self.folder)
            self._lock = folders.FolderLock(self.folder)
        try:
            self._open(begin)
        except BaseException:
            if self._lock is not None:
                self._lock.release()
            raise

    def _open(self, begin: Path | None) -> None:
        path = None
        if self.folder is not None:
            path = self.folder / folders.DATABASE
            if (self.folder / folders.RESTORING).exists():
                raise StateError(
                    f"memory folder {self.folder}: a snapshot was not restored to the end", hint="restore it again"
                )
        self._database = Database(path, self.settings, self._clock, begin)
        self._reader = self._database.connection if path is None else connect(path)
        self._reading = self._database.lock if path is None else threading.Lock()
        self._begin()
        self._writer = Writer("ronn-hrm-memory", self._database, _WAITING)
        self._close_late = weakref.finalize(self, _close, self._writer, self._database, self._lock)

    def _begin(self) -> None:
        """Counts on from where the last session ended."""
        database = self._database
        try:
            with database.lock:
                key, following = database.entry("key"), int(database.entry("next request") or 1)
                following = max(following, database.last_request() + 1)
                key = os.urandom(32).hex() if key is None else key
                self.starts = int(database.entry("starts") or 0) + 1
                self._reserved = following + _BLOCK
                self._key = bytes.fromhex(key)
                for name, value in (("key", key), ("starts", self.starts), ("next request", self._reserved)):
                    database.put_entry(name, value)
        except (sqlite3.Error, ValueError, TypeError) as e:
            raise explain(sqlite3.DatabaseError(str(e)), database.path) from e
        self._numbers: Iterator[int] = itertools.count(following)
        self._reserving = threading.Lock()

    def _open_readonly(self) -> None:
        path = None if self.folder is None else self.folder / folders.DATABASE
        if path is None or not path.is_file():
            raise StateError(f"{self.folder} holds no memory", hint="name the folder of a session's Memory(path=...)")
        try:
            self._reader = connect(path, readonly=True)
            check_kind(self._reader, path)
        except sqlite3.Error as e:
            raise explain(e, path) from e
        self._reading = threading.Lock()
        self._numbers = _none(self.folder)
        key = self.get("key")
        self._key = b"" if key is None else bytes.fromhex(key)
        self.starts = int(self.get("starts", 0))

    @property
    def key(self) -> bytes:
        """The secret of this memory, 32 random bytes made with it, that coins are tossed with."""
        return self._key

    @property
    def path(self) -> Path | None:
        """The SQLite file."""
        return None if self.folder is None else self.folder / folders.DATABASE

    @property
    def held(self) -> tuple[int, int]:
        """Episodes that are written, and their bytes, without looking into the file."""
        return self._database.episode_count, self._database.episode_bytes

    @property
    def waiting(self) -> int:
        """Items that wait for the writer."""
        return 0 if self._writer is None else self._writer.waiting

    # Writing

    def number(self) -> int:
        """The number of the next request: 1, 2, ... and on after a restart; never one twice."""
        found = next(self._numbers)
        if found >= self._reserved - _BLOCK // 2:
            self._reserve(found)
        return found

    def _reserve(self, number: int) -> None:
        with self._reserving:
            if number < self._reserved - _BLOCK // 2:
                return
            reserved = number + 2 * _BLOCK
            try:
                self.put("next request", reserved)
                if number >= self._reserved:
                    self._write().flush()  # the writer is behind: this number may not be given before it is reserved
                self._reserved = reserved
            except StateError:
                pass  # nothing can be written now, so nothing will be found under this number either

    def append(self, episode: Episode) -> None:
        """Keeps an episode, in place of one with the same request number. Its inputs are kept only where the settings
        say so. Raises StateError with what went wrong in the background since the last call."""
        size = 400 + episode.features.nbytes
        if episode.embedding is not None:
            size += episode.embedding.nbytes
        if episode.fast is not None:
            size += episode.fast.nbytes
        if episode.full is not None:
            size += episode.full.nbytes
        if episode.inputs is not None and self.settings.store_inputs:
            size += sum(array.nbytes for array in episode.inputs.values())
        self._write().put(episode, size)

    def log(self, decision: Decision | Entry, digest: bytes, namespace: str = "", at: float | None = None) -> None:
        """Keeps how a request was answered, so that it can be explained and replayed later."""
        self._write().put((decision, digest, namespace, self._clock() if at is None else at), _LOG_SIZE)

    def put(self, name: str, value: Any) -> None:
        """Keeps a value that JSON can hold under a name, in turn with episodes: counters, the state of detectors."""
        text = json_of(name, value)
        self._write().put(Job(lambda database: database.put_text(name, text), []), _LOG_SIZE + len(text))

    def feedback(self, request: int, value: Any) -> None:
        """Keeps what a person said about the answer to a request, as long as the log has that; JSON can hold it."""
        text = json_of(f"feedback on request {request}", value)
        sql = "INSERT OR REPLACE INTO feedback SELECT id, ? FROM requests WHERE id = ?"
        self._write().put(Job(lambda database: database.connection.execute(sql, (text, request)), []), _LOG_SIZE)

    def flush(self, *, durable: bool = True) -> None:
        """Waits until all that was appended before is written; ``durable``: so that it survives a loss of power, unless
        ``Memory(fsync="never")``."""
        self._write().flush(durable=durable)

    def forget(self, *, digest: bytes | None = None, namespace: str | None = None, before: float | None = None) -> int:
        """Removes episodes, log entries and kept answers for which all that is given holds (``before``: seconds since
        1970), those that wait for the writer too, and overwrites their place in the file. The number of episodes and
        answers. Who holds a state with them in its memory has to make it anew (see ``requests_of``)."""
        where, parameters = condition_of(digest, namespace, before)
        return int(self._do(lambda database: database.forget(where, parameters)))

    def close(self) -> None:
        """Writes what waits, and lets go of the folder. The second call does nothing."""
        if self._writer is None:
            self._reader.close()
            return
        if not self._close_late.alive:
            return
        try:
            self.put("next request", next(self._numbers))
        finally:
            if self._reader is not self._database.connection:
                with self._reading:
                    self._reader.close()
            self._close_late()

    def __enter__(self) -> EpisodicStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Reading

    def get(self, name: str, default: Any = None) -> Any:
        """What ``put`` was given under a name."""
        rows = self._rows("SELECT value FROM entries WHERE name = ?", (name,))
        return json.loads(rows[0][0]) if rows else default

    def episodes(
        self,
        *,
        roles: Sequence[str] | None = None,
        namespace: str | None = None,
        since: float | None = None,
        epoch: int | None = None,
        limit: int | None = None,
        answers: bool = True,
    ) -> Episodes:
        """Episodes for which all that is given holds, oldest first; with ``limit`` the newest so many of them.

        since: seconds since 1970. answers: without, ``fast``, ``full`` and ``inputs`` are not read, and are None.
        """
        conditions, parameters = self._fresh()
        if roles is not None:
            unknown = [role for role in roles if role not in ROLES and role != ""]
            if unknown:
                raise OptionError(f"there is no role {unknown[0]!r}", hint=f"of {', '.join(ROLES)}, and '' for none")
            conditions.append(f"role IN ({', '.join('?' * len(roles))})")
            parameters.extend(roles)
        for condition, value in (("namespace = ?", namespace), ("at >= ?", since), ("epoch = ?", epoch)):
            if value is not None:
                conditions.append(condition)
                parameters.append(value)
        columns = COLUMNS if answers else [*COLUMNS[:-3], "NULL", "NULL", "NULL"]
        sql = (
            f"SELECT {', '.join(columns)} FROM episodes WHERE {' AND '.join(conditions)} ORDER BY request DESC LIMIT ?"
        )
        rows = self._rows(sql, [*parameters, -1 if limit is None else max(limit, 0)])
        rows.reverse()
        return decode(rows, self.path)

    def count(self, role: str | None = None) -> int:
        """How many episodes there are, of one role or of all."""
        conditions, parameters = self._fresh()
        if role is not None:
            conditions.append("role = ?")
            parameters.append(role)
        return int(self._rows(f"SELECT COUNT(*) FROM episodes WHERE {' AND '.join(conditions)}", parameters)[0][0])

    def requests_of(
        self, *, digest: bytes | None = None, namespace: str | None = None, before: float | None = None
    ) -> np.ndarray:
        """Numbers of the requests that ``forget`` would remove all of: int64 [N], ascending. Those whose episodes are
        gone already, for want of room, are among them as long as the log has them."""
        where, parameters = condition_of(digest, namespace, before)
        sql = f"SELECT request FROM episodes WHERE {where} UNION SELECT id FROM requests WHERE {where} ORDER BY 1"
        return np.array([row[0] for row in self._rows(sql, parameters * 2)], np.int64)

    def logged(
        self, *, ids: Sequence[int] | None = None, since: float | None = None, limit: int | None = None
    ) -> list[Logged]:
        """Log entries, oldest first; with ``limit`` the newest so many."""
        conditions, parameters = self._fresh()
        if ids is not None:
            conditions.append("requests.id IN (SELECT value FROM json_each(?))")
            parameters.append(str([int(i) for i in ids]))
        if since is not None:
            conditions.append("at >= ?")
            parameters.append(since)
        sql = f"SELECT {LOGGED} FROM {LOGS} WHERE {' AND '.join(conditions)} ORDER BY requests.id DESC LIMIT ?"
        rows = self._rows(sql, [*parameters, -1 if limit is None else max(limit, 0)])
        return [logged_of(row, self.path) for row in reversed(rows)]

    def states(self) -> set[str]:
        """Ids of the states that log entries name."""
        return {row[0] for row in self._rows("SELECT DISTINCT state FROM requests", ())}

    def occurrences(self) -> dict[bytes, int]:
        """How often each digest is in the log."""
        return dict(self._rows("SELECT digest, COUNT(*) FROM requests GROUP BY digest", ()))

    def sizes(self) -> dict[str, int]:
        """Counts, and bytes of what is kept and of the file."""
        names = ("episodes", "episode_bytes", "requests", "request_bytes")
        row = self._rows(
            "SELECT (SELECT COUNT(*) FROM episodes), (SELECT IFNULL(SUM(bytes), 0) FROM episodes), "
            "(SELECT COUNT(*) FROM requests), (SELECT IFNULL(SUM(bytes), 0) FROM requests)", (),
        )[0]  # fmt: skip
        return dict(zip(names, row, strict=True)) | {"file_bytes": size_of(self.path)}

    def backup(self, path: Path) -> None:
        """Copies the whole file, as it is now, to a new one (mode 0600), while others go on."""
        if self._writer is not None:
            self._writer.flush()
        folders.make_private(path)
        try:
            with self._reading, contextlib.closing(connect(path)) as copy:
                self._reader.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")  # one file, synced
        except sqlite3.Error as e:
            raise explain(e, path) from e

    def keep_exact(self, cache: ExactCache) -> None:
        """Keeps the answers of a cache, in place of those kept before."""
        rows = [(namespace, digest, at, pack(outputs)) for namespace, digest, at, outputs in cache.entries()]

        def write(database: Database) -> None:
            database.connection.execute("DELETE FROM exact")
            database.connection.executemany("INSERT OR REPLACE INTO exact VALUES (?, ?, ?, ?)", rows)
            database.put_entry("exact fingerprint", cache.fingerprint)

        self._do(write)

    def recall_exact(self, cache: ExactCache) -> int:
        """Fills a cache with the answers kept for its fingerprint; their number. Those of another are dropped."""
        if self.get("exact fingerprint") != cache.fingerprint:
            self._do(lambda database: database.connection.execute("DELETE FROM exact").rowcount)
            return 0
        conditions, parameters = self._fresh()
        sql = f"SELECT namespace, digest, at, outputs FROM exact WHERE {' AND '.join(conditions)} ORDER BY at"
        rows = self._rows(sql, parameters)
        for namespace, digest, at, outputs in rows:
            cache.put(digest, unpack(outputs), namespace, at=at)
        return len(rows)

    def _write(self) -> Writer:
        if self._writer is None:
            raise folders.readonly(self.folder)
        return self._writer

    def _do(self, work: Callable[[Database], Any]) -> Any:
        """Has the writer do something in turn, and waits for its result."""
        job = Job(work, [])
        writer = self._write()
        writer.wait_for(writer.put(job, _LOG_SIZE))
        if not job.done:
            raise StateError("memory could not be changed")
        return job.done[-1]

    def _fresh(self) -> tuple[list[str], list[Any]]:
        """The condition that leaves out what is too old."""
        ttl = self.settings.ttl_seconds
        return ["at >= ?"], [-math.inf if ttl is None else self._clock() - ttl]

    def _rows(self, sql: str, parameters: Any) -> list[Any]:
        if self._writer is not None:
            self._writer.flush()
        with self._reading:
            return rows_of(self._reader, sql, parameters, self.path)


def _none(folder: Path | None) -> Iterator[int]:
    """No numbers of requests."""
    raise folders.readonly(folder)
    yield


def _close(writer: Writer, database: Database, lock: folders.FolderLock | None) -> None:
    """Without the store, which may be gone."""
    try:
        writer.close()
    finally:
        try:
            database.close()
        finally:
            if lock is not None:
                lock.release()
