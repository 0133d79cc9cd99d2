"""Replay: what other policies would have made of the requests in a log, and whether the log says what was decided.

Nothing runs: requests are taken in their order with the features that were logged, and audited ones with their losses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.records import dataclass, field, replace
from ronn_hrm.memory.episode import AUDITED

if TYPE_CHECKING:
    from ronn_hrm.certify import Records
    from ronn_hrm.guarantee.settings import Guarantee
    from ronn_hrm.memory.episode import Episodes
    from ronn_hrm.memory.rows import Logged
    from ronn_hrm.state import State


@dataclass(frozen=True, slots=True)
class Stream:
    """N logged requests in order.

    keys: equal for requests that an exact cache takes for equal. features: float64 [N, F], NaN where a request was not
    assessed and none of its equals before was. known: bool [N], whether there are any. loss: float64 [N], between the
    answers of the two models, NaN where it is not known. audited: bool [N]: of those ``collecting`` (bool [N]; while
    nothing was certified) and of the others a fair sample each, with losses. recent: bool [N], audited ones since the
    latest alarm. names: of the features. seconds: median time of an answer by ``cache``, ``fast``, ``full``, as far as
    there were such.
    """

    keys: list[tuple[str, bytes]]
    features: np.ndarray
    known: np.ndarray
    loss: np.ndarray
    audited: np.ndarray
    collecting: np.ndarray
    recent: np.ndarray
    names: tuple[str, ...]
    seconds: dict[str, float]

    def __len__(self) -> int:
        return len(self.keys)


def stream_of(
    logged: Sequence[Logged], episodes: Episodes, names: Sequence[str], records: Records | None = None
) -> Stream:
    """The requests of a log; losses come from the episodes of the same numbers.

    names: of the features, in the order of the state that is to score them. records: episodes as that state sees them
    (``certify.records_of``); their features and losses go before those that an earlier state computed and logged.
    """
    order = tuple(names)
    at = {int(number): i for i, number in enumerate(episodes.request)}
    anew = {} if records is None else {int(number): i for i, number in enumerate(records.episodes.request)}
    of_key: dict[tuple[str, bytes], tuple[float, ...]] = {}
    rows: list[tuple[float, ...] | None] = []
    for entry in logged:
        key = (entry.namespace, entry.digest)
        found = dict(entry.decision.features)
        row = tuple(found.get(name, math.nan) for name in order) if found else None
        if records is not None and entry.decision.id in anew:
            told = records.features[anew[entry.decision.id]].tolist()
            row = tuple(told) if row is None else tuple(a if a == a else b for a, b in zip(told, row, strict=True))
        if row is not None:
            of_key[key] = row
        rows.append(of_key.get(key))
    loss = np.full(len(logged), np.nan)
    audited, recent = np.zeros(len(logged), bool), np.zeros(len(logged), bool)
    epoch = int(episodes.epoch.max(initial=0))
    features = np.full((len(logged), len(order)), np.nan)
    for i, (entry, row) in enumerate(zip(logged, rows, strict=True)):
        if row is not None:
            features[i] = row
        where = at.get(entry.decision.id)
        if where is not None:
            loss[i] = episodes.loss[where]
            if records is not None and entry.decision.id in anew:
                loss[i] = records.losses[anew[entry.decision.id]]
            audited[i] = episodes.role[where] in AUDITED and not math.isnan(loss[i])
            recent[i] = audited[i] and int(episodes.epoch[where]) == epoch
    times: dict[str, list[float]] = {}
    for entry in logged:
        times.setdefault(entry.decision.answered_by, []).append(entry.decision.seconds)
    return Stream(
        keys=[(e.namespace, e.digest) for e in logged],
        features=features,
        known=np.array([r is not None for r in rows], bool),
        loss=loss,
        audited=audited,
        collecting=np.array([math.isinf(e.decision.lam) for e in logged], bool),
        recent=recent,
        names=order,
        seconds={path: median(found) for path, found in times.items()},
    )


def stream_of_records(records: Records, names: Sequence[str]) -> Stream:
    """Records as if they were the traffic, for folders without a log."""
    count, every = len(records), np.ones(len(records), bool)
    return Stream(
        keys=list(zip(records.episodes.namespace, records.episodes.digest, strict=True)),
        features=records.features, known=every, loss=records.losses, audited=every, collecting=np.zeros(count, bool),
        recent=every, names=tuple(names), seconds={},
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to route: which requests the cheap model may answer, by the rows of a stream (bool [N]); whether answers of
    the expensive model are remembered; how much is audited. lam, alpha: where it has them."""

    name: str
    may: Callable[[Stream], np.ndarray] = field(compare=False)
    cache: bool = True
    audit: float = 0.0
    lam: float = math.nan
    alpha: float = math.nan


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a contender made of a stream.

    cache, fast, full: shares of requests by who answers. runs: of the expensive model, a request, audits included.
    risk: mean loss of what the cheap model answers over all requests, as the ``audited`` requests have it (those from
    times of collecting, when more were audited, weigh less); bound: its upper bound for that sample. seconds: of an
    answer, by the medians of the log; NaN where it has none for a path.
    """

    name: str
    requests: int
    cache: float
    fast: float
    full: float
    runs: float
    audited: int
    risk: float
    bound: float
    lam: float
    alpha: float
    seconds: float

    def as_data(self) -> dict[str, Any]:
        """Plain values; what is not a finite number is None."""
        found = {name: getattr(self, name) for name in _REPLAYED}
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in found.items()}


_REPLAYED = (
    "name", "requests", "cache", "fast", "full", "runs", "audited", "risk", "bound", "lam", "alpha", "seconds",
)  # fmt: skip


def replay(stream: Stream, contender: Contender, guarantee: Guarantee) -> Replayed:
    """Takes the requests of a stream in turn: from the cache (of any size) what the expensive model said before, else
    by the contender; what was never assessed goes to the expensive model. guarantee: delta of the bound."""
    n = len(stream)
    may = contender.may(stream) & stream.known
    hits, served = np.zeros(n, bool), np.zeros(n, bool)
    remembered: set[tuple[str, bytes]] = set()
    for i, key in enumerate(stream.keys):
        if contender.cache and key in remembered:
            hits[i] = True
        elif may[i]:
            served[i] = True
        else:
            remembered.add(key)
    counts = {"cache": int(hits.sum()), "fast": int(served.sum())}
    counts["full"] = n - sum(counts.values())
    risk, bound = _risk_of(stream, served, replace(guarantee, kind="ucb", bound="auto"))
    share = {path: count / n if n else 0.0 for path, count in counts.items()}
    parts = [c * stream.seconds.get(path, math.nan) for path, c in share.items() if c]
    return Replayed(
        name=contender.name, requests=n, cache=share["cache"], fast=share["fast"], full=share["full"],
        runs=share["full"] + contender.audit * share["fast"], audited=int(stream.audited.sum()), risk=risk, bound=bound,
        lam=contender.lam, alpha=contender.alpha, seconds=sum(parts) if parts else math.nan,
    )  # fmt: skip


def _risk_of(stream: Stream, served: np.ndarray, guarantee: Guarantee) -> tuple[float, float]:
    """The risk of what is served, and its bound: each part of the stream that was sampled at one rate has its own, at
    an equal share of delta, and counts by its size."""
    from ronn_hrm.guarantee import risk_at

    parts = [stream.collecting == flag for flag in (False, True)]
    parts = [part for part in parts if part.any()]
    at_risk = sum(bool(served[part].any()) for part in parts)
    guarantee = replace(guarantee, delta=guarantee.delta / max(at_risk, 1))
    risk = bound = sampled = 0.0
    for part in parts:
        size, sample = float(part.mean()), part & stream.audited
        most, count = float(served[part].mean()), int(sample.sum())
        if count:
            wrong, _, upper = risk_at(np.where(served[sample], 1.0, -1.0), stream.loss[sample], 0.0, guarantee)
            risk += size * wrong / count
            sampled += size
            most = min(most, max(upper, -math.expm1(math.log(guarantee.delta) / count)))  # nothing wrong of so many
        bound += size * most
    return (risk / sampled, bound) if sampled else (math.nan, math.nan)


# --- whether the log is right


@dataclass(frozen=True, slots=True)
class Checked:
    """How many of ``logged`` requests were ``scored``, how many of these give the same score again to the bit on the
    state that decided (``equal``), and how many of those went the way that score and threshold tell (``followed``).
    differ: numbers of requests of which that is not so; lacking: how many were decided by states that are gone, by id.
    """

    logged: int
    scored: int
    equal: int
    followed: int
    differ: tuple[int, ...]
    lacking: dict[str, int]

    @property
    def sound(self) -> bool:
        """Whether all that can be checked is as it was logged."""
        return not self.differ

    def as_data(self) -> dict[str, Any]:
        return {
            "logged": self.logged, "scored": self.scored, "equal": self.equal, "followed": self.followed,
            "differ": list(self.differ), "lacking": self.lacking,
        }  # fmt: skip

    def __str__(self) -> str:
        told = f"{self.equal} of {self.scored} scored decisions replay bit-equal from their states"
        if self.lacking:
            told += f"; {sum(self.lacking.values())} were made by states that are not kept any more"
        if self.differ:
            told += f"; these differ: {', '.join(map(str, self.differ[:10]))}{' ...' if len(self.differ) > 10 else ''}"
        return told


def check(logged: Iterable[Logged], state_of: Callable[[str], State | None]) -> Checked:
    """Decides every logged request again. state_of: the state of an id, None where it is gone.

    Paths are held against score and threshold where these alone decide (a policy of the user's may do otherwise, and
    then no path says ``fast`` below the threshold of a certified state).
    """
    total = scored = equal = followed = 0
    differ: list[int] = []
    lacking: dict[str, int] = {}
    states: dict[str, State | None] = {}
    for entry in logged:
        d = entry.decision
        total += 1
        if d.score is None:
            continue
        if d.state not in states:
            states[d.state] = state_of(d.state)
        state = states[d.state]
        if state is None:
            lacking[d.state] = lacking.get(d.state, 0) + 1
            continue
        scored += 1
        score, reaches = state.decide([value for _, value in d.features])
        if score != d.score or state.lam != d.lam:
            differ.append(d.id)
            continue
        equal += 1
        if d.path == "cache" or (d.path in ("fast", "full:audit")) == reaches:
            followed += 1
    return Checked(total, scored, equal, followed, tuple(differ), lacking)
