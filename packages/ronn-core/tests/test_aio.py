"""asyncio: loops that are never blocked, runs that end with their tasks, sessions that can be used on."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from functools import partial
from typing import Any

import numpy as np
import onnx.parser
import pytest

import ronn
from ronn import aio, carriers
from ronn.errors import CancelledError, InputError, ModelError, OptionError, RunTimeoutError
from ronn.plugins import registry
from ronn.provider import KernelProvider, kernel

MODEL = """<ir_version: 10, opset_import: ["" : 21]>
agraph (float[N,2] x) => (float[N,2] y) { a = Neg(x)  b = Relu(a)  y = Neg(b) }"""
ROW = np.array([[-1, 2]], np.float32)
WANT = [[-1.0, -0.0]]


def model() -> bytes:
    return onnx.parser.parse_model(MODEL).SerializeToString()


class Gate(KernelProvider):
    """``Relu`` says that it has begun, and waits until the gate is open; ``late`` makes planning wait too."""

    name = "gate"

    def __init__(self) -> None:
        super().__init__()
        self.open, self.planning = threading.Event(), threading.Event()
        self.planning.set()
        self.begun = threading.Semaphore(0)
        self.calls = 0

    def passes(self, device: Any) -> Any:
        assert self.planning.wait(30)
        return super().passes(device)

    @kernel("Relu", dtypes="float32")
    def relu(self, ctx: object, x: np.ndarray) -> np.ndarray:
        self.calls += 1
        self.begun.release()
        assert self.open.wait(30), "nobody opened the gate"
        return np.maximum(x, 0)

    async def reached(self, task: asyncio.Task[Any]) -> None:
        """Waits until the kernel has begun."""
        while not self.begun.acquire(blocking=False):
            assert not task.done(), task.exception()
            await asyncio.sleep(0.005)


@pytest.fixture
def gate():
    provider = Gate()
    registry().add(provider)
    yield provider
    provider.open.set()
    provider.planning.set()
    registry().remove("gate")


@pytest.fixture
def gated(gate: Gate) -> ronn.Session:
    return ronn.Session(model(), providers=["gate", "reference"])


@pytest.fixture
def plain() -> ronn.Session:
    return ronn.Session(model(), providers=["reference"])


# --- running


def test_it_gives_what_run_gives(plain: ronn.Session) -> None:
    async def main() -> None:
        assert (await plain.run_async(ROW))["y"].tolist() == WANT
        traced = await plain.run_async({"x": ROW}, outputs=["y"], trace=["b"])
        assert list(traced.keys()) == ["y", "b"]
        y = np.empty((1, 2), np.float32)
        assert (await plain.run_async(ROW, out={"y": y}))["y"] is y and y.tolist() == WANT
        many = await asyncio.gather(*(plain.run_async(np.full((i, 2), i, np.float32)) for i in range(1, 9)))
        assert [len(m["y"]) for m in many] == list(range(1, 9))
        batch = await plain.run_batch_async([ROW] * 3, max_batch=2)
        assert [b["y"].tolist() for b in batch] == [WANT] * 3

    asyncio.run(main())


def test_errors_are_those_of_run(plain: ronn.Session) -> None:
    async def main() -> None:
        with pytest.raises(InputError):
            await plain.run_async({"z": ROW})
        with pytest.raises(OptionError):
            await plain.run_async(ROW, timeout=-1)
        with pytest.raises(ronn.BatchError):
            await plain.run_batch_async([ROW, 3])

    asyncio.run(main())


def test_the_loop_goes_on_while_a_kernel_runs_and_while_it_is_planned(gate: Gate, gated: ronn.Session) -> None:
    async def main() -> None:
        gate.planning.clear()
        task = asyncio.create_task(gated.run_async(ROW))
        for _ in range(20):
            await asyncio.sleep(0.001)  # would hang for good, were the loop blocked
        assert not task.done() and gate.calls == 0
        gate.planning.set()
        await gate.reached(task)
        for _ in range(20):
            await asyncio.sleep(0.001)
        gate.open.set()
        assert (await task)["y"].tolist() == WANT

    asyncio.run(main())


def test_cancelling_stops_the_run_between_kernels(gate: Gate, gated: ronn.Session) -> None:
    async def main() -> None:
        task = asyncio.create_task(gated.run_async(ROW))
        await gate.reached(task)
        task.cancel()
        await asyncio.sleep(0.05)
        assert not task.done(), "what has begun is waited for"
        gate.open.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert gated.stats().runs == 1 and carriers._in_progress == set()
        assert (await gated.run_async(ROW))["y"].tolist() == WANT

    asyncio.run(main())


def test_what_has_not_begun_is_not_waited_for(gate: Gate, gated: ronn.Session) -> None:
    async def main() -> None:
        gate.planning.clear()
        task = asyncio.create_task(gated.run_async(ROW))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.planning.set()
        gate.open.set()
        await gated.run_async(ROW)
        assert gate.calls == 1, "the cancelled run did not begin later"

    asyncio.run(main())


def test_a_second_cancel_does_not_wait(gate: Gate, gated: ronn.Session) -> None:
    async def main() -> None:
        task = asyncio.create_task(gated.run_async(ROW))
        await gate.reached(task)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0.02)
        assert task.cancelled()
        gate.open.set()

    asyncio.run(main())


def test_timeouts_while_it_runs_waits_and_is_planned(
    gate: Gate, gated: ronn.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carriers, "runs", carriers.Carriers("test", lambda: 1))

    async def main() -> None:
        gate.planning.clear()
        with pytest.raises(RunTimeoutError, match=r"timeout=0\.05"):
            await gated.run_async(ROW, timeout=0.05)  # is planned
        gate.planning.set()
        first = asyncio.create_task(gated.run_async(ROW, timeout=2))
        await gate.reached(first)
        with pytest.raises(RunTimeoutError):
            await gated.run_async(ROW, timeout=0.05)  # waits for the only thread
        await asyncio.sleep(2)
        gate.open.set()
        with pytest.raises(RunTimeoutError):
            await first
        assert gate.calls == 1
        assert (await gated.run_async(ROW, timeout=30))["y"].tolist() == WANT

    asyncio.run(main())


def test_session_cancel_reaches_awaited_runs(gate: Gate, gated: ronn.Session) -> None:
    async def main() -> None:
        task = asyncio.create_task(gated.run_async(ROW))
        await gate.reached(task)
        gated.cancel()
        gate.open.set()
        with pytest.raises(CancelledError):
            await task

    asyncio.run(main())


def test_many_loops_share_a_session(plain: ronn.Session) -> None:
    results: list[Any] = []

    def loop() -> None:
        async def main() -> None:
            for _ in range(5):
                results.append((await plain.run_async(ROW))["y"].tolist())

        asyncio.run(main())

    threads = [threading.Thread(target=loop) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert results == [WANT] * 20


def test_a_loop_that_is_gone_hurts_nobody(gate: Gate, gated: ronn.Session) -> None:
    loop = asyncio.new_event_loop()
    task = loop.create_task(gated.run_async(ROW))
    loop.run_until_complete(gate.reached(task))
    loop.close()
    gate.open.set()
    while carriers._in_progress:
        time.sleep(0.005)
    assert asyncio.run(gated.run_async(ROW))["y"].tolist() == WANT
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_until_complete(task)
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_what_a_loop_never_came_to_goes_with_it() -> None:
    class Large:
        """What an error's traceback would hold."""

    async def ask() -> tuple[aio.Mailbox, asyncio.Future[None]]:
        return aio.mailbox(), asyncio.get_running_loop().create_future()

    loop = asyncio.new_event_loop()
    box, waiter = loop.run_until_complete(ask())
    held = Large()
    assert box.post(partial(lambda waiter, held: None, waiter, held))  # the loop stands still, but is not closed yet
    gone = weakref.ref(held)
    loop.close()
    del held, box, waiter, loop
    gc.collect()
    assert gone() is None


def test_nothing_keeps_inputs_or_outputs(plain: ronn.Session) -> None:
    class Rows(np.ndarray):
        pass

    async def main() -> list[weakref.ref[Any]]:
        given = ROW.view(Rows)
        out = await plain.run_async(given)
        try:
            await plain.run_async({"x": given, "z": given})
        except InputError:
            pass
        return [weakref.ref(given), weakref.ref(out["y"])]

    refs = asyncio.run(main())
    deadline = time.monotonic() + 30
    while any(r() is not None for r in refs):  # the thread may still be on its way out
        assert time.monotonic() < deadline
        gc.collect()


def test_few_threads_that_sleep(plain: ronn.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carriers, "runs", carriers.Carriers("few", lambda: 3))

    async def main() -> None:
        await asyncio.gather(*(plain.run_async(ROW) for _ in range(50)))

    asyncio.run(main())
    mine = [t for t in threading.enumerate() if t.name.startswith("few-")]
    assert 1 <= len(mine) <= 3 and all(t.daemon for t in mine)
    used = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - used < 0.1


def test_context_variables_go_along(plain: ronn.Session) -> None:
    import contextvars

    mark = contextvars.ContextVar("mark", default="none")
    seen: list[str] = []

    async def main() -> None:
        mark.set("mine")
        done = threading.Event()
        carriers.runs.start(lambda: (seen.append(mark.get()), done.set()))  # type: ignore[func-returns-value]
        assert done.wait(10)

    asyncio.run(main())
    assert seen == ["mine"]


def test_how_long_a_run_waited_is_told(gate: Gate, gated: ronn.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carriers, "runs", carriers.Carriers("one", lambda: 1))
    seen: list[Any] = []

    async def main() -> None:
        with ronn.events.subscribe(seen.append, kinds=["RunStarted"]):
            first = asyncio.create_task(gated.run_async(ROW))
            await gate.reached(first)
            second = asyncio.create_task(gated.run_async(ROW))
            await asyncio.sleep(0.05)
            gate.open.set()
            await asyncio.gather(first, second)

    asyncio.run(main())
    assert seen[0].queued < seen[1].queued and seen[1].queued >= 0.05


def test_how_many_threads_carry_runs_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RONN_ASYNC_THREADS", "7")
    assert carriers._runs() == 7
    monkeypatch.setenv("RONN_ASYNC_THREADS", "0")
    monkeypatch.setenv("RONN_THREADS", "1")
    assert carriers._runs() == 2, "at least two"


# --- loading


def test_models_and_sessions_are_loaded(tmp_path: Any) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model())

    async def main() -> None:
        loaded = await ronn.load_async(path)
        assert isinstance(loaded, ronn.Model) and loaded.inputs[0].name == "x"
        session = await ronn.Session.create_async(path, ["reference"], {"plan_cache": 2}, warmup=[ROW])
        assert session.stats().runs == 1 and session.options.plan_cache == 2
        assert (await session.run_async(ROW))["y"].tolist() == WANT
        with pytest.raises(ModelError):
            await ronn.load_async(b"no model")
        with pytest.raises(ModelError, match="sha256"):
            await ronn.load_async(path, sha256="0" * 64)
        with pytest.raises(ModelError, match="max_nodes"):
            await ronn.Session.create_async(path, ["reference"], {"max_nodes": 1})
        with pytest.raises(InputError):
            await ronn.Session.create_async(path, ["reference"], warmup=[3])

    asyncio.run(main())


def test_a_session_that_nobody_waits_for_is_closed(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ronn.Session] = []
    closed = threading.Event()
    monkeypatch.setattr(ronn.Session, "close", lambda self: (made.append(self), closed.set()))
    gate.planning.clear()

    async def main() -> None:
        task = asyncio.create_task(ronn.Session.create_async(model(), ["gate", "reference"]))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.planning.set()
        while not closed.is_set():
            await asyncio.sleep(0.005)

    asyncio.run(main())
    assert len(made) == 1


# --- processes


def run_program(code: str) -> subprocess.CompletedProcess[str]:
    head = f"import asyncio, os, sys, threading, time\nimport numpy as np\nimport ronn\nROW = np.array([[-1, 2]], np.float32)\nMODEL = {model()!r}\n"  # noqa: E501
    return subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(code)], capture_output=True, text=True, timeout=40
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_threads_are_made_anew_after_a_fork() -> None:
    done = run_program("""
        session = ronn.Session(MODEL, providers=["reference"])
        asyncio.run(session.run_async(ROW))
        child = os.fork()
        got = asyncio.run(session.run_async(ROW))["y"].tolist()
        if child == 0:
            os._exit(7 if got == [[-1, 0]] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        print("fine", flush=True)
        """)
    assert done.stdout == "fine\n", done.stderr


EXITING = """
    from ronn.plugins import registry
    from ronn.provider import KernelProvider, kernel

    class Slow(KernelProvider):
        name = "slow"

        @kernel("Relu", dtypes="float32")
        def relu(self, ctx, x):
            begun.set()
            time.sleep({seconds})
            return x

        @kernel("Neg", dtypes="float32")
        def neg(self, ctx, x):
            if begun.is_set():
                print("went on", flush=True)
            return -x

    begun = threading.Event()
    registry().add(Slow())
    session = ronn.Session(MODEL, providers=["slow", "reference"])

    async def main():
        loop = asyncio.get_running_loop()
        {start}
        while not begun.is_set():
            await asyncio.sleep(0.005)
        {leave}

    try:
        asyncio.run(main())
    finally:
        print("left", flush=True)
    """


@pytest.mark.parametrize(
    ("start", "leave"),
    [
        ("task = loop.create_task(session.run_async(ROW))", "pass"),
        ("task = loop.create_task(session.run_async(ROW))", "sys.exit(0)"),
        ("batcher = ronn.Batcher(session, max_wait=0); batcher.submit(ROW); batcher.submit(ROW)", "pass"),
    ],
)
def test_the_interpreter_exits_in_the_middle_of_a_run(start: str, leave: str) -> None:
    done = run_program(EXITING.format(seconds=0.3, start=start, leave=leave))
    assert (done.returncode, done.stdout, done.stderr) == (0, "left\n", "")


def test_a_kernel_without_end_does_not_keep_the_interpreter() -> None:
    start = "ronn.Batcher(session, max_wait=0).submit(ROW)"
    done = run_program(EXITING.format(seconds=1000, start=start, leave="pass"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "left\n", "")
