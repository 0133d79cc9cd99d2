"""Times taken in turn: short bursts of each contestant, one after another; whatever else happens falls on all."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

from ronn.records import dataclass, field

BURST_S, PAUSE_S, UNCOUNTED_RUNS, LEAST_RUNS = 0.1, 0.08, 2, 3
"""Seconds of a burst; of rest before one, where another runtime's threads may still spin; runs before one that do not
count; and of each contestant at least."""

K = TypeVar("K", bound=Hashable)


@dataclass
class Taken:
    """Seconds of each counted run, and of the bursts that they were in."""

    times: list[float] = field(default_factory=list)
    wall: float = 0.0

    def add(self, other: Taken) -> None:
        self.times += other.times
        self.wall += other.wall


Taker = Callable[[float], Taken]
"""Runs for about so many seconds, at least once."""


def single(run: Callable[[], object], uncounted: int = UNCOUNTED_RUNS) -> Taker:
    """One caller, run after run."""

    def take(seconds: float) -> Taken:
        for _ in range(uncounted):
            run()
        clock = time.perf_counter
        times = []
        began = started = clock()
        while True:
            run()
            stopped = clock()
            times.append(stopped - started)
            if stopped >= began + seconds:
                return Taken(times, stopped - began)
            started = clock()

    return take


def parallel(run: Callable[[], object], callers: int) -> Taker:
    """So many threads that call at once, each run after run. An error in one of them is raised."""
    if callers == 1:
        return single(run)

    def take(seconds: float) -> Taken:
        one = single(run, uncounted=0)
        found: list[Taken] = []
        errors: list[BaseException] = []
        gate = threading.Barrier(callers + 1)

        def call() -> None:
            try:
                for _ in range(UNCOUNTED_RUNS):
                    run()
                gate.wait()
                found.append(one(seconds))
            except threading.BrokenBarrierError:
                pass  # another caller failed
            except BaseException as e:
                errors.append(e)
                gate.abort()

        threads = [threading.Thread(target=call, name=f"ronn-bench-{i}", daemon=True) for i in range(callers)]
        for thread in threads:
            thread.start()
        try:
            gate.wait()
        except threading.BrokenBarrierError:
            pass
        began = time.perf_counter()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return Taken([t for taken in found for t in taken.times], time.perf_counter() - began)

    return take


def in_turn(
    takers: Mapping[K, Taker],
    seconds: float,
    *,
    rounds: int | None = None,
    burst: float = BURST_S,
    pause: float = 0.0,
    least: int = LEAST_RUNS,
    advance: Callable[[float], None] = lambda share: None,
) -> dict[K, Taken]:
    """What each takes, A B C A B C: for so many seconds in all, or so many rounds where that is sooner, and at least
    ``least`` runs each.

    pause: seconds of rest before each burst. advance: told after each burst how much of it all is done (0 to 1).
    Ctrl-C ends it early: what was taken until then is the result. The garbage collector rests during a burst.
    """
    found = {key: Taken() for key in takers}
    began = time.perf_counter()
    done = 0
    enabled = gc.isenabled()
    gc.collect()
    try:
        while rounds is None or done < rounds:
            for key, take in takers.items():
                if pause:
                    time.sleep(pause)
                gc.disable()
                found[key].add(take(burst))
                if enabled:
                    gc.enable()
                spent = (time.perf_counter() - began) / seconds if seconds > 0 else 1.0
                advance(min(1.0, max(spent, 0.0 if rounds is None else done / rounds)))
            done += 1
            if time.perf_counter() - began >= seconds and all(len(t.times) >= least for t in found.values()):
                break
    except KeyboardInterrupt:
        pass
    finally:
        if enabled:
            gc.enable()
    return found
