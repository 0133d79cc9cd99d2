"""The batcher: requests of threads and event loops that run together, each with its own end."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import weakref
from concurrent.futures import CancelledError as FutureCancelled
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ronn
from ronn.batching.waiting import Entry, Waiting
from ronn.errors import CancelledError, ExecutionError, InputError, OptionError, QueueFullError, RonnError
from ronn.errors import RunTimeoutError as Timeout
from ronn.plan.stop import Stop

LOOKUP = """agraph (int64[N,2] x) => (float[N,2] y)
{ w = Constant<value = float[3] {10,20,30}>()  y = Gather(w, x) }"""
POINTWISE = "agraph (float[N,T] x) => (float[N,T] y) { y = Sigmoid(x) }"
ROW = np.array([[-1, 2]], np.float32)
WANT = [[-1.0, 0.0]]


def hold(gate: Any, batcher: ronn.Batcher) -> Any:
    """Sends a request that stands at the gate, so that those behind it wait."""
    first = batcher.submit(ROW)
    assert gate.begun.acquire(timeout=30)
    return first


# --- together


def test_requests_that_wait_go_together(gate, gated) -> None:
    with ronn.Batcher(gated, max_batch=4, max_wait=0) as batcher:
        first = hold(gate, batcher)
        others = [batcher.submit(ROW) for _ in range(6)]
        assert (batcher.stats().waiting, batcher.stats().running) == (6, 1)
        gate.open.set()
        assert [f.result(30)["y"].tolist() for f in [first, *others]] == [WANT] * 7
        stats = batcher.stats()
    assert gate.calls == [(1, 2), (4, 2), (2, 2)]
    assert (stats.submitted, stats.done, stats.runs, stats.joined, stats.largest) == (7, 7, 3, 6, 4)
    assert (stats.waiting, stats.running, stats.rows, stats.filled) == (0, 0, 7, 0)
    assert "7 requests in 3 runs" in str(stats)


def test_a_full_batch_does_not_wait(session) -> None:
    with ronn.Batcher(session(LOOKUP), max_batch=2, max_wait=1000) as batcher:
        assert not batcher.submit([[0, 1]]).running()
        one, two = batcher.submit([[0, 1]]), batcher.submit([[2, 1]])
        assert one.result(30)["y"].tolist() == [[10, 20]]
        assert not two.done()
        began = time.monotonic()
    assert two.result(0)["y"].tolist() == [[30, 20]], "closing runs what waits"
    assert time.monotonic() - began < 30


def test_max_wait_is_waited(session) -> None:
    with ronn.Batcher(session(LOOKUP), max_wait=0.1) as batcher:
        began = time.monotonic()
        batcher.submit([[0, 1]]).result(30)
        assert time.monotonic() - began >= 0.1
        assert batcher.stats().longest_wait >= 0.1


def test_rows_are_filled_up_and_cut_off(gate, gated) -> None:
    with ronn.Batcher(gated, max_batch=8, max_wait=0) as batcher:
        hold(gate, batcher)
        futures = [batcher.submit(np.full((3, 2), -i, np.float32)) for i in (1, 2)]
        gate.open.set()
        assert [f.result(30)["y"].tolist() for f in futures] == [[[-1.0] * 2] * 3, [[-2.0] * 2] * 3]
        assert gate.calls[-1] == (8, 2) and batcher.stats().filled == 2


@settings(max_examples=25, deadline=None)
@given(
    requests=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3)), min_size=1, max_size=12),
    most=st.integers(1, 8),
    workers=st.integers(1, 2),
)
def test_results_are_those_of_run(requests: list[tuple[int, int]], most: int, workers: int) -> None:
    session = _pointwise()
    rng = np.random.default_rng(1)
    feeds = [rng.normal(size=shape).astype(np.float32) for shape in requests]
    with ronn.Batcher(session, max_batch=most, max_wait=0.001, workers=workers) as batcher:
        got = [f.result(60)["y"] for f in [batcher.submit(x) for x in feeds]]
    for x, y in zip(feeds, got, strict=True):
        np.testing.assert_array_equal(y, session.run(x)["y"])


def _pointwise(cache: list[ronn.Session] = []) -> ronn.Session:  # noqa: B006
    if not cache:
        import onnx.parser

        model = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]>\n' + POINTWISE)
        cache.append(ronn.Session(model.SerializeToString(), providers=["reference"]))
    return cache[0]


def test_many_threads_and_loops(session) -> None:
    made = session(LOOKUP)

    with ronn.Batcher(made, max_batch=8) as batcher:

        async def ask(i: int) -> Any:
            return (await batcher.run([[i % 3, 0]]))["y"][0, 0]

        async def loop() -> list[Any]:
            return await asyncio.gather(*(ask(i) for i in range(20)))

        with ThreadPoolExecutor(6) as pool:
            loops = [pool.submit(asyncio.run, loop()) for _ in range(2)]
            threads = [pool.submit(lambda i: batcher.submit([[i % 3, 0]]).result(30)["y"][0, 0], i) for i in range(20)]
            want = [10.0 * (i % 3 + 1) for i in range(20)]
            assert [t.result() for t in threads] == want
            assert [lo.result() for lo in loops] == [want, want]
        assert batcher.stats().done == 60


def test_batches_and_waits_are_told(gate, gated) -> None:
    seen: list[Any] = []
    told = ronn.events.subscribe(seen.append, kinds=["BatchFormed", "RunStarted"])
    with told, ronn.Batcher(gated, max_batch=4, max_wait=0) as batcher:
        hold(gate, batcher)
        others = [batcher.submit(ROW) for _ in range(3)]
        time.sleep(0.02)
        gate.open.set()
        others[-1].result(30)
    formed = [e for e in seen if e.kind == "BatchFormed"]
    assert [(e.size, e.rows, e.queued, e.session) for e in formed] == [
        (1, 1, 0, gated.number),
        (2, 2, 1, gated.number),
        (1, 1, 0, gated.number),
    ]
    assert formed[1].waited >= 0.02
    assert [e.queued for e in seen if e.kind == "RunStarted"] == [e.waited for e in formed]


# --- each with its own end


def test_errors_are_those_of_the_request(gate, gated) -> None:
    with ronn.Batcher(gated, max_wait=0) as batcher:
        hold(gate, batcher)
        good, bad = batcher.submit(ROW), batcher.submit({"z": ROW})
        assert isinstance(bad.exception(0), InputError)
        gate.open.set()
        assert good.result(30)["y"].tolist() == WANT
        assert batcher.stats().failed == 1


def test_one_that_fails_in_a_run_does_not_spoil_the_others(session) -> None:
    with ronn.Batcher(session(LOOKUP), max_batch=4, max_wait=1000) as batcher:
        futures = [batcher.submit([[i, 0]]) for i in (0, 1, 7, 2)]
        errors = [f.exception(30) for f in futures]
        assert [type(e) for e in errors] == [type(None), type(None), ExecutionError, type(None)]
        assert futures[3].result()["y"].tolist() == [[30, 10]]


def test_only_the_outputs_asked_for(session) -> None:
    text = "agraph (float[N,2] x) => (float[N,2] y, float[N,2] z) { y = Neg(x)  z = Abs(x) }"
    with ronn.Batcher(session(text), max_batch=2, max_wait=1000) as batcher:
        one, both = batcher.submit(ROW, outputs=["z"]), batcher.submit(ROW)
        assert list(one.result(30).keys()) == ["z"] and list(both.result(30).keys()) == ["y", "z"]
        assert isinstance(batcher.submit(ROW, outputs=["a"]).exception(0), InputError)


def test_a_full_queue_refuses(gate, gated) -> None:
    with ronn.Batcher(gated, queue=2, max_wait=0) as batcher:
        hold(gate, batcher)
        waiting = [batcher.submit(ROW), batcher.submit(ROW)]
        with pytest.raises(QueueFullError, match=r"2 requests are waiting.*queue=2"):
            batcher.submit(ROW)
        with pytest.raises(QueueFullError):
            asyncio.run(batcher.run(ROW))
        assert waiting[0].cancel(), "one that is cancelled makes room at once"
        waiting[0] = batcher.submit(ROW)
        gate.open.set()
        assert [f.result(30)["y"].tolist() for f in waiting] == [WANT] * 2
        assert (batcher.stats().rejected, batcher.stats().cancelled) == (2, 1)


def test_what_is_cancelled_while_it_waits_does_not_run(gate, gated) -> None:
    with ronn.Batcher(gated, max_wait=0) as batcher:
        hold(gate, batcher)
        future = batcher.submit(ROW)
        future.cancel()

        async def main() -> None:
            task = asyncio.create_task(batcher.run(ROW))
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        assert batcher.stats().waiting == 0
        gate.open.set()
    assert len(gate.calls) == 1
    with pytest.raises(FutureCancelled):
        future.result()


def test_a_run_that_nobody_waits_for_is_stopped(gate, gated) -> None:
    text_seen: list[Any] = []

    async def main(batcher: ronn.Batcher) -> None:
        task = asyncio.create_task(batcher.run(ROW))
        while not gate.begun.acquire(blocking=False):
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (batch,) = batcher._core._running
        text_seen.append(batch.stop.reason)

    with ronn.Batcher(gated, max_wait=0) as batcher:
        asyncio.run(main(batcher))
        gate.open.set()
    assert text_seen == ["the run was cancelled"] and batcher.stats().cancelled == 1
    assert gated.run(ROW)["y"].tolist() == WANT


def test_timeouts_of_requests_that_wait_and_run(gate, gated) -> None:
    async def late(batcher: ronn.Batcher) -> None:
        with pytest.raises(Timeout, match=r"timeout=0\.05"):
            await batcher.run(ROW, timeout=0.05)

    gate.open.set()
    gated.run(ROW)  # makes the plan, which may take a while
    gate.open.clear()
    assert gate.begun.acquire(timeout=30)
    with ronn.Batcher(gated, max_wait=0) as batcher:
        running = batcher.submit(ROW, timeout=1)
        assert gate.begun.acquire(timeout=30)
        waiting = batcher.submit(ROW, timeout=0.05)
        patient = batcher.submit(ROW, timeout=60)
        asyncio.run(late(batcher))
        time.sleep(1.05)
        gate.open.set()
        assert isinstance(running.exception(30), Timeout) and isinstance(waiting.exception(30), Timeout)
        assert patient.result(30)["y"].tolist() == WANT
        assert batcher.stats().timed_out == 2 and batcher.stats().cancelled == 1
    with pytest.raises(OptionError):
        batcher.submit(ROW, timeout=-1)


def test_a_time_that_is_over_is_told_while_others_wait(session) -> None:
    with ronn.Batcher(session(LOOKUP), max_wait=1000) as batcher:
        late = batcher.submit([[0, 0]], timeout=0.05)
        assert isinstance(late.exception(30), Timeout)


# --- order


def entry(key: object, since: float, rows: int = 1) -> Entry:
    from ronn.batching.join import Request

    return Entry(Request({}, None, rows, key), Stop(), since=since)


def test_the_oldest_goes_first() -> None:
    """A shape that keeps coming, and always fills its batch, does not keep another one waiting behind its time."""
    waiting = Waiting(1000, (1, 2, 4), max_wait=0.0)
    now = time.monotonic() - 1
    for i in range(12):
        waiting.put(entry("often", now + i * 0.01))
    waiting.put(entry("seldom", now + 0.035))
    order = []
    while waiting.count:
        batch, late = waiting.next()
        assert batch is not None and not late
        order.append((batch.entries[0].request.key, batch.rows))
    assert order == [("often", 4), ("seldom", 1), ("often", 4), ("often", 4)]


def test_a_full_group_goes_while_an_older_one_still_waits() -> None:
    waiting = Waiting(1000, (1, 2), max_wait=1000)
    waiting.put(entry("alone", time.monotonic() - 1))
    waiting.put(entry("full", time.monotonic()))
    waiting.put(entry("full", time.monotonic()))
    assert waiting.next()[0].entries[0].request.key == "full"  # type: ignore[union-attr]
    waiting.close(drain=True)
    assert waiting.next()[0].entries[0].request.key == "alone"  # type: ignore[union-attr]
    assert waiting.next() == (None, [])


# --- closing, idling, forks


def test_closing_without_draining(gate, gated) -> None:
    batcher = ronn.Batcher(gated, max_wait=0)
    first, second = hold(gate, batcher), batcher.submit(ROW)
    threading.Timer(0.05, gate.open.set).start()
    batcher.close(drain=False)
    assert isinstance(second.exception(0), CancelledError) and "before this request ran" in str(second.exception())
    assert isinstance(first.exception(0), CancelledError)
    batcher.close()
    with pytest.raises(RonnError, match="the batcher is closed"):
        batcher.submit(ROW)
    with pytest.raises(RonnError, match="the batcher is closed"):
        batcher.submit(3)


def test_closing_waits_no_longer_than_told(gate, gated) -> None:
    batcher = ronn.Batcher(gated, max_wait=0)
    first = hold(gate, batcher)
    batcher.close(timeout=0.05)
    assert not first.done()
    gate.open.set()
    assert first.result(30)["y"].tolist() == WANT


def test_async_with_drains_without_blocking_the_loop(gate, gated) -> None:
    async def main() -> None:
        async with ronn.Batcher(gated, max_wait=0) as batcher:
            task = asyncio.create_task(batcher.run(ROW))
            await asyncio.sleep(0.01)
            asyncio.get_running_loop().call_later(0.05, gate.open.set)  # would never come, were the loop blocked
        assert (await task)["y"].tolist() == WANT

    asyncio.run(main())


def test_threads_end_with_their_batcher(session) -> None:
    made = session(LOOKUP)
    others = set(threading.enumerate())
    future = ronn.Batcher(made, max_wait=0).submit([[0, 1]])  # nobody holds the batcher
    assert future.result(30)["y"].tolist() == [[10, 20]]
    gc.collect()
    deadline = time.monotonic() + 30
    while any(t.name.startswith("ronn-batcher") for t in set(threading.enumerate()) - others):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_nothing_is_kept_between_requests(session) -> None:
    with ronn.Batcher(session(POINTWISE), max_wait=0) as batcher:
        x = np.zeros((1, 2), np.float32)
        future = batcher.submit(x)
        y = future.result(30)["y"]
        batcher.submit(x, timeout=30).result(30)
        refs = [weakref.ref(a) for a in (x, y, future)]
        del x, y, future
        deadline = time.monotonic() + 30
        while any(r() is not None for r in refs):
            assert time.monotonic() < deadline
            gc.collect()


def test_an_idle_batcher_sleeps(session) -> None:
    with ronn.Batcher(session(LOOKUP), max_wait=0, workers=2) as batcher:
        batcher.submit([[0, 1]]).result(30)
        used = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - used < 0.1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_batcher_works_on_in_a_child(gate, gated) -> None:
    with ronn.Batcher(gated, max_wait=0) as batcher:
        first = hold(gate, batcher)
        waiting = batcher.submit(ROW)
        gate.open.set()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                got = batcher.submit(ROW).result(20)["y"].tolist()
                code = 7 if got == WANT and batcher.stats().running == 0 else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert [f.result(30)["y"].tolist() for f in (first, waiting)] == [WANT] * 2


@pytest.mark.parametrize(
    "options",
    [{"max_wait": -1}, {"max_wait": float("inf")}, {"queue": 0}, {"workers": 0}, {"max_batch": 0}, {"sizes": [0]}],
)
def test_bad_options(session, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        ronn.Batcher(session(LOOKUP), **options)


# --- padding


TOKENS = """agraph (int64[N,T] ids, float[N,T] mask) => (float[N,T] y, float[N] total)
{ w = Constant<value = float[4] {0,10,20,30}>()  e = Gather(w, ids)  y = Mul(e, mask)
  one = Constant<value = int64[1] {1}>()  total = ReduceSum<keepdims=0>(y, one) }"""


def tokens(*ids: int) -> dict[str, np.ndarray]:
    return {"ids": np.array([ids]), "mask": np.ones((1, len(ids)), np.float32)}


def test_padding_brings_requests_together(session) -> None:
    made = session(TOKENS)
    requests = [tokens(1), tokens(1, 2, 3), tokens(3, 2, 1, 1)]
    with ronn.Batcher(made, max_batch=4, max_wait=1000, pad={"T": ronn.Pad(0, sizes=[4, 8])}) as batcher:
        futures = [batcher.submit(r) for r in [*requests, requests[0]]]
        got = [f.result(30) for f in futures]
    assert made.stats().runs == 1
    for request, one in zip(requests, got, strict=False):
        want = made.run(request)
        assert one["y"].tolist() == want["y"].tolist() and one["total"].tolist() == want["total"].tolist()
        assert one["y"].base is None


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    front=st.booleans(),
    sizes=st.sampled_from([(), (3,), (2, 5, 7)]),
)
def test_padded_results_are_those_of_run(lengths: list[int], front: bool, sizes: tuple[int, ...]) -> None:
    made = _tokens()
    rng = np.random.default_rng(0)
    requests = [{"ids": rng.integers(0, 4, (1, n)), "mask": np.ones((1, n), np.float32)} for n in lengths]
    with ronn.Batcher(made, max_wait=0, pad={"T": ronn.Pad(0, {"ids": 3}, sizes, front)}) as batcher:
        for request, future in [(r, batcher.submit(r)) for r in requests]:
            for got, want in zip(future.result(60), made.run(request), strict=True):
                np.testing.assert_array_equal(got, want)


def _tokens(cache: list[ronn.Session] = []) -> ronn.Session:  # noqa: B006
    if not cache:
        import onnx.parser

        model = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]>\n' + TOKENS)
        cache.append(ronn.Session(model.SerializeToString(), providers=["reference"]))
    return cache[0]


def test_padding_that_cannot_be(session) -> None:
    with pytest.raises(OptionError, match=r"(?s)no input has a dim 'TT'.*did you mean 'T'"):
        ronn.Batcher(session(TOKENS), pad={"TT": 0})
    twice = session("agraph (float[N,T] x) => (float[N,U] y) { y = Concat<axis=1>(x, x) }")
    with pytest.raises(OptionError, match=r"(?s)output 'y' has a dim 2\*T.*outputs="):
        ronn.Batcher(twice, pad={"T": 0})
    batcher = ronn.Batcher(twice, pad={"T": ronn.Pad(outputs={"y": 1})})
    assert batcher.submit(np.ones((1, 3), np.float32)).result(30)["y"].shape == (1, 3)
    batcher.close()
