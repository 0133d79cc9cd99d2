"""Episodes and states to remember, made from numbers, so that a test can tell what it should find."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from typing import Any

import numpy as np

from ronn_hrm.decision import Decision
from ronn_hrm.memory.episode import Episode
from ronn_hrm.memory.index import FlatIndex
from ronn_hrm.scorers import LogisticScorer
from ronn_hrm.state import Correction, State

NAMES = ("margin", "novelty", "cost")
DIMS, CLASSES = 8, 4


def digest(number: int) -> bytes:
    return hashlib.blake2b(str(number).encode(), digest_size=16).digest()


def episode(number: int, **other: Any) -> Episode:
    """The episode of request ``number``; all that it holds follows from that."""
    rng = np.random.default_rng(number)
    made = Episode(
        request=number, digest=digest(number), at=1000.0 + number, role="train", path="full", state="0" * 16,
        features=rng.standard_normal(len(NAMES)).astype(np.float32),
        embedding=rng.standard_normal(DIMS).astype(np.float16),
        fast=rng.standard_normal((1, CLASSES)).astype(np.float32),
        full=rng.standard_normal((1, CLASSES)).astype(np.float32), loss=float(number % 2), score=float(number) / 3,
    )  # fmt: skip
    return replace(made, **other)


def decision(number: int, state: State | None = None) -> Decision:
    """The decision about request ``number``."""
    features = tuple(zip(NAMES, np.random.default_rng(number).standard_normal(len(NAMES)).tolist(), strict=True))
    score, lam, id = 0.1 * number, math.inf, "0" * 16
    if state is not None:
        score, lam, id = state.scorer.score([v for _, v in features]), state.lam, state.id
    return Decision(number, "fast" if score >= lam else "full", score, lam, (), features, id, "", (number, 7), 0.001)


def state(number: int = 1, *, index: type[FlatIndex] | None = FlatIndex, rows: int = 40, **other: Any) -> State:
    """A state that differs from those of other numbers."""
    rng = np.random.default_rng(number)
    made = State(
        number=number,
        names=NAMES,
        scorer=LogisticScorer(
            NAMES, (0, 1, 2), rng.standard_normal(3).tolist(), rng.standard_normal(3).tolist(), [0.0, 0.0, 0.0], 0.3
        ),
        lam=float(rng.standard_normal()),
        certificate=None,
        neighbours=None if index is None else index(rng.standard_normal((rows, DIMS)), np.arange(rows) % CLASSES,
                                                    np.arange(rows) + 1),
        correction=Correction(
            rng.standard_normal((CLASSES, DIMS)).astype(np.float32), rng.standard_normal(CLASSES).astype(np.float32)
        ),
        student=None,
        fingerprints={"fast": "f", "full": "g"},
    )  # fmt: skip
    return replace(made, id="", **other)
