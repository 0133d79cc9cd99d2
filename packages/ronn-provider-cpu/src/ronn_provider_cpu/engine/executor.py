"""The plan executor: one call runs a list of kernels on a pool of threads, with no Python between them.

The thread that runs a plan drives it. A kernel of one share is run by the driver alone; for a kernel of several the
driver publishes the step, and it and the pool's workers claim shares until none is left. Even workers claim from the
front and odd ones from the back, so that with the same number of shares in the next step each thread mostly meets its
own part of the data again. A worker that comes late claims less: nobody waits for a thread that has not started.

The control block, one cache line (8 words) each so that threads do not disturb one another:

    EPOCH     number of the published step; also the futex that sleeping workers wait on
    CLAIM     tag of the step (24 bits), one past the last unclaimed share (20), first unclaimed share (20)
    DONE      shares that are finished
    JOB       kernel, argument block, shares, how many workers may take part
    SLEEPERS  workers that sleep, or are about to
    STOP      1: workers return
    OWNER     1: a run has the pool
    SYSTEM    address of libc's syscall, how often a waiting worker looks before it sleeps: between runs, inside a run;
              LIMIT: threads that a run may use, whatever it was launched with

What may happen in which order:

* A worker that has seen EPOCH reads JOB, which the driver may be overwriting for the next step. What it read counts
  only after it has claimed a share of that very epoch: as long as a share of a step is unclaimed or unfinished the
  driver waits, and writes nothing. A claim with another tag, or of a step whose shares are all taken, fails.
* A worker counts itself in SLEEPERS, then looks at EPOCH once more, then sleeps if EPOCH is still the same (the kernel
  compares again). The driver raises EPOCH, then looks at SLEEPERS. All four are sequentially consistent, so one of the
  two sees the other; and the driver finishes by itself if nobody wakes.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd.target import Target
from ronn_provider_cpu.engine.layout import (
    CLAIM,
    DONE,
    EPOCH,
    EVERYBODY,
    FUTEX,
    JOB,
    LIMIT,
    MAX_SHARES,
    OWNER,
    SHARE_BITS,
    SLEEPERS,
    STOP,
    SYSTEM,
    WAIT_PRIVATE,
    WAKE_PRIVATE,
    YIELD,
)
from ronn_provider_cpu.engine.primitives import (
    call_kernel,
    compare_exchange,
    cycles,
    fetch_add,
    load_acquire,
    load_ordered,
    pause,
    read,
    store_release,
    system_call,
    write,
)

_TAGS = (1 << 24) - 1
_PATIENCE = 4096  # looks of a driver at unfinished shares before it offers its processor to others


@njit(error_model="numpy", nogil=True)
def _take(pool, tag, kernel, block, shares, from_back):  # type: ignore[no-untyped-def]
    """Claims and runs shares of the step ``tag`` until none is left."""
    while True:
        claim = load_acquire(pool, CLAIM)
        if (claim >> 40) & _TAGS != tag:
            return
        first, last = claim & MAX_SHARES, (claim >> SHARE_BITS) & MAX_SHARES
        if first >= last:
            return
        if from_back:
            share, after = last - 1, claim - (1 << SHARE_BITS)
        else:
            share, after = first, claim + 1
        if compare_exchange(pool, CLAIM, claim, after):
            call_kernel(kernel, block, share, shares)
            fetch_add(pool, DONE, 1)


@njit(error_model="numpy", nogil=True)
def _share_out(pool, kernel, block, shares, threads):  # type: ignore[no-untyped-def]
    """Runs one step on all threads; returns when every share is finished."""
    epoch = read(pool, EPOCH) + 1
    tag = epoch & _TAGS
    write(pool, JOB, kernel)
    write(pool, JOB + 1, block)
    write(pool, JOB + 2, shares)
    write(pool, JOB + 3, threads - 1)
    write(pool, DONE, 0)
    store_release(pool, CLAIM, (tag << 40) | (shares << SHARE_BITS))
    fetch_add(pool, EPOCH, 1)
    if load_ordered(pool, SLEEPERS) > 0:
        system_call(read(pool, SYSTEM), FUTEX, pool + 8 * EPOCH, WAKE_PRIVATE, EVERYBODY, 0)
    _take(pool, tag, kernel, block, shares, False)
    looks = 0
    while load_acquire(pool, DONE) != shares:
        pause()
        looks += 1
        if looks > _PATIENCE:
            looks = 0
            system_call(read(pool, SYSTEM), YIELD, 0, 0, 0, 0)


@native("run_plan(pool, steps, count, threads, clock, stop, state)")
def run_plan(target: Target) -> Any:
    """Runs steps (words: kernel, argument block, shares) from number ``state[0]`` to ``count``. ``clock``: 0, or takes
    count + 1 times.

    Between two steps it returns when the word at ``stop`` is not 0, or ``state[1]`` cycles are over: ``state[0]`` is
    then the step to go on with, and 0 when all are done.

    The pool is taken at the first step of several shares; while another run has it, this thread does such steps alone.
    """

    @njit(error_model="numpy", nogil=True)
    def run(pool, steps, count, threads, clock, stop, state, worker, workers):  # type: ignore[no-untyped-def]
        owner = False
        first, end = read(state, 0), cycles() + read(state, 1)
        after = 0
        for i in range(first, count):
            if i > first and (load_acquire(stop, 0) != 0 or cycles() >= end):
                after = i
                break
            kernel, block, shares = read(steps, 3 * i), read(steps, 3 * i + 1), read(steps, 3 * i + 2)
            if clock != 0:
                write(clock, i, cycles())
            allowed = min(threads, read(pool, LIMIT)) if shares > 1 else 1
            if allowed > 1 and not owner and load_acquire(pool, OWNER) == 0:
                owner = compare_exchange(pool, OWNER, 0, 1)
            if allowed > 1 and owner:
                _share_out(pool, kernel, block, shares, allowed)
            else:
                call_kernel(kernel, block, 0, 1)
        if clock != 0:
            write(clock, count, cycles())
        write(state, 0, after)
        if owner:
            store_release(pool, OWNER, 0)

    return run


@native("spin(pool, looks)")
def spin(target: Target) -> Any:
    """Looks at the pool so many times as a waiting worker does: how long a look takes is measured with it."""

    @njit(error_model="numpy", nogil=True)
    def run(pool, looks, worker, workers):  # type: ignore[no-untyped-def]
        seen = load_acquire(pool, EPOCH)
        for _ in range(looks):
            if load_acquire(pool, STOP) != 0 or load_acquire(pool, EPOCH) != seen:
                return
            pause()

    return run


@native("work(pool, index)")
def work(target: Target) -> Any:
    """The life of worker ``index`` (from 0): wait for steps, claim shares. Returns when STOP is set."""

    @njit(error_model="numpy", nogil=True)
    def life(pool, index, worker, workers):  # type: ignore[no-untyped-def]
        system, patience, longer = read(pool, SYSTEM), read(pool, SYSTEM + 1), read(pool, SYSTEM + 2)
        seen = load_acquire(pool, EPOCH)
        looks = 0
        while load_acquire(pool, STOP) == 0:
            epoch = load_acquire(pool, EPOCH)
            if epoch != seen:
                seen = epoch
                looks = 0
                if index < read(pool, JOB + 3):
                    kernel, block, shares = read(pool, JOB), read(pool, JOB + 1), read(pool, JOB + 2)
                    _take(pool, epoch & _TAGS, kernel, block, shares, index & 1 == 0)
                continue
            pause()
            looks += 1
            if looks > patience and (looks > longer or load_acquire(pool, OWNER) == 0):
                looks = 0
                fetch_add(pool, SLEEPERS, 1)
                if load_ordered(pool, EPOCH) == seen and load_acquire(pool, STOP) == 0:
                    system_call(system, FUTEX, pool + 8 * EPOCH, WAIT_PRIVATE, seen & 0xFFFFFFFF, 0)
                fetch_add(pool, SLEEPERS, -1)

    return life
