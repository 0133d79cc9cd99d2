"""The audit alarm: tells from audited losses that the risk has risen above alpha, whatever their distribution."""

from __future__ import annotations

from typing import Any

from ronn_hrm.errors import StateError

ODDS = (2.0, 4.0, 8.0, 16.0)
"""What the odds of the risk may have been multiplied by: a bet is sized for each."""


class AuditDetector:
    """A Shiryaev-Roberts e-detector (Shin, Ramdas, Rinaldo, arXiv 2203.03532).

    For each bet b, ``wealth = (1 + wealth) * (1 + b * (loss - alpha))`` after each audit; the alarm is when their mean
    reaches ``run_length``. While the mean loss, given all that was before, is at most alpha, the mean minus the number
    of audits is a supermartingale, so that on average at least ``run_length`` audits pass before an alarm.

    alpha: the risk that was certified. run_length: audits. Not locked.
    """

    __slots__ = ("_bets", "_right", "_wealth", "_wrong", "alpha", "count", "run_length")

    def __init__(self, alpha: float, run_length: float) -> None:
        self.alpha, self.run_length = alpha, run_length
        risks = [times * alpha / (1.0 - alpha + times * alpha) for times in ODDS]
        # The bet that makes most of losses of 0 and 1 at this risk (Kelly); below 1 / alpha, so wealth stays positive.
        self._bets = [(risk - alpha) / (alpha * (1.0 - alpha)) for risk in risks]
        self._right = [1.0 - bet * alpha for bet in self._bets]
        self._wrong = [1.0 + bet * (1.0 - alpha) for bet in self._bets]
        self.reset()

    def reset(self) -> None:
        """Forgets all audits."""
        self._wealth = [0.0] * len(self._bets)
        self.count = 0

    def update(self, loss: float) -> bool:
        """Takes one audit: loss, from 0 to 1, of what is served at this score (0 where the expensive model answers);
        whether there is an alarm."""
        if loss == 0.0:
            factors = self._right
        elif loss == 1.0:
            factors = self._wrong
        else:
            factors = [1.0 + bet * (loss - self.alpha) for bet in self._bets]
        self._wealth = wealth = [(1.0 + w) * f for w, f in zip(self._wealth, factors)]
        self.count += 1
        return sum(wealth) >= self.run_length * len(wealth)

    @property
    def value(self) -> float:
        """What reaches ``run_length`` at an alarm."""
        return sum(self._wealth) / len(self._wealth)

    def as_data(self) -> dict[str, Any]:
        return {
            "alpha": self.alpha,
            "run_length": self.run_length,
            "odds": list(ODDS),
            "wealth": list(self._wealth),
            "count": self.count,
        }

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> AuditDetector:
        """Goes on where ``as_data`` was; raises ``StateError`` for data of another kind."""
        try:
            found = cls(float(data["alpha"]), float(data["run_length"]))
            if tuple(data["odds"]) != ODDS or len(data["wealth"]) != len(ODDS):
                raise ValueError("made with other bets")
            found._wealth, found.count = [float(w) for w in data["wealth"]], int(data["count"])
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as e:
            raise StateError(f"what was kept of the audit detector cannot be read: {e!r}") from e
        return found
