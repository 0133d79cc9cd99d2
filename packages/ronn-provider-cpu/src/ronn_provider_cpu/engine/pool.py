"""The thread pool: one per process, made when first needed, made anew after a fork."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable

import numpy as np

from ronn import threads as process_threads
from ronn.plan.segment import address
from ronn.plan.stop import NEVER, Stop
from ronn_codegen.native.library import Library
from ronn_provider_cpu.engine.layout import EVERYBODY, FUTEX, LIMIT, STOP, SYSTEM, WAKE_PRIVATE, WORDS

EXECUTOR = "ronn_provider_cpu.engine.executor"
_BETWEEN = 50e-6  # seconds that a worker looks out for the next run before it sleeps
_INSIDE = 1e-3  # the same while a run is in progress, whose next step may be its
_SLICE = 1 << 27  # cycles (some 50 ms) after which a run comes back to Python, for signals to be handled
_WHOLE = 1 << 62
_BASELINE = 0.002  # seconds that a cycle is measured over, at least
_LONG_BASELINE = 1.0  # after so long what was found is good enough for ever
_THREADS_WORD, _STOP_WORD = 3, 5
_ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
_RUN = ctypes.CFUNCTYPE(None, ctypes.c_void_p)  # run_plan does not ask which share of how many it is


class Pool:
    """Workers that help the thread that runs a plan. They spin for some 50 us after work, then sleep in the kernel."""

    def __init__(self, library: Library) -> None:
        library.require([EXECUTOR])
        self._control = np.zeros(WORDS + 8, np.int64)
        start = (-self._control.ctypes.data % 64) // 8
        self.words = self._control[start : start + WORDS]
        self.address = int(self.words.ctypes.data)
        self._work = _ENTRY(library.address(EXECUTOR, "work"))
        self.run_plan = _RUN(library.address(EXECUTOR, "run_plan"))
        self._libc = ctypes.CDLL(None)
        syscall = ctypes.cast(self._libc.syscall, ctypes.c_void_p).value
        assert syscall is not None
        look = _seconds_of_a_look(_ENTRY(library.address(EXECUTOR, "spin")), self.address)
        self.words[SYSTEM : SYSTEM + 3] = syscall, int(_BETWEEN / look), int(_INSIDE / look)
        self._threads: list[threading.Thread] = []
        self._wanted = 1
        self._lock = threading.Lock()
        self.hold_to(process_threads.limit())
        self._born = self._now()
        self._tick: float | None = None

    def grow(self, workers: int) -> None:
        """Sees to it that there are at least so many workers, if the system lets: runs get by with fewer."""
        if len(self._threads) >= workers:
            return
        with self._lock:
            while len(self._threads) < workers:
                block = np.array([self.address, len(self._threads)], np.int64)
                thread = threading.Thread(
                    target=self._life, args=(block,), name=f"ronn-{len(self._threads)}", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:  # no more threads, or the interpreter is on its way out
                    return
                self._threads.append(thread)

    def _life(self, block: np.ndarray) -> None:
        self._work(block.ctypes.data, 0, 1)

    def run(self, steps: np.ndarray, threads: int, clock: np.ndarray | None) -> None:
        """Runs steps (int64[n, 3]) on ``threads`` threads, this one included. The GIL is released meanwhile."""
        threads = self.fit(steps, threads)
        times = 0 if clock is None else address(clock)
        state = np.array([0, _WHOLE], np.int64)
        words = (self.address, address(steps), len(steps), threads, times, NEVER.address, address(state))
        block = (ctypes.c_int64 * len(words))(*words)
        self.run_plan(ctypes.addressof(block))

    @property
    def tick(self) -> float:
        """Seconds of one cycle of the counter that ``clock`` is filled from: as found since the pool was made."""
        if self._tick is not None:
            return self._tick
        seconds, ticks = self._now()
        if seconds - self._born[0] < _BASELINE:
            time.sleep(_BASELINE)
            seconds, ticks = self._now()
        tick = (seconds - self._born[0]) / max(ticks - self._born[1], 1)
        if seconds - self._born[0] > _LONG_BASELINE:
            self._tick = tick
        return tick

    def _now(self) -> tuple[float, int]:
        clock = np.zeros(1, np.int64)
        self.run(np.zeros((0, 3), np.int64), 1, clock)
        return time.perf_counter(), int(clock[0])

    def fit(self, steps: np.ndarray, threads: int) -> int:
        """The threads that ``steps`` can use, which are there from now on."""
        threads = min(threads, int(steps[:, 2].max(initial=1)))
        self._wanted = max(self._wanted, threads)
        self.grow(min(threads, int(self.words[LIMIT])) - 1)
        return threads

    def hold_to(self, limit: int | None) -> None:
        """From now on no run uses more than ``limit`` threads; None: no limit but what each was launched with."""
        self.words[LIMIT] = _WHOLE if limit is None else limit
        self.grow(min(self._wanted, int(self.words[LIMIT])) - 1)

    def stop(self) -> None:
        """Ends the workers (tests; a process that exits need not)."""
        self.words[STOP] = 1
        self.words[0] += 1
        self._libc.syscall(FUTEX, ctypes.c_void_p(self.address), WAKE_PRIVATE, EVERYBODY, 0)
        for thread in self._threads:
            thread.join()


class Launch:
    """Runs the same steps again and again: its argument block is made once. One thread at a time calls it."""

    __slots__ = (
        "_block", "_fitted", "_library", "_pool", "_run", "_state", "_steps", "_stop", "_threads", "_where", "_words",
    )  # fmt: skip

    def __init__(self, library: Library, steps: np.ndarray, threads: int) -> None:
        self._library = library
        self._steps = steps
        self._threads = threads
        self._stop = NEVER
        self._words = np.array([0, _SLICE], np.int64)
        self._state = self._words.data
        self._fitted = 1
        self._attach(pool(library))

    def _attach(self, to: Pool) -> None:
        self._pool = to
        self._fitted = to.fit(self._steps, self._threads)
        places = self._stop.address, address(self._words)
        words = (to.address, address(self._steps), len(self._steps), self._allowed, 0, *places)
        self._block = (ctypes.c_int64 * len(words))(*words)
        self._where = ctypes.addressof(self._block)
        self._run = to.run_plan

    def __call__(self, stop: Stop = NEVER, first: int = 0) -> int:
        """Runs the steps from number ``first`` on; returns 0 when all are done, else the number of the next one: then
        ``stop`` is set, or so much time has passed that signals should be looked at."""
        if self._pool is not _pool:
            self._attach(pool(self._library))
        if stop is not self._stop:
            self._stop = stop
            self._block[_STOP_WORD] = stop.address
            self._block[_THREADS_WORD] = self._allowed
            self._state[1] = _SLICE
        if stop.deadline is not None:
            self._state[1] = self._until(stop)
        self._state[0] = first
        self._run(self._where)
        return self._state[0]

    @property
    def _allowed(self) -> int:
        return self._fitted if self._stop.threads is None else min(self._fitted, self._stop.threads)

    def _until(self, stop: Stop) -> int:
        remaining = stop.remaining
        assert remaining is not None
        return min(max(int(remaining / self._pool.tick), 0), _SLICE)


def _seconds_of_a_look(spin: Callable[[int, int, int], None], words: int) -> float:
    looks = 2000
    block = np.array([words, looks], np.int64)
    best = 1.0
    for _ in range(3):
        started = time.perf_counter()
        spin(address(block), 0, 1)
        best = min(best, time.perf_counter() - started)
    return max(best / looks, 1e-9)


_pool: Pool | None = None
_making = threading.Lock()


def pool(library: Library) -> Pool:
    """The pool of this process."""
    global _pool
    found = _pool
    if found is None:
        with _making:
            if _pool is None:
                _pool = Pool(library)
            found = _pool
    return found


def _limit_changed(before: int, after: int) -> None:
    if _pool is not None:
        _pool.hold_to(process_threads.limit())


process_threads.when_set(_limit_changed)


def _after_fork() -> None:
    """The child has none of the parent's threads."""
    global _pool, _making
    _pool, _making = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
