"""Episodes: what is kept of requests."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ronn.records import dataclass, field

ROLES = ("train", "fit", "calibrate", "gate")
"""What an episode may be used for, each for one thing: ``train`` teaches adapters, students and memory; ``fit`` chooses
and fits scorers; ``calibrate`` certifies a threshold; ``gate`` judges a new state before it is promoted."""

AUDITED = ("calibrate", "gate")
"""Roles of requests that the coin chose whatever they were: a fair sample of the traffic."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One request for which more than the path is kept.

    request: its number. digest: 16 bytes, equal for equal inputs. namespace: whose it is (a tenant). client: who
    asked. at: seconds since 1970. role: one of ``ROLES``, or empty (a request that only the cheap model answered).
    epoch: counts the alarms before it. state: id of the state that decided. path: as in ``Decision``. features:
    float32 [features]. embedding: float16 [dims] or None. fast, full: answers (arrays, as ``Task.answer`` gives) or
    None where that model did not run. loss: between them, NaN where unknown. score, lam: what was decided by. inputs:
    the feeds by name, where they are to be kept.
    """

    request: int
    digest: bytes
    at: float
    role: str
    path: str
    features: np.ndarray
    namespace: str = ""
    client: str = ""
    epoch: int = 0
    state: str = ""
    embedding: np.ndarray | None = None
    fast: np.ndarray | None = None
    full: np.ndarray | None = None
    loss: float = math.nan
    score: float = math.nan
    lam: float = math.inf
    inputs: dict[str, np.ndarray] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Episodes:
    """Episodes as columns, oldest first: N of them.

    request int64 [N]; features float32 [N, F] (NaN where an episode has none); embedding float32 [N, D] or None where
    no episode has one; loss, score float64 [N]; the rest lists of N.
    """

    request: np.ndarray
    digest: list[bytes]
    at: np.ndarray
    role: list[str]
    features: np.ndarray
    embedding: np.ndarray | None
    fast: list[np.ndarray | None]
    full: list[np.ndarray | None]
    loss: np.ndarray
    score: np.ndarray
    path: list[str]
    state: list[str]
    epoch: np.ndarray
    namespace: list[str]
    inputs: list[dict[str, np.ndarray] | None]

    def __len__(self) -> int:
        return len(self.request)

    @classmethod
    def of(cls, episodes: Sequence[Episode]) -> Episodes:
        """Columns of single episodes."""
        count = len(episodes)
        width = max((len(e.features) for e in episodes), default=0)
        features = np.full((count, width), np.nan, np.float32)
        for row, e in zip(features, episodes, strict=True):
            row[: len(e.features)] = e.features
        dims = {len(e.embedding) for e in episodes if e.embedding is not None}
        embedding = None
        if dims:
            embedding = np.full((count, max(dims)), np.nan, np.float32)
            for row, e in zip(embedding, episodes, strict=True):
                if e.embedding is not None:
                    row[: len(e.embedding)] = e.embedding
        return cls(
            request=np.array([e.request for e in episodes], np.int64),
            digest=[e.digest for e in episodes],
            at=np.array([e.at for e in episodes], np.float64),
            role=[e.role for e in episodes],
            features=features,
            embedding=embedding,
            fast=[e.fast for e in episodes],
            full=[e.full for e in episodes],
            loss=np.array([e.loss for e in episodes], np.float64),
            score=np.array([e.score for e in episodes], np.float64),
            path=[e.path for e in episodes],
            state=[e.state for e in episodes],
            epoch=np.array([e.epoch for e in episodes], np.int64),
            namespace=[e.namespace for e in episodes],
            inputs=[e.inputs for e in episodes],
        )

    def where(self, mask: np.ndarray) -> Episodes:
        """Those for which ``mask`` (bool [N]) holds."""
        at = np.flatnonzero(mask)

        def some(column: list) -> list:  # type: ignore[type-arg]
            return [column[i] for i in at]

        return Episodes(
            self.request[at], some(self.digest), self.at[at], some(self.role), self.features[at],
            None if self.embedding is None else self.embedding[at], some(self.fast), some(self.full), self.loss[at],
            self.score[at], some(self.path), some(self.state), self.epoch[at], some(self.namespace), some(self.inputs),
        )  # fmt: skip

    def of_role(self, *roles: str) -> Episodes:
        """Those with one of the roles."""
        return self.where(np.array([r in roles for r in self.role], bool))
