"""Ways to route that a log can be replayed under: baselines, the state as it is, and other thresholds for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ronn.errors import OptionError, nearest
from ronn.records import dataclass, replace
from ronn_hrm.replay import Contender, Stream

if TYPE_CHECKING:
    from ronn_hrm.contracts import Scorer
    from ronn_hrm.guarantee.settings import Guarantee
    from ronn_hrm.state import State


def by_score(scorer: Scorer, lam: float) -> Callable[[Stream], np.ndarray]:
    """Where the score reaches ``lam``."""
    return lambda stream: np.asarray(scorer.score_many(stream.features) >= lam)


def _all(stream: Stream) -> np.ndarray:
    return np.ones(len(stream), bool)


def _none(stream: Stream) -> np.ndarray:
    return np.zeros(len(stream), bool)


def _right(stream: Stream) -> np.ndarray:
    """Where the loss is known to be 0; where it is not known, as often as where it is, spread evenly."""
    known = ~np.isnan(stream.loss)
    right = stream.loss == 0.0
    share = right[stream.audited].mean() if stream.audited.any() else 0.0
    steps = np.floor(np.arange(1, len(stream) + 1) * share) - np.floor(np.arange(len(stream)) * share)
    return np.asarray(np.where(known, right, steps > 0))


BASELINES = ("always-full", "cache", "always-fast", "static-threshold", "size", "tuned", "current")
"""What reports show, in their order."""

POLICIES = (*BASELINES, "cascade", "budgeted", "oracle")
"""What can be asked for by name: ``always-full`` (no cache), ``cache`` (expensive model behind an exact cache),
``always-fast``, ``static-threshold[=0.9]`` (by the probability of the best class), ``size`` (the rule of size, variance
and rank), ``tuned`` (the state's scorer, with the threshold at which the risk of the audited requests just keeps to
alpha: no guarantee), ``current`` (the state as it is), ``cascade[=alpha]`` (the state's scorer, certified anew),
``budgeted[=0.2]`` (at most that share to the expensive model), ``oracle`` (the cheap model where it is right)."""


def contender(
    text: str, stream: Stream, state: State, guarantee: Guarantee, audit: float = 0.05, *, cache: bool = True
) -> Contender | str:
    """The contender of a text ``NAME`` or ``NAME=VALUE`` of ``POLICIES``; or why the log does not allow it.

    OptionError for a name that there is not, or a value that it cannot have.
    """
    name, sign, given = text.partition("=")
    if name not in POLICIES:
        near = nearest(name, list(POLICIES))
        raise OptionError(
            f"there is no policy {name!r}", hint=f"did you mean {near!r}?" if near else f"one of {', '.join(POLICIES)}"
        )
    if sign and name not in _VALUES:
        raise OptionError(f"policy {name!r} takes no value, given {given!r}")
    usual = _VALUES.get(name)
    value = guarantee.alpha if usual is None else usual
    if sign:
        try:
            value = float(given)
        except ValueError:
            raise OptionError(f"policy {text!r}: {given!r} is no number", hint=f"for instance {name}={value}") from None
        if not 0.0 < value < 1.0:
            raise OptionError(f"policy {text!r}: {given} is not between 0 and 1")
    return _MAKERS[name](_Asked(text, value, stream, state, guarantee, audit, cache))


_VALUES: dict[str, float | None] = {"static-threshold": 0.9, "cascade": None, "budgeted": 0.2, "tuned": None}
"""What policies have a value, and their usual one; None: alpha of the guarantee."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a contender is made of. value: what stood behind the name, or the usual."""

    text: str
    value: float
    stream: Stream
    state: State
    guarantee: Guarantee
    audit: float
    cache: bool

    def audited(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores by the state's scorer (NaN where nothing was assessed), and losses, of the requests that were audited
        since the latest alarm: what a session would certify by."""
        sample = self.stream.recent
        scores = self.state.scorer.score_many(self.stream.features[sample])
        return np.where(self.stream.known[sample], scores, np.nan), self.stream.loss[sample]


def _static(asked: _Asked) -> Contender | str:
    if "confidence" not in asked.stream.names:
        return "the log has no confidence of the cheap model's best class"
    at, least = asked.stream.names.index("confidence"), math.log(asked.value / (1.0 - asked.value))
    return Contender(f"static threshold {asked.value:g}", lambda s: s.features[:, at] >= least, asked.cache)


def _size(asked: _Asked) -> Contender | str:
    from ronn_hrm.scorers import SizeRule

    stream = asked.stream
    if not set(SizeRule.SHARES) & set(stream.names):
        return "the log has neither size, variance nor rank of inputs (groups=[..., InputShape()] notes them)"
    rule = SizeRule.fit(stream.features, stream.names, stream.loss)
    return Contender("size, variance, rank", by_score(rule, 0.0), asked.cache, lam=0.0)


def _tuned(asked: _Asked) -> Contender | str:
    scores, losses = asked.audited()
    if not len(losses):
        return "the log has no audited requests"
    order = np.argsort(-scores, kind="stable")  # NaN goes last
    order = order[~np.isnan(scores[order])]
    risk = np.cumsum(losses[order]) / len(losses)
    last = np.append(scores[order][1:] != scores[order][:-1], True)
    fine = np.flatnonzero((risk <= asked.value) & last)
    lam = float(scores[order][fine[-1]]) if len(fine) else math.inf
    return Contender(
        f"tuned to {asked.value:g}", by_score(asked.state.scorer, lam), asked.cache, lam=lam, alpha=asked.value
    )


def _cascade(asked: _Asked) -> Contender | str:
    from ronn_hrm.guarantee.kinds import calibrate

    scores, losses = asked.audited()
    guarantee = replace(asked.guarantee, alpha=asked.value)
    found = calibrate(scores, losses, guarantee)
    if not found.certified:
        return f"nothing is certified at alpha={asked.value:g}: {found.reason}"
    may = by_score(asked.state.scorer, found.lam)
    return Contender(f"certified at {asked.value:g}", may, asked.cache, asked.audit, found.lam, asked.value)


def _budgeted(asked: _Asked) -> Contender | str:
    from ronn_hrm.policies import Budgeted

    scores, _ = asked.audited()
    scores = scores[~np.isnan(scores)]
    if not len(scores):
        return "the log has no audited requests that were assessed"
    lam = Budgeted(asked.value).threshold(scores, asked.state.lam)
    may = by_score(asked.state.scorer, lam)
    return Contender(f"at most {asked.value:g} to the expensive model", may, asked.cache, asked.audit, lam)


def _current(asked: _Asked) -> Contender | str:
    state = asked.state
    alpha = math.nan if state.certificate is None else state.certificate.alpha
    name = "this state" if state.certified else "this state (nothing certified)"
    return Contender(name, by_score(state.scorer, state.lam), asked.cache, asked.audit, state.lam, alpha)


_MAKERS: dict[str, Callable[[_Asked], Contender | str]] = {
    "always-full": lambda asked: Contender("always the expensive model", _none, cache=False),
    "cache": lambda asked: Contender("exact cache, expensive model", _none),
    "always-fast": lambda asked: Contender("always the cheap model", _all, cache=False),
    "static-threshold": _static,
    "size": _size,
    "tuned": _tuned,
    "current": _current,
    "cascade": _cascade,
    "budgeted": _budgeted,
    "oracle": lambda asked: Contender("oracle: cheap where right", _right, asked.cache),
}
