"""Episodes of handwritten digits, upright before an alarm and upside down behind it, for tests of consolidation."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pair

import ronn
from ronn_hrm.assess.assessor import Assessor
from ronn_hrm.embed import FromInput
from ronn_hrm.fast_path import CheapModel
from ronn_hrm.guarantee import Guarantee
from ronn_hrm.memory.episode import Episode, Episodes
from ronn_hrm.policies import Cascade
from ronn_hrm.scorers import MarginScorer
from ronn_hrm.sleep import Distil, Sleep
from ronn_hrm.state import State
from ronn_hrm.task import Classification

TASK = Classification()
ASSESSOR = Assessor(TASK)
SLEEP = Sleep(student=Distil(hidden=(64,), source="x", epochs=24))
ROLES = ("train",) * 10 + ("fit",) * 3 + ("calibrate",) * 5 + ("gate",) * 2


@cache
def cheap() -> CheapModel:
    x, _ = pair.images()
    return CheapModel(ronn.Session(pair.fast_model()), TASK, FromInput.principal("x", x[: pair.FAST_ROWS], 24))


@cache
def episodes(each: int = 1200) -> Episodes:
    """``each`` of epoch 0 (upright), as many of epoch 1 (upside down), all answered by both models; roles by turns."""
    images, _ = pair.traffic()
    random = np.random.default_rng(0)
    model, full = cheap(), ronn.Session(pair.full_model())
    made: list[Episode] = []
    for epoch, turn in ((0, 0), (1, 2)):
        x = pair.rotated(images[random.integers(0, len(images), each)], turn)
        x = np.clip(x + random.normal(scale=0.1, size=x.shape), 0, 1).astype(np.float32)
        fast, slow = model.session.run({"x": x})[0], full.run({"x": x})[0]
        for row in range(each):
            number = len(made) + 1
            embedding = model.embedding({"x": x[row : row + 1]}, None)
            made.append(
                Episode(
                    request=number,
                    digest=number.to_bytes(16, "little"),
                    at=float(number),
                    role=ROLES[number % 20],
                    path="full:cold-start" if epoch == 0 else "full:guard",
                    features=np.zeros(0, np.float32),
                    epoch=epoch,
                    embedding=embedding,
                    fast=fast[row : row + 1],
                    full=slow[row : row + 1],
                    inputs={"x": x[row : row + 1]},
                )
            )
    return Episodes.of(made)


def first_state() -> State:
    """A state that has learnt nothing."""
    return State(
        number=7, names=ASSESSOR.names, scorer=MarginScorer.of(ASSESSOR.names), lam=float("inf"), certificate=None,
        neighbours=None, correction=None, student=None, fingerprints={"fast": "a", "full": "b"},
    )  # fmt: skip


def settings(**other: Any) -> dict[str, Any]:
    """What ``consolidate`` is called with."""
    usual = {
        "cheap": cheap(), "assessor": ASSESSOR, "guarantee": Guarantee(alpha=0.05), "policy": Cascade(),
        "sleep": SLEEP, "epoch": 1, "at": 0.0,
    }  # fmt: skip
    return usual | other
