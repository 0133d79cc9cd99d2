"""G7: a process that is killed at any point leaves memory that opens, holds what was flushed and a first part of the
rest, and serves the old state or the new one, with the same decisions to the bit."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from memory.killed import decisions_of, ordinal
from memory.sessions import Models
from remembered import episode

import ronn_hrm as hrm

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, and killed by signal 9")

_POINTS = 150  # of parts of memory by themselves
_SESSIONS = 50  # of whole sessions
_RUNS = 20  # in one folder, each going on from where the one before was killed


class _Killed:
    """A server of processes to be killed. kind: as ``killed.py`` takes."""

    def __init__(self, kind: str) -> None:
        tests = Path(__file__).parents[1]
        paths = [str(tests), *sys.path, os.environ.get("PYTHONPATH", "")]
        self._server = subprocess.Popen(
            [sys.executable, str(tests / "memory" / "killed.py"), kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip

    def run(self, *what: object) -> list[list[str]]:
        """What a process said until it was killed."""
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write("\t".join(map(str, what)) + "\n")
        self._server.stdin.flush()
        said = []
        for line in self._server.stdout:
            said.append(line.split())
            if said[-1][0] == "dead":
                assert said[-1][1] == str(-signal.SIGKILL), said
                return said[:-1]
        raise AssertionError(f"the server ended: {said}")

    def close(self) -> None:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait()


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Path]:
    """On a disk in memory where there is one: a killed process leaves the same there, and thousands of syncs cost
    nothing."""
    quick = Path("/dev/shm")
    if not os.access(quick, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=quick) as made:
        yield Path(made)


def test_a_process_may_be_killed_at_any_point(folders: Path) -> None:
    rng = np.random.default_rng(7)
    server = _Killed("memory")
    promoted, lost, flushed_any, starts = 0, 0, 0, 0
    try:
        for at in range(_POINTS):
            run, folder = at % _RUNS, folders / str(at // _RUNS)
            if run == 0:
                serving, decided, last = None, {}, 0
            when = ("at", int(rng.integers(1, 800))) if at % 2 else ("after", float(rng.uniform(0.0, 0.03)))
            said = server.run(folder, run, int(rng.integers(1 << 30)), *when)
            flushed, allowed = 0, {serving}
            for word, *rest in said:
                if word == "flushed":
                    flushed, last = int(rest[0]), int(rest[1])
                elif word == "state":
                    decided[rest[0]] = rest[1]
                    allowed.add(rest[0])
                elif word == "promoted":
                    allowed = {rest[0]}
                    promoted += 1
                else:
                    assert word == "open", said
            if not folder.exists():
                continue
            with hrm.EpisodicStore(folder) as store:
                starts += 1
                found = store.episodes(namespace=str(run))
                written = len(found)
                assert written >= flushed
                for row in range(written):
                    expected = episode(ordinal(run, row))
                    assert found.digest[row] == expected.digest, "not a first part of what was appended"
                    assert np.array_equal(found.features[row], expected.features)
                    assert np.array_equal(found.full[row], expected.full)
                assert sum(entry.namespace == str(run) for entry in store.logged(limit=written + 1)) in (
                    written, written - 1,
                )  # fmt: skip
                counted = store.get("count", [run, 0])
                assert counted[0] < run or flushed <= counted[1] <= written
                assert store.number() > max(last, int(found.request.max(initial=0)))
            archive = hrm.StateArchive(folder)
            serving = archive.current()
            assert serving in allowed
            for id in archive.ids():
                assert decisions_of(archive.load(id)) == decided[id]
            assert serving is None or serving in archive.ids()
            assert not list((folder / "states").glob(".*"))
            flushed_any += flushed > 0
            lost += written > flushed
    finally:
        server.close()
    # The points were where something is going on.
    assert starts > 90 and promoted > 60 and flushed_any > 30 and lost > 3, (starts, promoted, flushed_any, lost)


def test_a_session_may_be_killed_at_any_point_in_consolidation_too(folders: Path) -> None:
    models = Models()
    rng = np.random.default_rng(11)
    with models.open(folders / "template") as session:
        for _ in range(400):
            session.run(models.request(rng))
        assert session.drain(60)
        session.consolidate(strategy="adapter")
        assert session.mode == "certified" and session.state.neighbours is not None
        template = {session.state.id: models.decisions_of(session, session.state)}
        serving_first = session.state.id
    server = _Killed("session")
    promoted, answered, certified = 0, 0, 0
    try:
        for at in range(_SESSIONS):
            run, folder = at % _RUNS, folders / str(at // _RUNS)
            if run == 0:
                shutil.copytree(folders / "template", folder)
                decided, serving = dict(template), serving_first
            when = ("at", int(rng.integers(1, 1000))) if at % 2 else ("after", float(rng.uniform(0.0, 0.15)))
            said = server.run(folder, run, int(rng.integers(1 << 30)), *when)
            first = flushed = 0
            allowed = {serving}
            for word, *rest in said:
                if word == "first":
                    first = int(rest[0])
                elif word == "flushed":
                    flushed = int(rest[0])
                elif word == "state":
                    decided[rest[0]] = rest[1]
                elif word == "promoting":
                    allowed.add(rest[0])
                elif word == "promoted":
                    allowed = {rest[0]}
                    promoted += 1
                else:
                    assert word == "open", said
            with models.open(folder) as session:
                archive, store = hrm.StateArchive(folder, readonly=True), session._parts.store
                serving = archive.current()
                assert serving in allowed
                states = {id: archive.load(id) for id in archive.ids()}
                for id in states.keys() - decided.keys():  # made before the process began to tell
                    decided[id] = models.decisions_of(session, states[id])
                assert serving == session.state.id or session.mode != "certified"
                assert models.decisions_of(session, session.state) == decided[session.state.id]
                certified += session.mode == "certified"
                if first:
                    log = store.logged(ids=range(first, first + 5000))
                    numbers = [entry.decision.id for entry in log]
                    assert numbers == list(range(first, first + len(log))), "not a first part of what was answered"
                    assert not log or numbers[-1] >= flushed
                    assert len(log) >= flushed - first + 1
                    for entry in log:
                        entry.explained(states[entry.decision.state])  # raises where a bit is different
                    answered += len(log)
                    assert store.number() > max([flushed, *numbers])
    finally:
        server.close()
    assert promoted > 5 and answered > 300 and certified > _SESSIONS // 2, (promoted, answered, certified)
