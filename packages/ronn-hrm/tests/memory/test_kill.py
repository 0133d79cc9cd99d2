"""G7: a process that is killed at any point leaves memory that opens, holds what was flushed and a first part of the
rest, and serves the old state or the new one, with the same decisions to the bit."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from memory.killed import decisions_of, ordinal
from remembered import episode

import ronn_hrm as hrm

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, and killed by signal 9")

_POINTS = 200
_RUNS = 20  # in one folder, each going on from where the one before was killed


class _Killed:
    """A server of processes to be killed."""

    def __init__(self) -> None:
        tests = Path(__file__).parents[1]
        paths = [str(tests), *sys.path, os.environ.get("PYTHONPATH", "")]
        self._server = subprocess.Popen(
            [sys.executable, str(tests / "memory" / "killed.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
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
    server = _Killed()
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
    assert starts > 150 and promoted > 100 and flushed_any > 50 and lost > 5, (starts, promoted, flushed_any, lost)
