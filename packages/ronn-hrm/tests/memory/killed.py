"""Processes that write memory and are killed: a server that forks one for each line it reads, told where and when.

``killed.py memory`` for parts of memory by themselves, ``killed.py session`` for whole sessions of two models.

A line: ``FOLDER RUN SEED at POINT`` (the process kills itself at that many events: files opened and renamed, disks
synced, statements of SQLite and steps within them) or ``FOLDER RUN SEED after SECONDS`` (it is killed from outside,
so long after memory was opened).
What the process acknowledges, and ``dead`` at last, comes back by lines; a pipe keeps them when the writer dies.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from remembered import DIMS, NAMES, decision, episode, state

from ronn_hrm.memory.archive import StateArchive
from ronn_hrm.memory.episodic import EpisodicStore
from ronn_hrm.memory.index import neighbours_of
from ronn_hrm.state import State
from ronn_hrm.task import Classification


def decisions_of(found: State) -> str:
    """What a state decides on fixed probes, and on which neighbours, to the bit."""
    rng = np.random.default_rng(123)
    seen = hashlib.blake2b(digest_size=16)
    for features, query in zip(rng.standard_normal((30, len(NAMES))), rng.standard_normal((30, DIMS))):
        seen.update(repr(found.decide(features.tolist())).encode())
        if found.neighbours is not None:
            for part in found.neighbours.search(query.astype(np.float32), 5):
                seen.update(part.tobytes())
    return seen.hexdigest()


def ordinal(run: int, n: int) -> int:
    """What the n-th episode of a run is made from."""
    return run * 100_000 + n


def write(folder: Path, run: int, seed: int, point: int | None, opened: int) -> None:
    """Appends, logs, counts, flushes, consolidates, promotes and prunes until it is killed."""
    rng = np.random.default_rng(seed)
    events = Events(point)
    store, archive = EpisodicStore(folder), StateArchive(folder)
    events.watch(store)
    say("open")
    os.close(opened)
    n = 0
    for step in range(1_000_000):
        for _ in range(int(rng.integers(1, 12))):
            made = episode(ordinal(run, n), request=store.number(), namespace=str(run))
            store.append(made)
            store.log(decision(made.request), made.digest, str(run))
            n += 1
        store.put("count", [run, n])
        if rng.random() < 0.5:
            store.flush(durable=rng.random() < 0.3)
            say(f"flushed {n} {made.request}")
        if rng.random() < 0.4:
            known = store.episodes(limit=60)
            new = state(seed + step, index=None, neighbours=neighbours_of(known, Classification(), ann_above=None))
            say(f"state {new.id} {decisions_of(new)}")
            archive.save(new)
            archive.promote(new.id)
            say(f"promoted {new.id}")
            archive.prune(keep=2)
        if rng.random() < 0.1:
            store.forget(before=0.0)


class Events:
    """Counts what may be interrupted, and kills the process at ``point``; only where it is not None."""

    def __init__(self, point: int | None) -> None:
        self.count = 0
        self._point = point
        if point is not None:
            sys.addaudithook(lambda name, _: self.one() if name.startswith(("os.", "open", "shutil.")) else None)
            fsync = os.fsync
            os.fsync = lambda file: (self.one(), fsync(file), self.one())[1]  # type: ignore[assignment]

    def watch(self, store: EpisodicStore) -> None:
        if self._point is not None:
            connection = store._database.connection
            connection.set_trace_callback(lambda _: self.one())
            connection.set_progress_handler(self.one, 500)

    def one(self) -> None:
        self.count += 1
        if self.count == self._point:
            os.kill(os.getpid(), signal.SIGKILL)


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def serve(write: Callable[..., None]) -> None:
    for line in sys.stdin:
        folder, run, seed, kind, value = line.split("\t")
        reads, opened = os.pipe()
        child = os.fork()
        if not child:
            try:
                write(Path(folder), int(run), int(seed), int(value) if kind == "at" else None, opened)
            except BaseException as e:
                say(f"error {e!r}")
            finally:
                os._exit(1)
        os.close(opened)
        os.read(reads, 1)  # ends when the child closes its end, or is gone
        os.close(reads)
        if kind == "after":
            time.sleep(float(value))
            os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        say(f"dead {status}")


if __name__ == "__main__":
    if sys.argv[1] == "memory":
        serve(write)
    else:
        from memory.sessions import Models

        serve(Models().met().write)
