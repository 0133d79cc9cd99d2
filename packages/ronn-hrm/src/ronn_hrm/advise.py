"""Whether a cheap model in front of an expensive one pays: the break-even, and the times it is computed from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from ronn.errors import OptionError
from ronn.plan.budget import size_text
from ronn.profile.report import time_text
from ronn.records import dataclass

if TYPE_CHECKING:
    from ronn_hrm.contracts import Runnable

SMALL_FULL = 1e-3
"""Seconds. Of an expensive model that is quicker than this, the router's own time is a good part: a cascade is advised
against unless times were measured, the share is certified, and at least ``LEAST_SAVED`` of the time is saved."""

LEAST_SAVED = 0.1

ROUTER_SECONDS = 20e-6
"""What assessment and scoring take without neighbours where they were not measured."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Median seconds of a request's parts: the cheap model, the router, the expensive model; of ``runs`` runs each (0:
    not measured). resume: of the expensive model where it goes on from what the cheap one did (an early exit); None:
    it begins anew."""

    fast: float
    router: float
    full: float
    runs: int = 0
    resume: float | None = None

    @property
    def rest(self) -> float:
        """What the expensive model takes behind the cheap one."""
        return self.full if self.resume is None else self.resume

    def spared(self, gain: float) -> float:
        """The share of the expensive model's time that is not spent, where it runs for ``1 - gain`` of requests."""
        part = self.rest / self.full if self.full > 0 else 1.0
        return gain * part + (1.0 - part)

    def __post_init__(self) -> None:
        parts = (("fast", self.fast), ("router", self.router), ("full", self.full), ("resume", self.rest))
        for name, value in parts:
            if not math.isfinite(value) or value < 0:
                raise OptionError(f"costs: {name}={value!r} is no time in seconds", hint="a finite number, 0 or more")


@dataclass(frozen=True, slots=True)
class Advice:
    """Whether a cascade pays, and the figures behind it. Times are seconds of a request that no cache answers.

    pays: the advice. why: in one sentence. share: of requests that the cheap model answers; certified: whether a
    certificate says so. audit: share of requests that the expensive model runs besides. saved: share of the expensive
    model's time that is saved, audits counted; negative where the cascade costs more. mean: with the cascade, without
    the audits, which run behind the answer. worst: of a request that goes through both models. executions: of the
    expensive model, a request, audits included. needs: what would have to change for it to pay, one at a time, by name
    (``share`` and ``full`` at least, ``fast_and_router`` and ``audit`` at most); None: no value would do. memory: bytes
    that come on top of those of the expensive model alone, None where unknown.
    """

    pays: bool
    why: str
    costs: Costs
    share: float
    certified: bool
    audit: float
    saved: float
    mean: float
    worst: float
    executions: float
    needs: dict[str, float | None]
    memory: int | None = None

    def as_data(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        names = ("fast", "router", "full", "runs", "resume")
        costs = {name: getattr(self.costs, name) for name in names}
        return {
            "pays": self.pays,
            "why": self.why,
            "costs": costs,
            "share": self.share,
            "certified": self.certified,
            "audit": self.audit,
            "saved": self.saved,
            "mean": self.mean,
            "worst": self.worst,
            "executions": self.executions,
            "needs": dict(self.needs),
            "memory": self.memory,
        }

    def __str__(self) -> str:
        t, c, kind = time_text, self.costs, "certified" if self.certified else "not certified"
        timed = f"medians of {c.runs} runs in turn" if c.runs else "as given, not measured"
        rest = "" if c.resume is None else f", {t(c.resume)} of it behind the exit"
        lines = [
            f"{'cascade' if self.pays else 'do not cascade'}: {self.why}",
            f"  cheap model {t(c.fast)}, router {t(c.router)}, expensive model {t(c.full)}{rest} ({timed})",
            f"  the cheap model answers {self.share:.1%} of requests ({kind}), {self.audit:.1%} are audited",
            f"  mean {t(self.mean)} instead of {t(c.full)} a request, audits behind the answers not counted; "
            f"{self.executions:.2f} runs of the expensive model a request, audits counted",
            f"  the slowest requests get slower: {time_text(self.worst)}, through both models",
        ]
        if not self.pays:
            lines += [f"  it would pay with {text}" for text in self._changes()]
        if self.memory is not None:
            lines.append(f"  memory rises by {size_text(self.memory)}: both models stay loaded")
        else:
            lines.append("  memory rises by the cheap model: both models stay loaded")
        return "\n".join(lines)

    def _changes(self) -> list[str]:
        """What would have to change, each alone."""
        cheap_now = time_text(self.costs.fast + self.costs.router)
        texts = {
            "share": lambda v: f"the cheap model answering more than {v:.1%} (now {self.share:.1%})",
            "full": lambda v: f"an expensive model slower than {time_text(v)} (now {time_text(self.costs.full)})",
            "fast_and_router": lambda v: f"cheap model and router together under {time_text(v)} (now {cheap_now})",
            "audit": lambda v: f"fewer audits than {v:.1%} (now {self.audit:.1%})",
        }
        found = [texts[name](value) for name, value in self.needs.items() if value is not None]
        return found if found else ["none of share, times or audits changed alone"]


def advise(
    c1: float,
    c_router: float,
    c2: float,
    share: float,
    audit_rate: float = 0.05,
    *,
    runs: int = 0,
    certified: bool = False,
    memory: int | None = None,
    resume: float | None = None,
) -> Advice:
    """Says whether a cascade pays: where ``c2 * (share - audit_rate) > c1 + c_router``; in general, where
    ``c2 > c1 + c_router + (1 - share + audit_rate) * resume``.

    c1, c_router, c2: seconds of the cheap model, of assessment and scoring, of the expensive model. share: of requests
    that the cheap model answers (of those that no cache answers). audit_rate: of requests that the expensive model
    answers only for comparison; counted as if each were a run more. runs: how often the times were measured, 0 where
    they are guesses. certified: whether ``share`` is a certificate's. memory: bytes that the cheap model holds. resume:
    seconds of an expensive model that goes on from where the cheap one stopped (default: ``c2``, it begins anew).

    Raises OptionError for negative times, and shares that are not between 0 and 1.
    """
    costs = Costs(c1, c_router, c2, runs, resume)
    for name, value in (("share", share), ("audit_rate", audit_rate)):
        if not 0.0 <= value <= 1.0:
            raise OptionError(f"{name}={value!r} is not between 0 and 1")
    cheap = c1 + c_router
    small = c2 < SMALL_FULL
    margin = LEAST_SAVED if small else 0.0
    saved = costs.spared(share - audit_rate) - (cheap / c2 if c2 > 0 else math.inf)
    enough = saved > margin
    known = runs > 0 and certified
    pays = enough and (not small or known)
    return Advice(
        pays=pays,
        why=_why(pays, enough, saved, costs, share, audit_rate),
        costs=costs,
        share=share,
        certified=certified,
        audit=audit_rate,
        saved=saved,
        mean=cheap + (1.0 - share) * costs.rest,
        worst=cheap + costs.rest,
        executions=1.0 - share + audit_rate,
        needs={} if pays else _needs(costs, share, audit_rate, margin, enough, known),
        memory=memory,
    )


def _why(pays: bool, enough: bool, saved: float, costs: Costs, share: float, audit: float) -> str:
    gain, price = costs.full * costs.spared(share - audit), costs.fast + costs.router
    sides = f"{time_text(gain)} saved a request, {time_text(price)} spent on cheap model and router"
    if pays:
        return f"saves {saved:.0%} of the expensive model's time ({sides})"
    if enough:
        return (
            f"an expensive model of {time_text(costs.full)} leaves too little to save for guesses ({sides}): measure "
            "the times and certify the share first"
        )
    if saved > 0:
        return (
            f"only {saved:.0%} of an expensive model of {time_text(costs.full)} would be saved ({sides}), and under "
            f"{time_text(SMALL_FULL)} less than {LEAST_SAVED:.0%} is lost in noise"
        )
    if share <= audit:
        return f"the cheap model answers {share:.1%} of requests, and {audit:.1%} are audited: nothing is saved"
    return f"it costs more than it saves ({sides})"


def _needs(
    costs: Costs, share: float, audit: float, margin: float, enough: bool, known: bool
) -> dict[str, float | None]:
    """The value of each figure from which (``share``, ``full``) or up to which the cascade pays, the others as they
    are."""
    cheap, full, rest, gain = costs.fast + costs.router, costs.full, costs.rest, share - audit
    ratio = cheap / full if full > 0 else math.inf
    least_full = max(cheap / gain, SMALL_FULL) if gain > 0 else None
    if known and gain > LEAST_SAVED:
        least_full = min(cheap / (gain - LEAST_SAVED), max(cheap / gain, SMALL_FULL))
    if costs.resume is not None:
        least_full = None  # the cheap model is a part of it: one does not change without the other
    if least_full == math.inf:  # of a gain that is next to nothing
        least_full = None
    if enough:  # only the evidence is lacking
        return {"full": least_full}
    # In shares of requests; what the cheap model did is no loss where the expensive one goes on from it.
    part = rest / full if full > 0 else 1.0
    lacking = (ratio + margin - (1.0 - part)) / part if part > 0 else -math.inf
    least_share, most_audit = audit + lacking, share - lacking
    most_cheap = full * (costs.spared(gain) - margin)
    return {
        "share": least_share if least_share < 1.0 else None,
        "full": least_full,
        "fast_and_router": most_cheap if most_cheap > 0 else None,
        "audit": most_audit if most_audit > 0 else None,
    }


def measure(
    fast: Runnable,
    full: Runnable,
    inputs: Sequence[Mapping[str, Any]],
    route: Callable[[Mapping[str, Any], Mapping[str, Any]], object] | None = None,
    *,
    budget: float = 2.0,
    least: int = 5,
) -> Costs:
    """Times the parts of a request in turn (cheap model, router, expensive model, and again), so that what else the
    machine does hits all alike; medians.

    Where ``full`` goes on from what ``fast`` carries over (an early exit), that is timed as well.

    inputs: feeds by name, one mapping a request; all are used in turn. route: what is done between the models, a
    function of the inputs and the cheap model's outputs; without it ``ROUTER_SECONDS`` stands for it. budget: seconds,
    after which no further round begins; at least ``least`` rounds are made, behind one that is not counted.
    """
    if not inputs:
        raise OptionError(
            "there are no inputs to measure with", hint="give at least one mapping of input names to arrays"
        )
    times: tuple[list[float], list[float], list[float]] = ([], [], [])
    resumed: list[float] = []
    goes_on: Any = getattr(full, "resume", None)
    clock = time.perf_counter
    began, rounds = clock(), 0
    for x in _forever(inputs):
        if rounds > least and clock() - began > budget:
            break
        t0 = clock()
        outputs, carry = _begun(fast, x)
        t1 = clock()
        if route is not None:
            route(x, outputs)
        t2 = clock()
        full.run(x)
        t3 = clock()
        if carry is not None and goes_on is not None:
            goes_on(carry)
            resumed.append(clock() - t3)
        rounds += 1
        if rounds == 1:  # plans are made, pages are touched
            began = clock()
            resumed.clear()
            continue
        for column, spent in zip(times, (t1 - t0, t2 - t1, t3 - t2), strict=True):
            column.append(spent)
    router = ROUTER_SECONDS if route is None else median(times[1])
    return Costs(median(times[0]), router, median(times[2]), len(times[0]), median(resumed) if resumed else None)


def _begun(fast: Any, inputs: Mapping[str, Any]) -> tuple[Any, Any]:
    """What the cheap model gives, and what the expensive one could go on from, or None."""
    if hasattr(fast, "begin"):
        found: tuple[Any, Any] = fast.begin(inputs)
        return found
    outputs = fast.run(inputs)
    return outputs, getattr(outputs, "carry", None)


def _forever(inputs: Sequence[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    while True:
        yield from inputs


def held_bytes(session: object) -> int | None:
    """Bytes that a ``ronn.Session`` holds, constants in mapped files included; None where it does not say."""
    memory = getattr(session, "memory", None)
    if memory is None:
        return None
    found = memory()
    return int(found.total + found.mapped)
