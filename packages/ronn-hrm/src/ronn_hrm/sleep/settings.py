"""What is learnt in idle time, when, and how much it may take."""

from __future__ import annotations

import math
from typing import Any

from ronn.errors import OptionError
from ronn.records import dataclass, field
from ronn_hrm.sleep.student import Distil

STRATEGIES = ("auto", "memory", "adapter", "student")


@dataclass(frozen=True, slots=True)
class Sleep:
    """Consolidation: how, and, with ``auto``, when.

    auto: whether it begins by itself: after ``idle_s`` seconds without a request, once ``min_new`` episodes came since
        the last time; a request that comes meanwhile ends it, and it begins anew later.
    overdue: once so many episodes came since the last time, it begins whatever the traffic, and no request ends it.
        None: it waits for idle time however long that takes.
    strategy: ``memory`` (what is searched and how requests are scored are made anew), ``adapter`` (and a linear
        correction of the cheap model), ``student`` (and a ternary network in its place), ``auto``: all that apply, of
        which the best by records of the fit role goes on to the gate.
    budget_s: seconds after which no further candidate is begun. None: as long as it takes.
    student: how a student is taught; None: none is.
    rows: at most so many episodes are learnt from. replay: whether those of before the last alarm are among them;
        without them, what was learnt before is forgotten. remembered: at most so many inputs are searched.
    forget: by how much, at most, agreement on records of before the last alarm may fall (a single record more is
        always allowed).
    """

    auto: bool = False
    idle_s: float = 30.0
    min_new: int = 500
    overdue: int | None = None
    strategy: str = "auto"
    budget_s: float | None = None
    student: Distil | None = field(default_factory=Distil)
    rows: int = 10_000
    replay: bool = True
    remembered: int = 10_000
    forget: float = 0.005

    def __post_init__(self) -> None:
        strategy_of(self.strategy)
        for name in ("idle_s", "forget"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise OptionError(f"{name}={getattr(self, name)!r} is not a number from 0 on")
        for name in ("min_new", "rows", "remembered"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name}={getattr(self, name)!r} is not a count", hint="at least 1")
        if self.overdue is not None and self.overdue < self.min_new:
            raise OptionError(f"overdue={self.overdue} is below min_new={self.min_new}", hint="more, or None")
        if self.budget_s is not None and not self.budget_s > 0.0:
            raise OptionError(f"budget_s={self.budget_s!r} is no time", hint="seconds, or None for as long as it takes")

    def as_data(self) -> dict[str, Any]:
        taught = self.student
        return {
            "auto": self.auto, "idle_s": self.idle_s, "min_new": self.min_new, "overdue": self.overdue,
            "strategy": self.strategy,
            "budget_s": self.budget_s, "rows": self.rows, "replay": self.replay, "remembered": self.remembered,
            "forget": self.forget, "student": None if taught is None else taught.as_data(),
        }  # fmt: skip


def strategy_of(name: str) -> str:
    """The name, if it is one of a strategy; else OptionError."""
    if name not in STRATEGIES:
        raise OptionError(f"there is no strategy {name!r}", hint=f"one of {', '.join(STRATEGIES)}")
    return name
