"""What the page shows, as plain values."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.records import replace
from ronn_hrm._version import __version__
from ronn_hrm.advise import Advice, advise
from ronn_hrm.contenders import BASELINES, contender
from ronn_hrm.errors import StateError
from ronn_hrm.replay import Stream, check, replay, stream_of, stream_of_records

if TYPE_CHECKING:
    from ronn_hrm.guarantee.settings import Guarantee
    from ronn_hrm.kept import Kept
    from ronn_hrm.memory.episode import Episodes
    from ronn_hrm.memory.rows import Logged
    from ronn_hrm.state import State

MOST_POINTS = 160
"""Thresholds of the curve."""
MOST_DECISIONS = 60
"""Decisions that are shown."""
MOST_LOGGED = 100_000
"""Requests that are replayed, the latest."""


def report_data(kept: Kept) -> dict[str, Any]:
    """What ``report.js`` draws."""
    logged = kept.store.logged(limit=MOST_LOGGED)
    states = StatesById(kept)
    state, certificate = kept.state, kept.certificate
    curve = None if state is None else _curve_of(kept, state)
    stream = None if state is None else stream_for(kept, logged, state)
    return {
        "name": kept.folder.resolve().name,
        "version": __version__,
        "made": time.time(),
        "task": _task_text(kept),
        "mode": kept.phase,
        "logged": len(logged),
        "alpha": kept.guarantee.alpha,
        "state": None if state is None else {"id": state.id, "number": state.number, "scorer": state.scorer.kind},
        "certificate": None if certificate is None else {**certificate.as_data(), "lam": certificate.lam},
        "statement": None if certificate is None else str(certificate).partition("\n")[0],
        "why_not": why_not(kept) if certificate is None else None,
        "curve": curve,
        "windows": [w.as_data() for w in kept.windows],
        "events": [e.as_data() for e in kept.events],
        "decisions": [_decision(entry, states) for entry in reversed(logged[-MOST_DECISIONS:])],
        "replay": _replayed(kept, logged, stream, state, states),
        "advice": _advice(kept, stream, state),
    }


class StatesById:
    """States of an archive, each read once; None for those that are gone or damaged."""

    def __init__(self, kept: Kept) -> None:
        self._archive = kept.archive
        self._known: dict[str, State | None] = {}

    def __call__(self, id: str) -> State | None:
        if id not in self._known:
            try:
                self._known[id] = self._archive.load(id)
            except StateError:
                self._known[id] = None
        return self._known[id]


def stream_for(kept: Kept, logged: list[Logged], state: State) -> Stream:
    """The log with the losses of audited requests, features as the state sees them where the folder says enough; where
    there is no log, the audited requests."""
    episodes = kept.audited()
    records = kept.records(episodes)
    if not logged and records is not None:
        return stream_of_records(records, state.names)
    return stream_of(logged, episodes, state.names, records)


def curve(
    scores: np.ndarray, losses: np.ndarray, guarantee: Guarantee, lam: float = math.nan, most: int = MOST_POINTS
) -> list[dict[str, float]]:
    """Share, risk and upper bound of at most ``most`` thresholds on records [N], from high to low, with ``lam`` among
    them if it is one of the scores."""
    from ronn_hrm.guarantee import risk_at

    thresholds = np.unique(scores[~np.isnan(scores)])[::-1]
    if len(thresholds) > most:
        places = np.unique(np.linspace(0, len(thresholds) - 1, most).round().astype(int))
        thresholds = np.unique(np.append(thresholds[places], thresholds[thresholds == lam]))[::-1]
    points = []
    for threshold in thresholds.tolist():
        wrong, share, bound = risk_at(scores, losses, threshold, guarantee)
        over = len(scores) if guarantee.kind != "selective" else max(share * len(scores), 1.0)
        points.append({"lam": threshold, "share": share, "risk": wrong / over, "upper": bound})
    return points


def _curve_of(kept: Kept, state: State) -> dict[str, Any] | None:
    episodes = kept.store.episodes(roles=("calibrate",), epoch=kept.epoch)
    certificate, guarantee = state.certificate, kept.guarantee
    if certificate is not None:  # later records are of the next certificate
        guarantee = replace(guarantee, alpha=certificate.alpha, delta=certificate.delta, kind=certificate.kind)
        episodes = episodes.where(episodes.at <= certificate.since)
    scores, losses = _scored(kept, state, episodes)
    if not len(scores):
        return None
    points = curve(scores, losses, guarantee, state.lam)
    return {"alpha": guarantee.alpha, "delta": guarantee.delta, "n": len(scores), "points": points}


def _task_text(kept: Kept) -> str:
    said = kept.settings.get("task")
    if said is None:
        said = {} if kept.certificate is None else kept.certificate.task
    output = said.get("output")
    return str(said.get("kind", "task unknown")) + (f" of {output}" if output else "")


def why_not(kept: Kept) -> str:
    """Why nothing is certified."""
    from ronn_hrm.guarantee import calibrate

    if kept.phase == "guard":
        return "An alarm voided the certificate: every request goes to the expensive model until there is a new one."
    head = "Nothing is certified: every request goes to the expensive model."
    scores, losses = np.empty(0), np.empty(0)
    if kept.state is not None:
        scores, losses = _scored(kept, kept.state, kept.store.episodes(roles=("calibrate",), epoch=kept.epoch))
    found = calibrate(scores, losses, kept.guarantee)
    return f"{head} {found.reason}" if found.reason else f"{head} The records since would certify: calibrate again."


def _scored(kept: Kept, state: State, episodes: Episodes) -> tuple[np.ndarray, np.ndarray]:
    """Scores and losses of episodes as the state sees them, as far as the folder says enough."""
    episodes = episodes.where(~np.isnan(episodes.loss)) if len(episodes) else episodes
    if not len(episodes):
        return np.empty(0), np.empty(0)
    records = kept.records(episodes)
    features = episodes.features if records is None else records.features
    return state.scorer.score_many(features), episodes.loss if records is None else records.losses


def _decision(entry: Logged, states: Callable[[str], State | None]) -> dict[str, Any]:
    decision, bias = entry.decision, None
    state = states(decision.state)
    if state is not None and decision.score is not None:
        bias = state.scorer.bias
        try:
            decision = entry.explained(state)
        except StateError:
            bias = None
    return {
        "id": decision.id,
        "path": decision.path,
        "score": decision.score,
        "lam": decision.lam if math.isfinite(decision.lam) else None,
        "bias": bias,
        "reasons": [[name, value] for name, value in decision.reasons],
        "seconds": decision.seconds,
        "role": decision.role,
    }


def _replayed(
    kept: Kept, logged: list[Logged], stream: Stream | None, state: State | None, states: Callable[[str], State | None]
) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    left_out: list[dict[str, str]] = []
    if stream is not None and state is not None and len(stream):
        for name in (*BASELINES, "oracle"):
            made = contender(name, stream, state, kept.guarantee, kept.audit_rate)
            if isinstance(made, str):
                left_out.append({"name": name, "why": made})
            else:
                rows.append({**replay(stream, made, kept.guarantee).as_data(), "now": name == "current"})
    return {"rows": rows, "left_out": left_out, "check": str(check(logged, states))}


def _advice(kept: Kept, stream: Stream | None, state: State | None) -> dict[str, Any] | None:
    found = advice_of(kept, stream, state)
    return None if found is None else found.as_data()


def advice_of(kept: Kept, stream: Stream | None, state: State | None) -> Advice | None:
    """Whether it pays, by the times of the log; None where it has no answer of one of the two models."""
    if stream is None or state is None or not {"fast", "full"} <= stream.seconds.keys():
        return None
    fast, full = stream.seconds["fast"], stream.seconds["full"]  # a request that goes to both takes both times
    certified = state.certificate is not None
    share = state.certificate.share if state.certificate is not None else 0.0
    return advise(fast, 0.0, max(full - fast, 0.0), share, kept.audit_rate, runs=len(stream), certified=certified)
