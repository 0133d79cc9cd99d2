"""A scorer that adds up one bent line a feature."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np

from ronn_hrm.scorers import irls
from ronn_hrm.scorers.linear import DIRECTIONS, EXPECTED, columns_of, records_of
from ronn_hrm.scorers.registry import register

KNOTS = 8


class AdditiveScorer:
    """Score ``bias + sum(curve(feature))``: a generalised additive model with piecewise linear curves.

    Curves are flat beyond their first and last knot; a feature that is not a finite number adds ``missing`` instead.
    names: of the features that it takes; at: where each is among the assessor's. knots, values: of each curve.
    """

    kind: ClassVar[str] = "additive"
    __slots__ = ("_terms", "at", "bias", "names")

    def __init__(
        self,
        names: Sequence[str],
        at: Sequence[int],
        knots: Sequence[Sequence[float]],
        values: Sequence[Sequence[float]],
        missing: Sequence[float],
        bias: float,
    ) -> None:
        self.names = tuple(names)
        self.at = tuple(int(i) for i in at)
        self.bias = float(bias)
        if any(len(column) != len(self.names) for column in (self.at, knots, values, missing)):
            raise ValueError(f"{len(self.names)} features, but not as many curves")
        terms = []
        for index, k, v, m in zip(self.at, knots, values, missing, strict=True):
            k, v, m = tuple(map(float, k)), tuple(map(float, v)), float(m)
            if len(k) != len(v) or not k or any(b <= a for a, b in pairwise(k)):
                raise ValueError("knots of a curve ascend, and each has a value")
            if not all(map(math.isfinite, (*k, *v, m, self.bias))):
                raise ValueError("numbers of a scorer have to be finite")
            slopes = tuple((v[j + 1] - v[j]) / (k[j + 1] - k[j]) for j in range(len(k) - 1))
            terms.append((index, k[0], k[-1], k[1:-1], k, v, (*slopes, 0.0) if len(k) == 1 else slopes, m))
        self._terms = tuple(terms)

    def score(self, features: Sequence[float]) -> float:
        total = self.bias
        for at, low, high, inner, knots, values, slopes, missing in self._terms:
            x = float(features[at])
            if x - x == 0.0:
                x = low if x < low else high if x > high else x
                j = bisect_right(inner, x)
                total += values[j] + (x - knots[j]) * slopes[j]
            else:
                total += missing
        return total

    def parts(self, features: Sequence[float]) -> tuple[tuple[str, float], ...]:
        """What each feature adds to the score, in order."""
        found = []
        for name, (at, low, high, inner, knots, values, slopes, missing) in zip(self.names, self._terms, strict=True):
            x = float(features[at])
            if x - x == 0.0:
                x = low if x < low else high if x > high else x
                j = bisect_right(inner, x)
                found.append((name, values[j] + (x - knots[j]) * slopes[j]))
            else:
                found.append((name, missing))
        return tuple(found)

    def score_many(self, features: np.ndarray) -> np.ndarray:
        rows = np.asarray(features, np.float64)
        total = np.full(len(rows), self.bias)
        for at, low, high, inner, knots, values, slopes, missing in self._terms:
            there = np.isfinite(rows[:, at])
            x = np.minimum(np.maximum(np.where(there, rows[:, at], low), low), high)
            j = np.searchsorted(np.array(inner), x, side="right")
            part = np.array(values)[j] + (x - np.array(knots)[j]) * np.array(slopes)[j]
            total = total + np.where(there, part, missing)
        return total

    def as_data(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "names": list(self.names), "at": list(self.at), "bias": self.bias,
            "knots": [list(t[4]) for t in self._terms], "values": [list(t[5]) for t in self._terms],
            "missing": [t[7] for t in self._terms],
        }  # fmt: skip

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """The scorer that ``as_data`` described."""
        return cls(data["names"], data["at"], data["knots"], data["values"], data["missing"], data["bias"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AdditiveScorer) and self.as_data() == other.as_data()

    def __hash__(self) -> int:
        return hash((self.names, self._terms, self.bias))

    def __repr__(self) -> str:
        curves = ", ".join(
            f"{n} {min(t[5]):+.3g}..{max(t[5]):+.3g}" for n, t in zip(self.names, self._terms, strict=True)
        )
        return f"{type(self).__name__}({curves}, bias {self.bias:+.3g})"

    @classmethod
    def fit(
        cls,
        features: np.ndarray,
        names: Sequence[str],
        losses: np.ndarray,
        *,
        use: Sequence[str] | None = None,
        knots: int = KNOTS,
        smooth: float = 30.0,
        ridge: float = 0.3,
    ) -> Self:
        """From records: features [N, F] in the order of ``names``, losses [N] in [0, 1].

        use: names of the features to take (None: all). knots: at most so many a curve. smooth: weight of the squared
        second differences of values at neighbouring knots (penalised splines, Eilers and Marx 1996). ridge: of the
        squared distance from the expected slope, as of ``LogisticScorer``.
        """
        at = columns_of(names, use)
        rows, losses = records_of(features, losses)
        columns, penalties, expected, curves = [], [], [], []
        for index in at:
            x = rows[:, index]
            there = np.isfinite(x)
            k = _knots(x[there], losses[there], knots)
            hats = _hats(np.where(there, x, k[0]), k) * there[:, None]
            middle = hats.sum(axis=0) / max(int(there.sum()), 1)
            columns.append(hats - middle * there[:, None])
            slope = EXPECTED * DIRECTIONS.get(names[index], 0.0) if len(k) > 1 else 0.0
            expected.append(slope * 2.0 * np.linspace(-1.0, 1.0, len(k)))
            bends = np.diff(np.eye(len(k)), n=2, axis=0) if len(k) > 2 else np.zeros((0, len(k)))
            penalties.append(smooth * bends.T @ bends + ridge * np.eye(len(k)))
            if 0 < there.sum() < len(x):
                columns.append((~there[:, None]).astype(np.float64))
                penalties.append(np.eye(1))
                expected.append(np.zeros(1))
            curves.append((k, middle, bool(there.any()), bool(there.all())))
        design = np.hstack(columns) if columns else np.zeros((len(rows), 0))
        bias, beta = irls.logistic(design, 1.0 - losses, _blocks(penalties), np.concatenate([np.zeros(0), *expected]))
        values, missing, start = [], [], 0
        for k, middle, any_there, all_there in curves:
            v = beta[start : start + len(k)]
            v = v - middle @ v if any_there else np.zeros(len(k))
            start += len(k)
            missing.append(float(v.min()))
            if any_there and not all_there:
                missing[-1] = float(beta[start])
                start += 1
            values.append(v.tolist())
        return cls([names[i] for i in at], at, [k.tolist() for k, *_ in curves], values, missing, bias)


def _knots(x: np.ndarray, losses: np.ndarray, most: int) -> np.ndarray:
    """Ascending places [K] for the bends of a curve: quantiles where right and wrong records weigh as much."""
    if len(x) == 0:
        return np.zeros(1)
    order = np.argsort(x, kind="stable")
    wrong, right = losses[order], 1.0 - losses[order]
    weight = wrong / max(wrong.sum(), 1e-9) + right / max(right.sum(), 1e-9)
    reached = np.cumsum(weight)
    where = np.searchsorted(reached, np.linspace(0.02, 0.98, most) * reached[-1])
    found = np.unique(x[order][np.minimum(where, len(x) - 1)])
    # Knots too close together would make slopes that rounding decides.
    kept = [found[0]]
    for place in found[1:]:
        if place - kept[-1] > 1e-6 * (1.0 + abs(place)):
            kept.append(place)
    return np.array(kept)


def _hats(x: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """How much each knot has to say at ``x`` [N]: [N, K], rows sum up to 1."""
    found = np.zeros((len(x), len(knots)))
    if len(knots) == 1:
        found[:, 0] = 1.0
        return found
    x = np.clip(x, knots[0], knots[-1])
    j = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, len(knots) - 2)
    share = (x - knots[j]) / (knots[j + 1] - knots[j])
    rows = np.arange(len(x))
    found[rows, j] = 1.0 - share
    found[rows, j + 1] = share
    return found


def _blocks(parts: Sequence[np.ndarray]) -> np.ndarray:
    """A square matrix with ``parts`` along its diagonal."""
    size = sum(len(p) for p in parts)
    whole, start = np.zeros((size, size)), 0
    for p in parts:
        whole[start : start + len(p), start : start + len(p)] = p
        start += len(p)
    return whole


register(AdditiveScorer.kind, AdditiveScorer.from_data)
