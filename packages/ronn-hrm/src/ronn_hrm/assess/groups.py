"""Groups of features: what a request looks like to the router. Plain Python: there are too few numbers for arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from ronn.records import dataclass

_LEAST = 1e-12
_NEAR = 0.01  # added to a cosine distance before it is inverted: a neighbour this near counts half of an equal one


@dataclass(slots=True)
class Seen:
    """One request as features are computed from it.

    scores: the cheap model's logits, float32 [classes], or None. label: its class, or None. distances float32 [k],
    labels int32 [k]: of the remembered inputs nearest to this one, or None where there is no memory. inputs: feeds by
    name, or None where no group asks for them.
    """

    scores: np.ndarray | None
    label: int | None
    distances: np.ndarray | None
    labels: np.ndarray | None
    inputs: Mapping[str, Any] | None


class Group(Protocol):
    """Some features that are computed together. ``uses_inputs``: whether it looks at the feeds themselves."""

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def uses_inputs(self) -> bool: ...
    def of(self, seen: Seen) -> tuple[float, ...]:
        """The features; NaN for what is not known of this request."""
        ...

    def as_data(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Confidence:
    """How sure the cheap model is: log-odds of its best class, distance of the two best logits, entropy (nats)."""

    @property
    def names(self) -> tuple[str, ...]:
        return ("confidence", "margin", "entropy")

    @property
    def uses_inputs(self) -> bool:
        return False

    def of(self, seen: Seen) -> tuple[float, ...]:
        if seen.scores is None:
            return (math.nan, math.nan, math.nan)
        row: list[float] = seen.scores.tolist()
        top = max(row)
        if not -math.inf < top < math.inf or len(row) < 2:
            return (math.nan, math.nan, math.nan)
        best = row.index(top)
        shifted = [v - top for v in row]
        weights = [math.exp(v) for v in shifted]
        total = sum(weights)
        del shifted[best]
        others = max(total - 1.0, _LEAST)
        mean = sum([w * s for w, s in zip(weights[:best] + weights[best + 1 :], shifted)]) / total
        return (-math.log(others), -max(shifted), math.log(total) - mean)

    def as_data(self) -> dict[str, Any]:
        return {"kind": "confidence"}


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """What the expensive model said to similar inputs: the mean cosine distance of the ``k`` nearest (novelty), the
    log-odds that such a neighbour, weighed by nearness, has the class that the cheap model gives (agreement), and how
    much nearer that class is than any other: log of the distances of the two nearest of each (contrast). Where fewer
    than two of the k are of a sort, the distance of the farthest stands for those that lack."""

    k: int = 10

    @property
    def names(self) -> tuple[str, ...]:
        return ("novelty", "agreement", "contrast")

    @property
    def uses_inputs(self) -> bool:
        return False

    def of(self, seen: Seen) -> tuple[float, ...]:
        if seen.distances is None or seen.labels is None or len(seen.distances) == 0:
            return (math.nan, math.nan, math.nan)
        near: list[float] = seen.distances.tolist()
        novelty = sum(near) / len(near)
        if seen.label is None:
            return (novelty, math.nan, math.nan)
        weights = [1.0 / (d + _NEAR) if d > 0.0 else 1.0 / _NEAR for d in near]
        label = seen.label
        classes = seen.labels.tolist()
        same = sum([w for w, c in zip(weights, classes) if c == label])
        scale = len(near) / sum(weights)
        agreement = math.log((same * scale + 0.5) / (len(near) - same * scale + 0.5))
        far = [near[-1]] * 2
        own = sum(([d for d, c in zip(near, classes) if c == label] + far)[:2])
        other = sum(([d for d, c in zip(near, classes) if c != label] + far)[:2])
        return (novelty, agreement, math.log((max(other, 0.0) + 2 * _NEAR) / (max(own, 0.0) + 2 * _NEAR)))

    def as_data(self) -> dict[str, Any]:
        return {"kind": "neighbourhood", "k": self.k}


@dataclass(frozen=True, slots=True)
class InputShape:
    """Number of elements (its logarithm), rank and variance of the inputs: a rule of thumb for difficulty that the
    benchmark holds against the others. It tells what a request costs, and little about how hard it is."""

    @property
    def names(self) -> tuple[str, ...]:
        return ("size", "rank", "variance")

    @property
    def uses_inputs(self) -> bool:
        return True

    def of(self, seen: Seen) -> tuple[float, ...]:
        arrays = [np.asarray(v) for v in (seen.inputs or {}).values()]
        if not arrays:
            return (math.nan, math.nan, math.nan)
        numbers = [a for a in arrays if a.dtype.kind in "fiub" and a.size]
        variance = max((float(np.var(a, dtype=np.float64)) for a in numbers), default=math.nan)
        return (math.log1p(sum(a.size for a in arrays)), float(max(a.ndim for a in arrays)), variance)

    def as_data(self) -> dict[str, Any]:
        return {"kind": "input-shape"}


@dataclass(frozen=True, slots=True)
class Tokens:
    """The number of tokens: elements of the input called ``input``, padding (zeros) not counted; its logarithm."""

    input: str

    @property
    def names(self) -> tuple[str, ...]:
        return ("tokens",)

    @property
    def uses_inputs(self) -> bool:
        return True

    def of(self, seen: Seen) -> tuple[float, ...]:
        found = None if seen.inputs is None else seen.inputs.get(self.input)
        return (math.nan if found is None else math.log1p(float(np.count_nonzero(found))),)

    def as_data(self) -> dict[str, Any]:
        return {"kind": "tokens", "input": self.input}
