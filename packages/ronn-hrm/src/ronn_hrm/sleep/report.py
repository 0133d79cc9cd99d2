"""Reports: what consolidation tried, what held-out records say of it, and whether it was promoted."""

from __future__ import annotations

import math
from typing import Any

from ronn.records import dataclass, field


@dataclass(frozen=True, slots=True)
class Judged:
    """What held-out records say of one state.

    state: its id. scorer: its kind and features. agreement: share of requests since the last alarm that its cheap model
    answers as the expensive one does (``gate`` records). old: the same for records of before the last alarm, NaN where
    there are none. lam, share, bound: what ``calibrate`` records certify. gate, risk: share of ``gate`` records that
    the cheap model may answer under it, and the losses among these, by all of them. promise: the share that gate
    records alone would allow, mean over risks about alpha.
    """

    state: str
    scorer: str
    agreement: float
    old: float
    gate: float
    risk: float
    promise: float
    lam: float
    share: float
    bound: float

    def as_data(self) -> dict[str, Any]:
        numbers = {
            n: getattr(self, n) for n in ("agreement", "old", "gate", "risk", "promise", "lam", "share", "bound")
        }
        plain = {n: v if math.isfinite(v) else None for n, v in numbers.items()}
        return {"state": self.state, "scorer": self.scorer, **plain}


@dataclass(frozen=True, slots=True)
class Tried:
    """A candidate: its kind, and the share that ``fit`` records promise; NaN where it was not made, and why."""

    kind: str
    share: float
    why: str = ""

    def as_data(self) -> dict[str, Any]:
        return {"kind": self.kind, "share": self.share if math.isfinite(self.share) else None, "why": self.why}


@dataclass(frozen=True, slots=True)
class Report:
    """What consolidation came to.

    promoted: whether the new state is better and may replace the old one; why: the reason, either way. kind: of the
    candidate that went to the gate (``memory``, ``adapter``, ``student``), empty where none did. before, after: the old
    and the new state, judged by the same records; None where it did not come to that. tried: all candidates. records:
    how many there were of each use. seconds: by stage.
    """

    promoted: bool
    why: str
    kind: str = ""
    before: Judged | None = None
    after: Judged | None = None
    tried: tuple[Tried, ...] = ()
    records: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    cancelled: bool = False

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())

    def as_data(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        return {
            "promoted": self.promoted, "why": self.why, "kind": self.kind, "cancelled": self.cancelled,
            "before": None if self.before is None else self.before.as_data(),
            "after": None if self.after is None else self.after.as_data(),
            "tried": [t.as_data() for t in self.tried],
            "records": dict(self.records), "seconds": {n: round(s, 6) for n, s in self.seconds.items()},
        }  # fmt: skip

    def __str__(self) -> str:
        lines = [f"{'promoted' if self.promoted else 'not promoted'}: {self.why}"]
        for tried in self.tried:
            what = tried.why if math.isnan(tried.share) else f"share {tried.share:.3f} on fit records"
            lines.append(f"  tried {tried.kind}: {what}")
        if self.before is not None and self.after is not None:
            lines.append(f"  {'':<22}{'before':>12}{'after':>12}")
            for name, text in _LINES:
                old, new = (_number(getattr(j, name)) for j in (self.before, self.after))
                lines.append(f"  {text:<22}{old:>12}{new:>12}")
        if self.records:
            lines.append("  records: " + ", ".join(f"{n} {c}" for n, c in self.records.items()))
        spent = ", ".join(f"{n} {s:.2f} s" for n, s in self.seconds.items())
        lines.append(f"  {self.total_seconds:.2f} s{f' ({spent})' if spent else ''}")
        return "\n".join(lines)


_LINES = (
    ("share", "certified share"), ("gate", "share, gate records"), ("risk", "risk, gate records"),
    ("agreement", "agreement, new"), ("old", "agreement, old"), ("bound", "bound on the risk"),
)  # fmt: skip


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
