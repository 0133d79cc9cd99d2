"""The course of one session: warm-up, traffic as usual, a change of the traffic, consolidation; measured by part."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import ronn_hrm as hrm

WINDOW = 100
"""Requests of one column of the picture."""
PATHS = ("fast", "cache", "full")
Feeds = Mapping[str, Any]


@dataclass
class Pair:
    """Two models of one task, and its traffic.

    fast, full: what runs. feeds: request number i of the traffic, from 0 on, as it is or (True) changed. label: the
    right class of it. repeats: share of requests that come again, of the few that are ``hot``. change: what the change
    is, in words. bytes: that each of both models holds.
    """

    name: str
    fast: Any
    full: Any
    feeds: Callable[[int, bool], Feeds]
    label: Callable[[int], int]
    change: str
    embed: Any
    bytes: tuple[int, int]
    alpha: float = 0.01
    repeats: float = 0.2
    hot: int = 50


@dataclass(frozen=True)
class Lengths:
    """Requests of the parts: until there is a certificate at most, held out to certify a better one, measured, and
    behind the change at most."""

    warm_up: int
    held_out: int
    measured: int
    changed: int


@dataclass
class Part:
    """What was measured on one part of the traffic. paths: requests by what answered. runs: of the expensive model,
    audits included. agree: answers that were the expensive model's; right: that were right; right_full: of the
    expensive model's. seconds: of each answer. certified: the certified share at the end."""

    name: str
    requests: int = 0
    paths: Counter[str] = field(default_factory=Counter)
    runs: float = 0.0
    agree: int = 0
    right: int = 0
    right_full: int = 0
    seconds: list[float] = field(default_factory=list)
    certified: float = 0.0

    def share(self, path: str) -> float:
        return self.paths[path] / max(self.requests, 1)

    def of(self, count: float) -> float:
        return count / max(self.requests, 1)

    @property
    def mean_ms(self) -> float:
        return 1e3 * statistics.fmean(self.seconds)

    @property
    def median_ms(self) -> float:
        return 1e3 * statistics.median(self.seconds)


@dataclass
class Course:
    """All of it. windows: by what ``WINDOW`` requests were answered, and how many answers were not the expensive
    model's; events: (request, what happened)."""

    pair: Pair
    parts: list[Part] = field(default_factory=list)
    windows: list[Counter[str]] = field(default_factory=list)
    events: list[tuple[int, str]] = field(default_factory=list)
    report: Any = None
    advice: Any = None

    @property
    def requests(self) -> int:
        return sum(w["requests"] for w in self.windows)


class Traveller:
    """Takes a session along its course."""

    def __init__(self, pair: Pair, session: hrm.HRMSession, seed: int = 0) -> None:
        self.course = Course(pair)
        self._pair, self._session = pair, session
        self._rng = np.random.default_rng(seed)
        self._next = pair.hot
        self._mode = session.mode

    def go(self, name: str, most: int, changed: bool = False, until: Callable[[], bool] | None = None) -> Part:
        """Up to ``most`` requests, until something holds."""
        part, session = Part(name), self._session
        before = session.metrics.count("full_runs")
        while part.requests < most and not (until is not None and until()):
            self._one(part, changed)
        session.drain()
        self._heed()
        part.runs = session.metrics.count("full_runs") - before
        found = session.certificate()
        part.certified = 0.0 if found is None else found.share
        self.course.parts.append(part)
        return part

    def held_out(self, count: int) -> list[Feeds]:
        """Requests that nobody has seen yet."""
        first, self._next = self._next, self._next + count
        return [self._pair.feeds(i, False) for i in range(first, self._next)]

    def mark(self, what: str) -> None:
        """Notes that something happens behind the last request."""
        self.course.events.append((self.course.requests, what))

    def _one(self, part: Part, changed: bool) -> None:
        pair, windows = self._pair, self.course.windows
        if self._rng.random() < pair.repeats:
            number = int(self._rng.integers(pair.hot))
        else:
            number, self._next = self._next, self._next + 1
        feeds = pair.feeds(number, changed)
        outputs, why = self._session.run(feeds, explain=True)
        given, right = int(outputs["scores"].argmax()), pair.label(number)
        # What is not the cheap model's is the expensive one's own answer.
        of_full = int(pair.full.run(feeds)["scores"].argmax()) if why.answered_by == "fast" else given
        part.requests += 1
        part.paths[why.answered_by] += 1
        part.seconds.append(why.seconds)
        part.agree += given == of_full
        part.right += given == right
        part.right_full += of_full == right
        if not windows or windows[-1]["requests"] == WINDOW:
            windows.append(Counter())
        windows[-1].update({"requests": 1, why.answered_by: 1, "other": int(given != of_full)})
        self._heed()

    def _heed(self) -> None:
        """Notes where the session changed between two paths and one."""
        if self._session.mode != self._mode:
            self._mode = self._session.mode
            self.mark({"certified": "certified", "guard": "alarm"}.get(self._mode, self._mode))


def alone(model: Any, pair: Pair, changed: bool, count: int) -> Part:
    """One model for everything, without a session."""
    part = Part("")
    for number in range(pair.hot, pair.hot + count):
        feeds = pair.feeds(number, changed)
        began = time.perf_counter()
        given = int(model.run(feeds)["scores"].argmax())
        part.seconds.append(time.perf_counter() - began)
        part.requests += 1
        part.right += given == pair.label(number)
    return part


def travel(pair: Pair, lengths: Lengths, say: Callable[[str], None]) -> Course:
    """The whole course, in a session that is new."""
    with hrm.HRMSession(
        pair.fast, pair.full, task=hrm.Classification("scores"), embed=pair.embed,
        guarantee=hrm.Guarantee(alpha=pair.alpha), memory=hrm.Memory(store_inputs=True),
    ) as session:  # fmt: skip
        way = Traveller(pair, session)
        say("everything goes to System 2, until traffic certifies System 1")
        way.go("cold start", lengths.warm_up, until=lambda: session.certificate() is not None)
        session.calibrate(way.held_out(lengths.held_out))
        session.sleep()
        way.mark("sleep")
        say("traffic as usual")
        way.go("as usual", lengths.measured)
        say(f"the traffic changes: {pair.change}")
        way.mark("change")
        epoch = [session.metrics.count("alarms")]
        way.go(
            "change, guard", lengths.changed, True,
            until=lambda: session.metrics.count("alarms") > epoch[0] and session.mode == "certified",
        )  # fmt: skip
        way.go("before sleep", lengths.measured, True)
        say("sleep: learns from what System 2 said meanwhile")
        way.course.report = session.sleep()
        way.mark("sleep")
        way.go("after sleep", lengths.measured, True)
        way.course.advice = session.advise([pair.feeds(i, True) for i in range(10)])
        return way.course
