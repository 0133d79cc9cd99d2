"""What is guaranteed: the risk, the confidence, the kind."""

from __future__ import annotations

from typing import Any

from ronn.errors import OptionError
from ronn.records import dataclass

KINDS = ("ucb", "crc", "selective", "anytime")
BOUNDS = ("auto", "binomial", "hoeffding-bentkus", "betting")


@dataclass(frozen=True, slots=True)
class Guarantee:
    """At most ``alpha`` of all traffic gets an answer that the expensive model would not have given.

    alpha: the risk, mean task loss of what the cheap model answers over all requests. delta: how often a certificate
    may be wrong. kind: ``ucb`` (with probability 1 - delta over the calibration draws; RCPS, arXiv 2101.02703),
    ``crc`` (on average over deployments; arXiv 2208.02814), ``selective`` (the risk among answers of the cheap model;
    learn then test, arXiv 2110.01052), ``anytime`` (for all certificates that one state ever gets, by betting; arXiv
    2406.10490).
    bound: for ``ucb`` and ``selective``, how the risk is bounded. ``binomial`` is exact for losses of 0 and 1 and takes
    any other that is not 0 for 1; ``betting`` gains where losses are small numbers; ``hoeffding-bentkus`` looks at
    their sum only; ``auto`` is ``binomial`` where all losses are 0 or 1, else ``betting``.
    """

    alpha: float = 0.01
    delta: float = 0.1
    kind: str = "ucb"
    bound: str = "auto"

    def __post_init__(self) -> None:
        for name, value in (("alpha", self.alpha), ("delta", self.delta)):
            if not isinstance(value, (int, float)) or not 0.0 < value < 1.0:
                raise OptionError(f"{name}={value!r} is not between 0 and 1", hint="0.01 is one in a hundred")
        if self.kind not in KINDS:
            raise OptionError(f"there is no guarantee of kind {self.kind!r}", hint=f"one of {', '.join(KINDS)}")
        if self.bound not in BOUNDS:
            raise OptionError(f"there is no bound {self.bound!r}", hint=f"one of {', '.join(BOUNDS)}")
        taken = {"crc": ("auto",), "anytime": ("auto", "betting")}.get(self.kind, BOUNDS)
        if self.bound not in taken:
            raise OptionError(
                f"a guarantee of kind {self.kind!r} takes no bound {self.bound!r}", hint=f"one of {', '.join(taken)}"
            )

    def bound_for(self, binary: bool) -> str:
        """The bound that is meant; binary: all losses are 0 or 1."""
        if self.bound != "auto":
            return self.bound
        return "binomial" if binary and self.kind != "anytime" else "betting"

    def as_data(self) -> dict[str, Any]:
        return {"alpha": self.alpha, "delta": self.delta, "kind": self.kind, "bound": self.bound}
