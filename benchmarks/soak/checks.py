"""The checks that look at one thing each: bits, memory, threads, processor time at rest."""

from __future__ import annotations

import gc
import threading
import time
from typing import Any

import numpy as np
import psutil

import ronn
from benchmarks.soak.models import MODELS, Feed, dynamic, outputs_of, same, values


def concurrency(seconds: float, threads: int = 8) -> dict[str, Any]:
    """Threads that each run any of four sessions with any of their feeds, against serial runs."""
    options = [{"threads": 1}, {"threads": 2}, {"threads": 2}, {"threads": 3}]
    jobs = []
    sessions = []
    for (make, shapes), given in zip(MODELS.values(), options, strict=True):
        session = ronn.Session(make(), providers=["cpu"], options=given)
        sessions.append(session)
        for seed, shape in enumerate(shapes):
            feed = values(shape, seed)
            jobs.append((session, feed, outputs_of(session, feed)))
    wrong: list[int] = []
    failures: list[str] = []
    counts: list[int] = []
    until = time.monotonic() + seconds

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        done = 0
        try:
            while time.monotonic() < until:
                number = int(rng.integers(len(jobs)))
                session, feed, expected = jobs[number]
                if not same(outputs_of(session, feed), expected):
                    wrong.append(number)
                done += 1
        except Exception as error:  # in a thread nobody else would see it
            failures.append(f"{type(error).__name__}: {error}")
        counts.append(done)

    workers = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(seconds + 120)
    stuck = sum(worker.is_alive() for worker in workers)
    return {
        "sessions": len(sessions), "threads": threads, "seconds": seconds, "runs": sum(counts),
        "runs_of_the_slowest_thread": min(counts, default=0), "different": len(wrong), "stuck": stuck,
        "failures": failures, "ok": not wrong and not failures and not stuck and min(counts, default=0) > 0,
    }  # fmt: skip


def memory(runs: int, shapes: int = 200, allowed: float = 0.02) -> dict[str, Any]:
    """What the process holds after a fifth of the runs and after all of them, over many shapes in random order."""
    session = ronn.Session(dynamic(), providers=["cpu"], options={"threads": 2})
    rng = np.random.default_rng(0)
    every = [(n, m, 48) for n in range(1, 11) for m in range(1, 62, 3)][:shapes]
    feeds = [values(shape, 0) for shape in every]
    process = psutil.Process()
    held = []
    for number in range(runs):
        session.run(feeds[int(rng.integers(shapes))])
        if (number + 1) % (runs // 10) == 0:
            gc.collect()
            held.append(process.memory_info().rss)
    growth = held[-1] / held[1] - 1
    stats = session.stats()
    return {
        "runs": runs, "shapes": len(every), "mib_at_each_tenth": [round(each / 2**20, 1) for each in held],
        "growth": round(growth, 5), "allowed": allowed, "planned": stats.planned, "ok": growth < allowed,
    }  # fmt: skip


def _bits(source: Any, feeds: list[Feed], counts: tuple[int, ...]) -> list[str]:
    """What differs between the numbers of threads; nothing when all is well."""
    expected: list[list[np.ndarray]] = []
    found = []
    for threads in counts:
        options: dict[str, Any] = {"threads": threads, "deterministic": True}
        with ronn.Session(source, options=options) as session:
            for number, feed in enumerate(feeds):
                got = outputs_of(session, feed)
                if len(expected) <= number:
                    expected.append(got)
                elif not same(got, expected[number]):
                    found.append(f"feed {number}: {threads} threads against {counts[0]}")
    return found


def threads(zoo: bool, counts: tuple[int, ...] = (1, 2, 4)) -> dict[str, Any]:
    """The made models, and the small ones of the zoo, with each number of threads."""
    models: dict[str, list[str]] = {}
    for name, (make, shapes) in MODELS.items():
        models[name] = _bits(make(), [values(shape, seed) for seed, shape in enumerate(shapes)], counts)
    if zoo:
        from benchmarks.zoo.feeds import make_feed
        from benchmarks.zoo.fetch import model_path
        from benchmarks.zoo.manifest import load_manifest

        for model in load_manifest().select(None, True):
            models[model.name] = _bits(model_path(model.name), [make_feed(model, s) for s in model.sizes], counts)
    different = {name: found for name, found in models.items() if found}
    return {"threads": list(counts), "models": sorted(models), "different": different, "ok": not different}


def idle(seconds: float = 2.0, sessions: int = 10, allowed: float = 0.001) -> dict[str, Any]:
    """Processor seconds that open sessions take, over the seconds that pass."""
    makers = list(MODELS.values())
    opened = []
    for number in range(sessions):
        make, shapes = makers[number % len(makers)]
        session = ronn.Session(make(), providers=["cpu"], options={"threads": 2})
        for seed, shape in enumerate(shapes):
            session.run(values(shape, seed))
        opened.append(session)
    time.sleep(0.2)
    before = time.process_time()
    time.sleep(seconds)
    share = (time.process_time() - before) / seconds
    return {"sessions": len(opened), "seconds": seconds, "share": round(share, 6), "ok": share < allowed}
