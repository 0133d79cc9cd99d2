"""Measures what this machine can do at most, now: the ceilings that profiles are held against."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from ronn.plan.segment import address
from ronn.provider.native import Ceilings
from ronn_codegen.native.library import Library
from ronn_provider_cpu.engine.layout import chains
from ronn_provider_cpu.engine.pool import Launch, pool

CEILINGS = "ronn_provider_cpu.engine.ceilings"
_ROUNDS = 100_000
_LARGE = 96 << 20  # bytes: beyond the caches
_SMALL = 128 << 10  # bytes a thread: within the second-level cache
_TRIES = 7


def ceilings(library: Library, threads: int) -> Ceilings:
    """The most that ``threads`` threads together reach: the best of a few tries, some 0.2 s in all."""
    library.require([CEILINGS])
    target = library.machine.target
    sink = np.zeros(max(threads, 1) * 16, np.float32)
    multiply = _launch(library, "multiply_add", threads, address(sink), _ROUNDS)
    flops = 2.0 * threads * _ROUNDS * chains(target.registers) * target.lanes(32) / _best(multiply)
    return Ceilings(
        threads, flops, _moved(library, threads, _LARGE, 1), _moved(library, threads, _SMALL * threads, 200)
    )


def launch_costs(library: Library, threads: int, steps: int = 200) -> dict[str, float]:
    """Nanoseconds (medians): of a launch of one kernel that does nothing, of each further one, and of each further one
    of ``threads`` shares, the barrier behind it included."""
    library.require([CEILINGS])
    times = {}
    for name, count, shares in (("one", 1, 1), ("serial", steps, 1), ("shared", steps, threads)):
        block = np.zeros(1, np.int64)
        row = (library.address(CEILINGS, "nothing"), address(block), shares)
        array = np.array([row] * count, np.int64)
        launch = Launch(library, array, threads)
        times[name] = _median(launch) * 1e9
    return {
        "launch": times["one"],
        "serial_kernel": (times["serial"] - times["one"]) / (steps - 1),
        "barrier": (times["shared"] - times["one"]) / (steps - 1),
    }


def _moved(library: Library, threads: int, size: int, times: int) -> float:
    source, sink = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    vectors = size * 8 // library.machine.target.bits
    move = _launch(library, "move", threads, address(source), address(sink), vectors, times)
    return 2.0 * size * times / _best(move)


def _launch(library: Library, kernel: str, shares: int, *words: int) -> Callable[[], None]:
    """A function that runs the kernel on so many shares, each by a thread of its own where that many are free."""
    block = np.array(words, np.int64)
    steps = np.array([(library.address(CEILINGS, kernel), address(block), shares)], np.int64)
    workers = pool(library)

    def run(keep: object = block) -> None:  # the steps hold the block's address only
        workers.run(steps, shares, None)

    return run


def _best(run: Callable[[], None]) -> float:
    best = float("inf")
    for _ in range(_TRIES):
        started = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - started)
    return best


def _median(run: Callable[[], object]) -> float:
    times = []
    for _ in range(401):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]
