"""What watches the losses that audits find."""

from __future__ import annotations

from typing import Any, Protocol


class Detector(Protocol):
    """alpha: the risk that was certified; run_length: audits on average to a false alarm. count: audits since it was
    reset; value: the evidence against a risk of alpha, which goes into the text of an alarm. Not locked."""

    alpha: float
    run_length: float
    count: int

    @property
    def value(self) -> float: ...
    def reset(self) -> None:
        """Forgets all audits."""
        ...

    def update(self, loss: float) -> bool:
        """Takes one audit: the loss, from 0 to 1, of what is served; whether there is an alarm."""
        ...

    def as_data(self) -> dict[str, Any]:
        """Plain values, as JSON has them. One with a method ``restore`` is given them again after a restart."""
        ...
