"""A real HRMSession on a stream, request by request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import ronn
import ronn_hrm as hrm
from benchmarks.hrm import digits
from benchmarks.hrm.baselines import Routed
from benchmarks.hrm.streams import Stream

SLEEP_EVERY = 3000
"""Requests between two consolidations: what stands for idle time in a stream."""
PATHS = {"full": 0, "cache": 1, "fast": 2}


@contextmanager
def known_coin(seed: int) -> Iterator[None]:
    """Memories made meanwhile toss coins with a key that is known, so that a run can be repeated to the bit."""
    kept = hrm.EpisodicStore.key
    hrm.EpisodicStore.key = property(lambda store: seed.to_bytes(32, "little"))  # type: ignore[method-assign]
    try:
        yield
    finally:
        hrm.EpisodicStore.key = kept  # type: ignore[method-assign]


def embedding_of_digits() -> hrm.FromInput:
    """64 principal directions of the digits that both networks learned from."""
    return hrm.FromInput.principal("x", digits.digits().train_x, 64)


def on_digits(alpha: float = 0.01, *, memory: hrm.Memory | None = None, **options: Any) -> hrm.HRMSession:
    """A session on the two networks: ternary weights in front of float32."""
    given: dict[str, Any] = {"embed": embedding_of_digits(), **options}
    return hrm.HRMSession(
        ronn.Session(digits.fast_model(), providers=digits.providers("fast"), options={"threads": 1}),
        ronn.Session(digits.full_model(), providers=digits.providers("full"), options={"threads": 1}),
        task=hrm.Classification("scores"),
        guarantee=hrm.Guarantee(alpha=alpha),
        memory=hrm.Memory(store_inputs=True) if memory is None else memory,
        **given,
    )


@dataclass
class Driven:
    """What a session did on a stream. routed: as of baselines. events: (request, what) of alarms, certificates and
    consolidations; share: certified, at each request; sizes: bytes of memory by name at its end; seconds: all of it."""

    routed: Routed
    events: list[tuple[int, str]] = field(default_factory=list)
    share: np.ndarray = field(default_factory=lambda: np.zeros(0))
    sizes: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def drive(
    session: hrm.HRMSession,
    stream: Stream,
    full: np.ndarray,
    *,
    sleep_every: int = SLEEP_EVERY,
    name: str = "HRMSession",
    say: Callable[[str], None] = lambda text: None,
) -> Driven:
    """Runs a stream of requests, one after the other; what waits in the background is done before the next, so that a
    run can be repeated. full: classes int [M] that the expensive model gives to the items."""
    began = time.perf_counter()
    count = len(stream)
    path, called = np.zeros(count, np.int8), np.zeros(count, np.int8)
    wrong, share = np.zeros(count, bool), np.zeros(count, np.float32)
    served = np.zeros(count, np.int64)
    events: list[tuple[int, str]] = []
    alarms = certificates = runs = 0
    for i, item in enumerate(stream.item.tolist()):
        outputs, why = session.run({"x": stream.x[item : item + 1]}, explain=True)
        session.drain()
        path[i] = PATHS[why.answered_by]
        served[i] = outputs["scores"].argmax()
        wrong[i] = path[i] == 2 and served[i] != full[item]
        now = int(session.metrics.count("full_runs"))
        called[i], runs = now - runs, now
        if (found := int(session.metrics.count("alarms"))) != alarms:
            alarms = found
            events.append((i, "alarm"))
            say(f"request {i}: alarm")
        if (found := int(session.metrics.count("certificates"))) != certificates:
            certificates = found
            events.append((i, "certificate"))
        if sleep_every and (i + 1) % sleep_every == 0 and session.certificate() is not None:
            report = session.sleep()
            events.append((i, "sleep"))
            say(f"request {i}: {report}")
        held = session.certificate()
        share[i] = 0.0 if held is None else held.share
    return Driven(Routed(name, path, called, wrong, served), events, share, seconds=time.perf_counter() - began)
