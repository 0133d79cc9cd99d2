"""Which scorer to take: judged on the fit fold alone, never on calibration records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ronn.records import dataclass
from ronn_hrm.scorers.additive import AdditiveScorer
from ronn_hrm.scorers.linear import ConfidenceScorer, LogisticScorer, MarginScorer, records_of

if TYPE_CHECKING:
    from ronn_hrm.contracts import Scorer

Fit = Callable[[np.ndarray, Sequence[str], np.ndarray], "Scorer"]

MEMORY = ("novelty", "agreement", "contrast")
"""Features of nearest neighbours. They can hurt, so that scorers without them always compete."""

INPUT = ("size", "variance", "rank", "tokens")
"""Features of the input's form: cost, hard gates, the size rule. Learnt scorers go without them."""

FEWEST = 40
"""Records below which nothing is chosen: a logistic scorer of all features, near to what is expected of them."""


CURVES = 0.005
"""By how much scorers of bent lines have to be better than straight ones."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A scorer that was tried: its kind and features, and how it did on records that it was not fitted to.

    share: of requests that the cheap model could answer, averaged over risks about alpha; auroc: how well it tells
    wrong from right answers; spread: standard deviation of ``share`` over the repeats.
    """

    kind: str
    names: tuple[str, ...]
    share: float
    auroc: float
    spread: float
    fit: Fit

    @property
    def merit(self) -> float:
        """What candidates are ordered by: the share alone hangs on few wrong answers, and flatters curves."""
        return self.share + self.auroc - (CURVES if self.kind == "additive" else 0.0)

    def __str__(self) -> str:
        return f"{self.kind}({', '.join(self.names)}): share {self.share:.3f}, AUROC {self.auroc:.3f}"


def choose(
    features: np.ndarray, names: Sequence[str], losses: np.ndarray, *, alpha: float = 0.01, seed: int = 0
) -> Scorer:
    """A scorer fitted to records of the fit fold: features [N, F] in the order of ``names``, losses [N] in [0, 1].

    Of several kinds and selections of features the one that leaves the largest share to the cheap model and ranks best,
    by cross-validation; the simplest where that says nothing.
    """
    return chosen(features, names, losses, alpha=alpha, seed=seed)[0]


def chosen(
    features: np.ndarray, names: Sequence[str], losses: np.ndarray, *, alpha: float = 0.01, seed: int = 0
) -> tuple[Scorer, float]:
    """What ``choose`` gives, and the share that it promises; of few records this is of those that it was fitted to."""
    rows, known = records_of(features, losses)
    if len(rows) < FEWEST or known.sum() < 2.0:
        made = LogisticScorer.fit(rows, names, known, use=_output(names) + _memory(names))
        return made, share_about(made.score_many(rows), known, alpha)
    best = compare(rows, names, known, alpha=alpha, seed=seed)[0]
    return best.fit(rows, names, known), best.share


def compare(
    features: np.ndarray,
    names: Sequence[str],
    losses: np.ndarray,
    *,
    alpha: float = 0.01,
    seed: int = 0,
    folds: int = 5,
    repeats: int = 2,
) -> list[Candidate]:
    """All candidates, the best first: scores of each record come from a fit without it (``folds`` parts, ``repeats``
    times over)."""
    rows, losses = records_of(features, losses)
    random = np.random.default_rng(seed)
    cuts = [random.permutation(len(rows)) % folds for _ in range(repeats)]
    found = []
    for kind, use, fit in candidates(names):
        shares, areas = [], []
        for cut in cuts:
            scores = np.empty(len(rows))
            for fold in range(folds):
                out = cut == fold
                scores[out] = fit(rows[~out], names, losses[~out]).score_many(rows[out])
            shares.append(share_about(scores, losses, alpha))
            areas.append(auroc(scores, losses))
        found.append(Candidate(kind, use, float(np.mean(shares)), float(np.mean(areas)), float(np.std(shares)), fit))
    return sorted(found, key=lambda c: -c.merit)


def candidates(names: Sequence[str]) -> list[tuple[str, tuple[str, ...], Fit]]:
    """(kind, features, how to fit) of what is tried, the simplest first."""
    output, memory = _output(names), _memory(names)
    made: list[tuple[str, tuple[str, ...], Fit]] = []
    if "confidence" in names:
        made.append(("confidence", ("confidence",), ConfidenceScorer.fit))
    if "margin" in names:
        made.append(("margin", ("margin",), MarginScorer.fit))
    for use in dict.fromkeys([output, memory, (*output, *memory)]):
        if use:
            made.append(("logistic", use, _using(LogisticScorer.fit, use)))
            made.append(("additive", use, _using(AdditiveScorer.fit, use)))
    return made


def share_about(scores: np.ndarray, losses: np.ndarray, alpha: float) -> float:
    """Mean share of records above a threshold whose losses make up half, once, twice and four times ``alpha`` of all.

    One risk alone would be decided by a handful of wrong answers.
    """
    order = np.argsort(-scores, kind="stable")
    risk = np.cumsum(losses[order]) / max(len(losses), 1)
    return float(
        np.mean([np.searchsorted(risk, alpha * f, side="right") / max(len(losses), 1) for f in (0.5, 1, 2, 4)])
    )


def auroc(scores: np.ndarray, losses: np.ndarray) -> float:
    """Chance that a right answer scores above a wrong one, ties half; 0.5 where there is only one sort."""
    wrong, right = losses, 1.0 - losses
    if wrong.sum() <= 0.0 or right.sum() <= 0.0:
        return 0.5
    values, at = np.unique(scores, return_inverse=True)
    w, r = np.bincount(at, wrong, len(values)), np.bincount(at, right, len(values))
    below = np.cumsum(w) - w
    return float((r * (below + 0.5 * w)).sum() / (w.sum() * r.sum()))


def _output(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(n for n in names if n not in MEMORY and n not in INPUT)


def _memory(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(n for n in names if n in MEMORY)


def _using(fit: Callable[..., Scorer], use: tuple[str, ...]) -> Fit:
    return lambda features, names, losses: fit(features, names, losses, use=use)
