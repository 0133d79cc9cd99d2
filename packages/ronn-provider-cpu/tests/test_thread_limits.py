"""How many threads runs use: of a process (set_threads), of a session, of one run. The pool's control block tells."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from test_processes import layers, rows

import ronn
from ronn.errors import OptionError
from ronn_provider_cpu.engine import pool as pools
from ronn_provider_cpu.engine.layout import EPOCH, JOB

X = rows(600)


@pytest.fixture(autouse=True)
def _undone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RONN_THREADS", "2")
    yield
    ronn.set_threads(None)


def session(threads: int = 0, **more: object) -> ronn.Session:
    made = ronn.Session(layers(2), providers=["cpu"], options={"threads": threads, **more})
    made.run(X)
    return made


def used(run: object) -> int:
    """The most threads that the steps of a run were open to: 1 when none was published to the pool."""
    pool = pools._pool
    assert pool is not None and callable(run)
    before = int(pool.words[EPOCH])
    pool.words[JOB + 3] = -1
    run()
    return 1 if int(pool.words[EPOCH]) == before else int(pool.words[JOB + 3]) + 1


def test_the_default_of_the_process() -> None:
    one = session()
    assert used(lambda: one.run(X)) == 2
    fixed = session(3)
    assert used(lambda: fixed.run(X)) == 3


def test_a_limit_holds_at_once_for_every_session() -> None:
    free, fixed = session(), session(3)
    want = free.run(X)["y"]
    ronn.set_threads(1)
    for s in (free, fixed, session(4)):
        assert used(lambda s=s: s.run(X)) == 1
    np.testing.assert_array_equal(free.run(X)["y"], want)
    ronn.set_threads(None)
    assert used(lambda: fixed.run(X)) == 3 and used(lambda: free.run(X)) == 2


def test_more_threads_reach_sessions_that_left_it_open() -> None:
    free, fixed = session(), session(2)
    planned = free.stats().planned, fixed.stats().planned
    want = free.run(X)["y"]
    ronn.set_threads(4)
    assert used(lambda: free.run(X)) == 4 and used(lambda: fixed.run(X)) == 2
    assert (free.stats().planned, fixed.stats().planned) == (planned[0] + 1, planned[1])
    np.testing.assert_array_equal(free.run(X)["y"], want)
    ronn.set_threads(3)  # fewer again: no plan is made anew
    assert used(lambda: free.run(X)) == 3 and free.stats().planned == planned[0] + 1
    assert free.stats().runs == 5  # those of plans that are gone count


def test_no_more_pool_threads_than_allowed() -> None:
    ronn.set_threads(2)
    before = len(pools._pool._threads) if pools._pool is not None else 0
    wide = session(before + 6)
    assert used(lambda: wide.run(X)) == 2
    assert len(pools._pool._threads) == max(before, 1)
    ronn.set_threads(before + 4)
    assert len(pools._pool._threads) == before + 3
    assert used(lambda: wide.run(X)) == before + 4


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_limit_of_one_run(threads: int) -> None:
    s = session(3)
    want = s.run(X)["y"]
    assert used(lambda: s.run(X, threads=threads)) == threads
    np.testing.assert_array_equal(s.run(X, threads=threads)["y"], want)
    assert used(lambda: s.run(X)) == 3  # it was of that run only
    assert used(lambda: s.run(X, threads=64)) == 3
    assert used(lambda: s.run(X, stop=ronn.Stop(threads=2), threads=3)) == 2


def test_runs_at_once_keep_to_their_own_limits() -> None:
    s = session(3)
    want = s.run(X)["y"]
    wrong: list[int] = []

    def work(threads: int | None) -> None:
        for _ in range(20):
            if not np.array_equal(s.run(X, threads=threads)["y"], want):
                wrong.append(1)

    users = [threading.Thread(target=work, args=(n,)) for n in (None, 1, 2)]
    for t in users:
        t.start()
    for t in users:
        t.join()
    assert not wrong


@pytest.mark.parametrize("bad", [0, -2, 1.5, "2"])
def test_what_is_no_number_of_threads_for_a_run(bad: object) -> None:
    with pytest.raises(OptionError, match="threads"):
        session(1).run(X, threads=bad)
