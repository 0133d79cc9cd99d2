"""What a router has to beat: policies without certificates, audits or consolidation, on the same streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import ronn_hrm as hrm
from benchmarks.hrm.streams import Stream
from ronn_hrm.assess.assessor import Assessor
from ronn_hrm.guarantee import Guarantee, empirical

STATIC = 0.9
LOOK_AT = 1500  # requests after the change in which bad answers are counted


@dataclass(frozen=True)
class Routed:
    """How each request of a stream was answered: path 0 the expensive model, 1 the cache, 2 the cheap model; called:
    runs of the expensive model (audits too); wrong: answered otherwise than the expensive model does; served: the
    class that was answered. All [N]."""

    name: str
    path: np.ndarray
    called: np.ndarray
    wrong: np.ndarray
    served: np.ndarray


@dataclass(frozen=True)
class Figures:
    """Shares of the requests that count. disagreement: by phase; after: wrong answers among the first ``LOOK_AT`` after
    the first change; right: of all answers, by the true label; warm_up: calls there, as a share of its requests."""

    name: str
    calls: float
    cache: float
    fast: float
    disagreement: list[float]
    overall: float
    after: int
    right: float
    warm_up: float


def figures(routed: Routed, stream: Stream) -> Figures:
    """Of the requests that count."""
    counts = stream.counted
    change = stream.starts(1)
    return Figures(
        name=routed.name,
        calls=float(routed.called[counts].mean()),
        cache=float((routed.path[counts] == 1).mean()),
        fast=float((routed.path[counts] == 2).mean()),
        disagreement=[float(routed.wrong[stream.phase == p].mean()) for p in range(3)],
        overall=float(routed.wrong[counts].mean()),
        after=int(routed.wrong[change : change + LOOK_AT].sum()),
        right=float((routed.served == stream.labels[stream.item])[counts].mean()),
        warm_up=float(routed.called[~counts].mean()) if (~counts).any() else 0.0,
    )


def first_times(item: np.ndarray) -> np.ndarray:
    """bool [N]: requests whose item was not there before."""
    found = np.zeros(len(item), bool)
    found[np.unique(item, return_index=True)[1]] = True
    return found


def _by(name: str, stream: Stream, cheap: np.ndarray, answers: tuple[np.ndarray, np.ndarray], cached: bool) -> Routed:
    """cheap: bool [M], items that the cheap model answers; the others go to the expensive one, with its answers
    remembered where ``cached``. answers: classes [M] that the two give."""
    fast = cheap[stream.item]
    hit = ~fast & ~first_times(stream.item) if cached else np.zeros(len(stream), bool)
    path = np.where(fast, 2, np.where(hit, 1, 0))
    of_fast, of_full = (classes[stream.item] for classes in answers)
    return Routed(name, path, path == 0, fast & (of_fast != of_full), np.where(fast, of_fast, of_full))


def baselines(stream: Stream, fast_scores: np.ndarray, full_scores: np.ndarray, alpha: float) -> list[Routed]:
    """All of them. fast_scores, full_scores: float32 [M, classes] of the items; what is tuned is tuned on the warm-up,
    to a risk of ``alpha`` there."""
    fast, full = fast_scores.argmax(axis=1), full_scores.argmax(axis=1)
    disagree, answers = fast != full, (fast, full)
    names, features = _features(stream, fast_scores)
    warm = np.unique(stream.item[~stream.counted])
    confidence = features[:, names.index("confidence")]
    nothing, everything = np.zeros(len(full), bool), np.ones(len(full), bool)
    found = [
        _by("always System 2", stream, nothing, answers, cached=False),
        _by("always System 1", stream, everything, answers, cached=False),
        _by("exact cache + System 2", stream, nothing, answers, cached=True),
        _by(f"confidence >= {STATIC}", stream, confidence >= np.log(STATIC / (1 - STATIC)), answers, cached=False),
    ]
    guarantee = Guarantee(alpha=alpha)
    for title, kind, cached in (
        ("tuned once", hrm.LogisticScorer, (False, True)),
        ("size, variance and rank", hrm.SizeRule, (True,)),
    ):
        use = ("confidence", "margin", "entropy") if kind is hrm.LogisticScorer else None
        losses = disagree[warm].astype(float)
        half = np.random.default_rng(0).random(len(warm)) < 0.5
        options: dict[str, Any] = {} if use is None else {"use": use}
        scorer = kind.fit(features[warm[half]], names, losses[half], **options)
        scores = scorer.score_many(features)
        lam = empirical(scores[warm[~half]], losses[~half], guarantee).lam
        for with_cache in cached:
            name = f"{title} + cache" if with_cache else title
            found.append(_by(name, stream, scores >= lam, answers, cached=with_cache))
    found.append(_by("oracle + cache", stream, ~disagree, answers, cached=True))
    return found


def _features(stream: Stream, fast_scores: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    assessor = Assessor(hrm.Classification("scores"), (hrm.Confidence(), hrm.InputShape()))
    rows = list(fast_scores[:, None])
    return assessor.names, assessor.many(rows, None, None, [{"x": row[None]} for row in stream.x])
