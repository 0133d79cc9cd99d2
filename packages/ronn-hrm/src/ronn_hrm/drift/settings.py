"""How the cheap model is watched."""

from __future__ import annotations

from typing import Any

from ronn.errors import OptionError
from ronn.records import dataclass

MODES = ("shadow", "inline")


@dataclass(frozen=True, slots=True)
class Audit:
    """Which requests are answered by both models, to see how far they agree.

    rate: the share of requests, chosen by a coin that knows nothing of the input. mode: ``shadow`` runs the expensive
    model after the answer was given, ``inline`` before, and serves its answer. max_rate: the largest share that audits
    may come to while a certificate holds. run_length: audits that pass on average before a false alarm, while the risk
    is alpha or less. least: calibration records that are collected at least, from a start or an alarm on, before the
    first certificate is tried; the guarantee asks for some itself. With more, the first one leaves more to the cheap
    model, and comes later.
    """

    rate: float = 0.05
    mode: str = "shadow"
    max_rate: float = 0.1
    run_length: float = 2000.0
    least: int = 0

    def __post_init__(self) -> None:
        for name, value in (("rate", self.rate), ("max_rate", self.max_rate)):
            if not isinstance(value, (int, float)) or not 0.0 <= value <= 1.0:
                raise OptionError(f"{name}={value!r} of Audit is not from 0 to 1", hint="0.05 is one in twenty")
        if self.rate > self.max_rate:
            raise OptionError(f"rate={self.rate:g} of Audit is above max_rate={self.max_rate:g}")
        if self.mode not in MODES:
            raise OptionError(f"there are no audits of mode {self.mode!r}", hint=f"one of {', '.join(MODES)}")
        if not isinstance(self.run_length, (int, float)) or not 1.0 <= self.run_length < float("inf"):
            raise OptionError(f"run_length={self.run_length!r} of Audit is no number of audits", hint="2000 is usual")
        if isinstance(self.least, bool) or not isinstance(self.least, int) or self.least < 0:
            raise OptionError(f"least={self.least!r} of Audit is no number of records", hint="0 or more")

    def as_data(self) -> dict[str, Any]:
        return {
            "rate": self.rate, "mode": self.mode, "max_rate": self.max_rate, "run_length": self.run_length,
            "least": self.least,
        }  # fmt: skip
