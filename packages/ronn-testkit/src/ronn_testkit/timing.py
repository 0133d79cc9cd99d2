"""Timing sanity, for the report only: how a provider's operators compare with the reference's."""

from __future__ import annotations

import time
from typing import Any

from ronn.session import Session
from ronn_testkit.checks import probe
from ronn_testkit.subject import NotApplicable, Subject

SLOW = 3.0
"""A provider that takes this many times what the reference takes is marked slow."""
REPEATS = 15


def timings(provider: str, count: int = 24) -> list[dict[str, Any]]:
    """Median microseconds of one-node sessions on the provider and on the reference, run in turn."""
    subject = Subject(provider)
    out = []
    with subject.registered():
        try:
            cases = list(probe.sample(subject, count))
        except NotApplicable:
            return []
        for case in cases:
            with subject.session(case.model()) as ours, Session(case.model(), providers=["reference"]) as theirs:
                samples: tuple[list[float], list[float]] = ([], [])
                for _ in range(REPEATS):
                    for session, into in zip((ours, theirs), samples, strict=True):
                        started = time.perf_counter()
                        session.run(case.fed)
                        into.append(time.perf_counter() - started)
            mine, reference = (sorted(s)[len(s) // 2] * 1e6 for s in samples)
            ratio = mine / reference
            out.append(
                {"op": case.op, "provider_us": mine, "reference_us": reference, "ratio": ratio, "slow": ratio > SLOW}
            )
    return out
