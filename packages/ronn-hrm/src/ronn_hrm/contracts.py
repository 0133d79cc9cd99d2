"""What parts of the routing are to one another. Each is replaceable: see ``hookspecs``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np


class Runnable(Protocol):
    """A model that answers: a ``ronn.Session``, or anything that runs like one."""

    def run(self, inputs: Any = None, *, outputs: Sequence[str] | None = None) -> Mapping[str, Any]: ...


class Beginning(Runnable, Protocol):
    """A cheap model that is the beginning of the expensive one (an early exit).

    ``begin`` runs it and gives its outputs, as ``run`` does, and what a ``Resuming`` goes on from: arrays of the
    caller's own, which nothing changes later.
    """

    def begin(self, inputs: Any = None, *, outputs: Sequence[str] | None = None) -> tuple[Mapping[str, Any], Any]: ...


class Resuming(Runnable, Protocol):
    """The expensive model of a ``Beginning``: ``resume`` gives what ``run`` gives, from what ``begin`` left behind,
    computing and copying nothing again. ``run`` does it all, for requests that the cheap model never saw."""

    def resume(self, carry: Any, *, outputs: Sequence[str] | None = None) -> Mapping[str, Any]: ...


class Scorer(Protocol):
    """Says by features how likely the cheap model answers as the expensive one would: log-odds, higher is surer.

    A frozen object. ``names``: of the features that it takes, in order (a selection of the assessor's). ``parts`` gives
    what each adds to the score; with ``bias`` they sum up to it, to rounding.
    """

    @property
    def kind(self) -> str: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def bias(self) -> float: ...
    def score(self, features: Sequence[float]) -> float:
        """Of one request; ``features`` in the order of the assessor's names."""
        ...

    def parts(self, features: Sequence[float]) -> tuple[tuple[str, float], ...]: ...
    def score_many(self, features: np.ndarray) -> np.ndarray:
        """Of rows [N, F]: float64 [N], to the bit as ``score`` gives one by one."""
        ...

    def as_data(self) -> dict[str, Any]: ...


class Neighbours(Protocol):
    """A fixed set of remembered inputs that can be searched: embeddings [M, D], and what the expensive model said."""

    @property
    def size(self) -> int: ...
    @property
    def labels(self) -> np.ndarray:
        """The expensive model's class of each: int32 [M]; -1 where the task has none."""
        ...

    @property
    def requests(self) -> np.ndarray:
        """Numbers of the requests: int64 [M]."""
        ...

    def search(self, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest to ``query`` [D] by cosine: distances float32 [k] (1 - cosine, ascending), rows int64 [k]."""
        ...

    def search_many(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """For rows [N, D]: [N, k] each, as ``search`` gives one by one."""
        ...


class Policy(Protocol):
    """Decides between the two paths where nothing before it did (cache, gates, guard).

    asks_fast: whether the cheap model has to run before the decision. certified: whether it needs a certificate, so
    that without one every request goes to the expensive model.
    """

    @property
    def kind(self) -> str: ...
    @property
    def asks_fast(self) -> bool: ...
    @property
    def certified(self) -> bool: ...
    def threshold(self, scores: np.ndarray, certified: float) -> float:
        """The threshold of a new state, from calibration scores [N] and the threshold that they certify."""
        ...

    def fast(self, score: float, lam: float, features: Sequence[float]) -> bool:
        """Whether the cheap model's answer is served."""
        ...

    def as_data(self) -> dict[str, Any]: ...
