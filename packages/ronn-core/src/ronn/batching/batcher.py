"""``Batcher``: requests that come one by one run together."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from ronn.aio import Task, mailbox
from ronn.batching.decide import Batching
from ronn.batching.join import keyed, prepare, run_together
from ronn.batching.many import batching_for, check_sizes
from ronn.batching.padding import Padding
from ronn.batching.waiting import Batch, Entry, Waiting, not_run
from ronn.carriers import loads, stopped_at_exit
from ronn.errors import CancelledError, ExecutionError, OptionError, RonnError, RunTimeoutError
from ronn.forks import renew_after_fork
from ronn.listeners import emit, waited, watched
from ronn.plan.stop import Stop, check_timeout
from ronn.records import dataclass

if TYPE_CHECKING:
    from ronn.session import Session
    from ronn.values import Outputs


@dataclass(slots=True)
class BatcherStats:
    """What a batcher has done. Times in seconds.

    waiting, running: requests now. submitted: those taken. rejected: those that found the queue full. done, failed,
    cancelled, timed_out: how they ended. runs: of the model. joined: requests that shared their run with others.
    rows: that were asked for. filled: rows that were put in beside them, to make one of the sizes. largest: most
    requests in one run. wait_seconds: that requests waited for their run, in sum. longest_wait: of one.
    """

    waiting: int = 0
    running: int = 0
    submitted: int = 0
    rejected: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    timed_out: int = 0
    runs: int = 0
    joined: int = 0
    rows: int = 0
    filled: int = 0
    largest: int = 0
    wait_seconds: float = 0.0
    longest_wait: float = 0.0

    def __str__(self) -> str:
        mean = self.wait_seconds / max(self.done + self.failed, 1) * 1e3
        return (
            f"{self.submitted} requests in {self.runs} runs (at most {self.largest} in one), {self.joined} joined, "
            f"{self.rejected} rejected, {self.failed} failed, {self.cancelled} cancelled, {self.timed_out} timed out; "
            f"waited {mean:.2f} ms in the mean; {self.waiting} waiting, {self.running} running"
        )


class Batcher:
    """Takes requests from any number of threads and event loops, and runs those together that come close in time.

    session: what runs them. Closing the batcher does not close it.
    max_batch: rows that one run has at most. sizes: numbers of rows that runs may have (each is planned once), default
        powers of two; rows that lack are filled up with copies.
    max_wait: seconds that a request waits for others; 0 takes what is there.
    queue: requests that may wait; more are refused with QueueFullError.
    join: as for ``Session.run_batch``: None joins where it is proved that rows do not touch each other.
    pad: by the name of a dim, the value to fill it up with, or a ``Pad``: requests that differ in it are joined.
    workers: runs at a time. One run uses all of the process's threads already.

    Requests of other shapes are other groups; the group with the oldest request goes first. An array that is handed
    over must stay as it is until its request is done. Threads sleep when there is nothing to do. Usable with ``with``
    and ``async with``, which close it.

    Raises OptionError for options that cannot be.
    """

    def __init__(
        self,
        session: Session,
        *,
        max_batch: int = 32,
        max_wait: float = 0.002,
        queue: int = 256,
        join: bool | None = None,
        sizes: Sequence[int] | None = None,
        pad: Mapping[str, Any] | None = None,
        workers: int = 1,
    ) -> None:
        if not 0 <= max_wait < float("inf"):
            raise OptionError(f"max_wait={max_wait!r} is not a time", hint="seconds; 0 to take what is there")
        for name, value in (("queue", queue), ("workers", workers)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise OptionError(f"{name}={value!r} must be at least 1")
        self.session = session
        allowed = check_sizes(max_batch, sizes)
        self.batching: Batching = batching_for(session, join)
        """How requests are joined, or why not."""
        self._padding = Padding(session, pad) if pad else None
        self._core = _Core(session, self.batching, Waiting(queue, allowed, max_wait), workers)
        self._finalizer = weakref.finalize(self, _Core.close, self._core, True)
        self._finalizer.atexit = False

    def submit(self, inputs: Any, *, outputs: Sequence[str] | None = None, timeout: float | None = None) -> Future[Any]:
        """Takes one request (inputs and outputs as for ``Session.run``), and gives a future for its ``Outputs``.

        timeout: seconds, waiting included, after which the request fails with RunTimeoutError.
        A future that is cancelled while it waits does not run. The future has the request's own error: InputError,
        ExecutionError, RunTimeoutError. Raises QueueFullError when too many wait, RonnError when closed.
        """
        return self._submit(inputs, outputs, timeout).future

    async def run(self, inputs: Any, *, outputs: Sequence[str] | None = None, timeout: float | None = None) -> Outputs:
        """As ``submit``, to be awaited. Cancelling takes the request out of the queue; a run is stopped when nobody
        waits for any of its requests."""
        entry = self._submit(inputs, outputs, timeout)
        loop, box = asyncio.get_running_loop(), mailbox()
        waiter: asyncio.Future[Outputs] = loop.create_future()
        entry.future.add_done_callback(lambda future: box.post(partial(_hand_over, waiter, future)))
        # A run that others share goes on: this request alone is late then.
        timer = None if timeout is None else loop.call_later(timeout, _late, waiter, entry)
        try:
            return await waiter
        finally:
            if timer is not None:
                timer.cancel()
            if not entry.future.done():
                entry.leave()

    def _submit(self, inputs: Any, outputs: Sequence[str] | None, timeout: float | None) -> Entry:
        check_timeout(timeout)
        stop = Stop(timeout)
        try:
            request = prepare(self.session, self.batching, inputs, outputs)
            if self._padding is not None:
                request = keyed(self._padding.apply(request), self.batching)
        except RonnError as e:
            self._core.refuse_if_closed()
            self._core.count(submitted=1, failed=1)
            failed: Future[Any] = Future()
            failed.set_exception(e)
            return Entry(None, stop, failed)  # type: ignore[arg-type]
        entry = Entry(request, stop)
        self._core.put(entry)
        return entry

    def stats(self) -> BatcherStats:
        """What it has done so far."""
        return self._core.snapshot()

    def close(self, drain: bool = True, timeout: float | None = None) -> None:
        """Takes no more requests, and waits (at most ``timeout`` seconds) for those it has; with ``drain=False`` those
        that wait fail with CancelledError, and those that run are stopped. Closing twice is fine."""
        self._core.close(drain)
        self._core.join(timeout)

    async def aclose(self, drain: bool = True, timeout: float | None = None) -> None:
        """As ``close``, without blocking the event loop."""
        await Task(lambda _: self.close(drain, timeout), None).on(loads)

    def __enter__(self) -> Batcher:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Batcher:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"Batcher({self.session!r}, {self.batching})"


def _hand_over(waiter: asyncio.Future[Any], future: Future[Any]) -> None:
    if waiter.done():
        return
    if future.cancelled():
        waiter.cancel()
        return
    error = future.exception()
    if error is None:
        waiter.set_result(future.result())
    else:
        waiter.set_exception(error)


def _late(waiter: asyncio.Future[Any], entry: Entry) -> None:
    if not waiter.done():
        waiter.set_exception(entry.stop.error())


class _Core:
    """What the threads of a batcher hold; the batcher itself may be garbage meanwhile."""

    def __init__(self, session: Session, batching: Batching, waiting: Waiting, workers: int) -> None:
        self._session = session
        self._batching = batching
        self._waiting = waiting
        self._workers = workers
        self._stats = BatcherStats()
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """In a child process: threads and requests are the parent's."""
        self._waiting.after_fork()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._running: set[Batch] = set()
        self._stats.waiting = self._stats.running = 0

    def put(self, entry: Entry) -> None:
        self._waiting.put(entry)
        self.count(submitted=1)
        if len(self._threads) < self._workers:
            with self._lock:
                if len(self._threads) < self._workers:
                    name = f"ronn-batcher-{len(self._threads) + 1}"
                    thread = threading.Thread(target=self._work, name=name, daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def refuse_if_closed(self) -> None:
        if self._waiting.closed:
            raise RonnError("the batcher is closed")

    def count(self, **more: int) -> None:
        with self._lock:
            for name, n in more.items():
                setattr(self._stats, name, getattr(self._stats, name) + n)

    def snapshot(self) -> BatcherStats:
        with self._lock:
            values = {n: getattr(self._stats, n) for n in BatcherStats.__annotations__}
            running = sum(len(b.entries) for b in self._running)
        waiting = self._waiting
        now = {"waiting": waiting.count, "running": running, "rejected": waiting.rejected}
        return BatcherStats(**{**values, **now, "cancelled": values["cancelled"] + waiting.cancelled})

    def close(self, drain: bool) -> None:
        for entry in self._waiting.close(drain):
            if entry.future.set_running_or_notify_cancel():
                entry.future.set_exception(not_run())
                self.count(cancelled=1)
        if not drain:
            for batch in list(self._running):
                batch.stop.set("the batcher was closed")

    def join(self, timeout: float | None) -> None:
        stop = Stop(timeout)
        for thread in list(self._threads):
            if thread is not threading.current_thread():
                left = stop.remaining
                thread.join(None if left is None else max(left, 0))

    def _work(self) -> None:
        while True:
            batch, late = self._waiting.next()
            for entry in late:
                if entry.future.set_running_or_notify_cancel():
                    entry.future.set_exception(entry.stop.error())
                    self.count(timed_out=1)
            if batch is None and not late:
                return
            if batch is not None:
                self._run(batch)
            batch, late = None, []  # what they hold must not wait for the next ones

    def _run(self, batch: Batch) -> None:
        with self._lock:
            self._running.add(batch)
        first = min(e.since for e in batch.entries)
        waited.set(batch.began - first)
        if watched("BatchFormed"):
            emit(
                "BatchFormed",
                session=self._session.number,
                model=self._session.model.ir.source,
                size=len(batch.entries),
                rows=batch.rows,
                waited=batch.began - first,
                queued=self._waiting.count,
            )
        try:
            with stopped_at_exit(batch.stop):
                results = run_together(
                    [e.request for e in batch.entries],
                    batch.rows,
                    self._batching,
                    lambda inputs: self._session.run(inputs, stop=batch.stop),
                )
        except Exception as e:  # a bug: those who wait must hear of it
            failure = ExecutionError(f"the run failed: {type(e).__name__}: {e}")
            failure.__cause__ = e
            results = [failure] * len(batch.entries)
        finally:
            with self._lock:
                self._running.discard(batch)
        self._note(batch, results)
        for entry, result in zip(batch.entries, results, strict=True):
            entry.batch = None
            if entry.stop.due and not entry.left:
                entry.future.set_exception(entry.stop.error())
            elif isinstance(result, RonnError):
                entry.future.set_exception(result)
            else:
                entry.future.set_result(result)

    def _note(self, batch: Batch, results: Sequence[Any]) -> None:
        entries, s = batch.entries, self._stats
        rows = sum(e.request.rows for e in entries)
        with self._lock:
            s.runs += 1
            s.rows += rows
            s.filled += max(batch.rows - rows, 0)
            s.largest = max(s.largest, len(entries))
            s.joined += len(entries) if len(entries) > 1 else 0
            began = batch.began
            for entry, result in zip(entries, results, strict=True):
                s.wait_seconds += began - entry.since
                s.longest_wait = max(s.longest_wait, began - entry.since)
                if entry.stop.due or isinstance(result, RunTimeoutError):
                    s.timed_out += 1
                elif isinstance(result, CancelledError) or entry.left:
                    s.cancelled += 1
                elif isinstance(result, RonnError):
                    s.failed += 1
                else:
                    s.done += 1
