"""The thread pool: one per process, made when first needed, made anew after a fork."""

from __future__ import annotations

import ctypes
import os
import threading

import numpy as np

from ronn import host, knobs
from ronn_codegen.native.library import Library
from ronn_provider_cpu.engine.layout import EVERYBODY, FUTEX, STOP, SYSTEM, WAKE_PRIVATE, WORDS

EXECUTOR = "ronn_provider_cpu.engine.executor"
_LOOKS = 1500  # of a waiting worker before it sleeps: some 50 us
_ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


def default_threads() -> int:
    """Threads that a run uses unless its session says otherwise: RONN_THREADS, else what the process may use."""
    given = knobs.THREADS.get()
    return given if given > 0 else int(host.threads()["number"])


class Pool:
    """Workers that help the thread that runs a plan. They spin for some 50 us after work, then sleep in the kernel."""

    def __init__(self, library: Library) -> None:
        library.require([EXECUTOR])
        self._control = np.zeros(WORDS + 8, np.int64)
        start = (-self._control.ctypes.data % 64) // 8
        self.words = self._control[start : start + WORDS]
        self.address = int(self.words.ctypes.data)
        self._work = _ENTRY(library.address(EXECUTOR, "work"))
        self._run = _ENTRY(library.address(EXECUTOR, "run_plan"))
        self._libc = ctypes.CDLL(None)
        syscall = ctypes.cast(self._libc.syscall, ctypes.c_void_p).value
        assert syscall is not None
        self.words[SYSTEM], self.words[SYSTEM + 1] = syscall, _LOOKS
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def grow(self, workers: int) -> None:
        """Sees to it that there are at least so many workers."""
        if len(self._threads) >= workers:
            return
        with self._lock:
            while len(self._threads) < workers:
                block = np.array([self.address, len(self._threads)], np.int64)
                thread = threading.Thread(
                    target=self._life, args=(block,), name=f"ronn-{len(self._threads)}", daemon=True
                )
                self._threads.append(thread)
                thread.start()

    def _life(self, block: np.ndarray) -> None:
        self._work(block.ctypes.data, 0, 1)

    def run(self, steps: np.ndarray, threads: int, clock: np.ndarray | None) -> None:
        """Runs steps (int64[n, 3]) on ``threads`` threads, this one included. The GIL is released meanwhile."""
        if threads > 1:
            self.grow(threads - 1)
        times = 0 if clock is None else clock.__array_interface__["data"][0]
        block = (ctypes.c_int64 * 5)(self.address, steps.__array_interface__["data"][0], len(steps), threads, times)
        self._run(ctypes.addressof(block), 0, 1)

    def stop(self) -> None:
        """Ends the workers (tests; a process that exits need not)."""
        self.words[STOP] = 1
        self.words[0] += 1
        self._libc.syscall(FUTEX, ctypes.c_void_p(self.address), WAKE_PRIVATE, EVERYBODY, 0)
        for thread in self._threads:
            thread.join()


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


def _after_fork() -> None:
    """The child has none of the parent's threads."""
    global _pool, _making
    _pool, _making = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
