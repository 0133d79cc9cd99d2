"""Memory: flat over many runs, and given back when sessions close."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

from ronn_testkit.checks import probe
from ronn_testkit.models import chain
from ronn_testkit.subject import CheckFailed, Subject
from ronn_testkit.values import fill

SHAPE = (64, 1024)  # 256 KiB
RUNS = 120
PER_RUN = 512  # bytes that a run may add on average, for what caches inside NumPy and Python do


def resident() -> int:
    """Bytes of this process in memory; 0 where the system does not tell."""
    try:
        import os

        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def flat_memory(subject: Subject) -> None:
    """Many runs of one session add nothing: neither to what Python allocates, nor to the process."""
    with subject.registered(), subject.session(chain(probe.chain_ops(subject), list(SHAPE))) as session:
        x = fill(SHAPE, "float32", 0)
        for _ in range(20):
            session.run(x)
        tracemalloc.start()
        try:
            for _ in range(5):
                session.run(x)
            gc.collect()
            traced, whole = tracemalloc.get_traced_memory()[0], resident()
            for _ in range(RUNS):
                session.run(x)
            gc.collect()
            grown, process = tracemalloc.get_traced_memory()[0] - traced, resident() - whole
        finally:
            tracemalloc.stop()
    if grown > RUNS * PER_RUN:
        raise CheckFailed(f"{RUNS} runs leave {grown} bytes allocated ({grown // RUNS} a run)")
    if process > RUNS * x.nbytes // 4:
        raise CheckFailed(f"the process grew by {process} bytes in {RUNS} runs of {x.nbytes} bytes each")


def close_gives_back(subject: Subject) -> None:
    """Sessions that are made, run and closed leave nothing behind."""
    size = (512, 1024)  # 2 MiB
    with subject.registered():
        model = chain(probe.chain_ops(subject), list(size))
        x = fill(size, "float32", 0)

        def cycle() -> None:
            with subject.session(model) as session:
                session.run(x)

        cycle()
        gc.collect()
        tracemalloc.start()
        try:
            cycle()
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(6):
                cycle()
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
    if grown > 6 * x.nbytes // 8:
        raise CheckFailed(f"six sessions, made and closed, leave {grown} bytes allocated")
