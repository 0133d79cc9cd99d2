"""What is guaranteed: the risk, the confidence, the kind."""

from __future__ import annotations

from typing import Any

from ronn.errors import OptionError
from ronn.records import dataclass

KINDS = ("ucb", "crc", "selective", "anytime")


@dataclass(frozen=True, slots=True)
class Guarantee:
    """At most ``alpha`` of all traffic gets an answer that the expensive model would not have given.

    alpha: the risk, mean task loss of what the cheap model answers over all requests. delta: how often a certificate
    may be wrong. kind: ``ucb`` (with probability 1 - delta over the calibration draws; RCPS, arXiv 2101.02703),
    ``crc`` (on average over deployments; arXiv 2208.02814), ``selective`` (the risk among answers of the cheap model;
    learn then test, arXiv 2110.01052), ``anytime`` (for all certificates ever made, by betting; arXiv 2406.10490).
    """

    alpha: float = 0.01
    delta: float = 0.1
    kind: str = "ucb"

    def __post_init__(self) -> None:
        for name, value in (("alpha", self.alpha), ("delta", self.delta)):
            if not isinstance(value, (int, float)) or not 0.0 < value < 1.0:
                raise OptionError(f"{name}={value!r} is not between 0 and 1", hint="0.01 is one in a hundred")
        if self.kind not in KINDS:
            raise OptionError(f"there is no guarantee of kind {self.kind!r}", hint=f"one of {', '.join(KINDS)}")

    def as_data(self) -> dict[str, Any]:
        return {"alpha": self.alpha, "delta": self.delta, "kind": self.kind}
