"""Decision: how one request was answered, and why."""

from __future__ import annotations

from typing import Any, NamedTuple

from ronn.records import dataclass

PATHS = ("cache", "fast", "full")
"""What a path begins with; ``full`` goes on with the reason: ``full:cold-start``, ``full:gate(tokens)`` ..."""


@dataclass(frozen=True, slots=True)
class Decision:
    """How one request was answered.

    id: number of the request in its session (from 1 on; goes on after a restart).
    path: ``cache`` (an answer that the expensive model gave before), ``fast``, or ``full`` with the reason behind a
        colon: ``full`` alone means that the score is below ``lam``; ``full:cold-start`` and ``full:guard``: nothing is
        certified yet, or no more; ``full:gate(NAME)``: a hard gate; ``full:outputs``: the cheap model lacks an output;
        ``full:shape``: the state's cheap model takes no inputs of such shapes.
    score: log-odds that the cheap model answers as the expensive one would; None where it was not asked.
    lam: the certified threshold; infinite where nothing is certified.
    reasons: additive parts of the score by name, which with ``bias`` sum up to it (to rounding).
    features: what the parts were computed from.
    state: id of the state (models, scorer, threshold, memory) that decided. Replaying the features on it gives score
        and path again.
    role: ``calibrate`` or ``gate`` where the coin chose the request for audit, ``fit`` or ``train`` where the expensive
        model was asked anyway, else empty.
    neighbours: request numbers of the remembered inputs nearest to this one.
    seconds: of the answer, audits behind it not counted.
    """

    id: int
    path: str
    score: float | None
    lam: float
    reasons: tuple[tuple[str, float], ...]
    features: tuple[tuple[str, float], ...]
    state: str
    role: str
    neighbours: tuple[int, ...]
    seconds: float

    @property
    def answered_by(self) -> str:
        """``cache``, ``fast`` or ``full``."""
        return self.path.partition(":")[0]

    def as_data(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        return {
            "id": self.id,
            "path": self.path,
            "score": self.score,
            "lam": self.lam,
            "reasons": dict(self.reasons),
            "features": dict(self.features),
            "state": self.state,
            "role": self.role,
            "neighbours": list(self.neighbours),
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        if self.score is None:
            return f"request {self.id}: {self.path}"
        parts = ", ".join(f"{name} {value:+.2f}" for name, value in self.reasons)
        return f"request {self.id}: {self.path}, score {self.score:+.2f} against {self.lam:+.2f} ({parts})"


class Entry(NamedTuple):
    """What the log keeps of a decision, as cheap to make as it can be; fields as in ``Decision``."""

    id: int
    path: str
    role: str
    score: float | None
    lam: float
    state: str
    features: tuple[tuple[str, float], ...]
    neighbours: tuple[int, ...]
    seconds: float
