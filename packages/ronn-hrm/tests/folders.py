"""A memory folder as a session on a real pair leaves it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pair
import pytest

import ronn
import ronn_hrm as hrm

ALPHA = 0.05


def known_coin(patch: pytest.MonkeyPatch) -> None:
    """The same coin in each run of the tests."""
    patch.setattr(hrm.EpisodicStore, "key", property(lambda store: bytes(range(32))))


def opened(model: bytes) -> ronn.Session:
    return ronn.Session(model, providers="cpu", options={"threads": 1})


def stream(count: int, seed: int = 0, *, turn: bool = False, repeats: float = 0.3) -> Iterator[np.ndarray]:
    """Requests [1, 64]: unseen digits with noise; of some a share of ``repeats`` that were there before."""
    rng = np.random.default_rng(seed)
    images, _ = pair.traffic()
    images = pair.rotated(images) if turn else images
    before: list[np.ndarray] = []
    for row in images[rng.integers(len(images), size=count)]:
        if before and rng.random() < repeats:
            yield before[rng.integers(len(before))]
            continue
        before.append((row + rng.normal(size=64) * 0.05).astype(np.float32)[None])
        yield before[-1]


def session(folder: Path, **options: Any) -> hrm.HRMSession:
    given: dict[str, Any] = {"embed": hrm.FromInput("x"), "guarantee": hrm.Guarantee(alpha=ALPHA), **options}
    memory = hrm.Memory(path=folder, fsync="never")
    return hrm.HRMSession(opened(pair.fast_model()), opened(pair.full_model()), memory=memory, **given)


def serve(session: hrm.HRMSession, requests: Iterator[np.ndarray], each: int = 50) -> list[hrm.Decision]:
    """Answers requests; what is done behind answers keeps up with them."""
    decisions = []
    for i, x in enumerate(requests):
        decisions.append(session.run({"x": x}, explain=True)[1])
        if i % each == each - 1:
            session.drain(60)
    session.drain(60)
    return decisions


def served(folder: Path, **options: Any) -> list[hrm.Decision]:
    """1,500 requests, the last 300 of them turned: a certificate, an alarm, the guard."""
    with session(folder, **options) as running:
        return serve(running, stream(1200)) + serve(running, stream(300, seed=1, turn=True))
