"""State: all that a decision depends on, in one immutable object that is swapped whole."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.records import dataclass, field

if TYPE_CHECKING:
    from ronn_hrm.contracts import Neighbours, Scorer
    from ronn_hrm.guarantee.certificate import Certificate


@dataclass(frozen=True, slots=True)
class Correction:
    """A linear adapter on the cheap model's scores: ``scores + weight @ embedding + bias`` (the consolidated head).

    weight: float32 [classes, dims]; bias: float32 [classes].
    """

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, scores: np.ndarray, embedding: np.ndarray) -> np.ndarray:
        """scores: float32 [rows, classes]; embedding: float32 [dims], of a request of one row."""
        return np.asarray(scores + (self.weight @ embedding + self.bias), np.float32)


@dataclass(frozen=True, slots=True)
class Student:
    """A re-distilled cheap model: an ONNX model from ``source`` to class scores.

    model: the ONNX file's bytes; one input ``x`` float32 [rows, dims], one output ``scores`` float32 [rows, classes].
    source: ``embedding``, or the name of an input of the original cheap model, which is flattened to a row.
    """

    model: bytes = field(repr=False)
    source: str


@dataclass(frozen=True, slots=True)
class State:
    """What decides. Requests keep the state that they began with; a new one replaces it by one assignment.

    number: counts the states of a session. names: of the assessor's features, in order. scorer, lam: the head and its
    certified threshold (infinite: nothing is answered by the cheap model). neighbours, correction, student: what
    consolidation added. fingerprints: of what the state holds for: ``fast``, ``full``, ``task``, ``assessor``,
    ``ronn`` (versions).
    """

    number: int
    names: tuple[str, ...]
    scorer: Scorer
    lam: float
    certificate: Certificate | None
    neighbours: Neighbours | None
    correction: Correction | None
    student: Student | None
    fingerprints: dict[str, str]
    id: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", self._content_id())

    def _content_id(self) -> str:
        """16 hex digits that are equal for states that decide alike."""
        seen = hashlib.blake2b(digest_size=8)
        head = {"names": self.names, "scorer": self.scorer.as_data(), "lam": repr(self.lam), "for": self.fingerprints}
        seen.update(json.dumps(head, sort_keys=True).encode())
        if self.neighbours is not None:
            seen.update(self.neighbours.requests.tobytes() + self.neighbours.labels.tobytes())
        if self.correction is not None:
            seen.update(self.correction.weight.tobytes() + self.correction.bias.tobytes())
        if self.student is not None:
            seen.update(self.student.source.encode() + self.student.model)
        return seen.hexdigest()

    @property
    def certified(self) -> bool:
        return self.certificate is not None and math.isfinite(self.lam)

    def decide(self, features: Any) -> tuple[float, bool]:
        """The score of features (in the order of ``names``), and whether it reaches the threshold."""
        score = self.scorer.score(features)
        return score, score >= self.lam
