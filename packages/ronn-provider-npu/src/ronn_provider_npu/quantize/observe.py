"""What the calibration data make of a model's values: extremes, samples, channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ronn.errors import InputError
from ronn.ir.graph import IRModel, Value
from ronn.numerics.walk import traced
from ronn.records import dataclass, field

Array = np.ndarray
Tell = Callable[[str, float], None]
"""What is done just now, and the share of it that is done, 0 to 1."""
SAMPLES = 1 << 16
"""Numbers that are kept of each value, over all data."""


@dataclass
class Seen:
    """Of one value: extremes, some of its numbers f32[n], and by channel (``axis``) the mean and the largest number
    without its sign, None where the value is not asked for channels."""

    low: float = np.inf
    high: float = -np.inf
    parts: list[Array] = field(default_factory=list)
    sums: Array | None = None
    count: int = 0
    peaks: Array | None = None

    @property
    def numbers(self) -> Array:
        """The samples, with the extremes among them."""
        return np.concatenate([*self.parts, np.array([self.low, self.high], np.float32)])

    @property
    def means(self) -> Array:
        assert self.sums is not None
        return self.sums / max(self.count, 1)

    def add(self, x: Array, axis: int | None, most: int, r: np.random.Generator) -> None:
        if not x.size:
            return
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))
        flat = x.reshape(-1)
        self.parts.append(flat.copy() if flat.size <= most else flat[r.integers(0, flat.size, most)])
        if axis is not None:
            rows = np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis])
            sums, peaks = rows.sum(axis=0, dtype=np.float64), np.abs(rows).max(axis=0)
            self.sums = sums if self.sums is None else self.sums + sums
            self.peaks = peaks if self.peaks is None else np.maximum(self.peaks, peaks)
            self.count += len(rows)


def observe(
    model: IRModel, values: Mapping[Value, int | None], feeds: Sequence[Mapping[str, Any]], tell: Tell,
    providers: Sequence[Any] | None = None,
) -> dict[str, Seen]:  # fmt: skip
    """``values``, each with its axis of channels (None: none is asked for), over the feeds, by name.

    Raises InputError where a value is not finite.
    """
    wanted = list(values)
    seen = {v.name: Seen() for v in wanted}
    r = np.random.default_rng(0)
    most = max(SAMPLES // max(len(feeds), 1), 1)
    for number, arrays in enumerate(traced(model, wanted, feeds, providers)):
        tell("what values there are", number / len(feeds))
        for value, array in zip(wanted, arrays, strict=True):
            if not np.isfinite(array).all():
                raise InputError(
                    f"%{value.name} is NaN or infinite on the calibration data",
                    hint="`ronn bisect` finds where from; or leave the data out",
                )
            seen[value.name].add(array, values[value], most, r)
    return seen
