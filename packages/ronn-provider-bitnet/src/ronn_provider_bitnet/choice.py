"""Products by dots of bytes or by look-up: a choice among measured ones, the nearest in size.

A layer has one layout for all numbers of rows, so that it is packed once: what counts is the time of one row and of
many together. ``python -m benchmarks.bits_choice --write`` measures ``choices.json`` anew.
"""

from __future__ import annotations

import json
import math
from functools import lru_cache
from importlib import resources
from typing import Any

from ronn.records import dataclass


@dataclass(frozen=True)
class Choice:
    """What was measured for weights of n rows by k: microseconds by dots and by look-up, of each number of rows of
    activations."""

    n: int
    k: int
    rows: tuple[int, ...]
    dots: tuple[float, ...]
    lookups: tuple[float, ...]

    @property
    def gain(self) -> float:
        """How much quicker look-ups are, in the geometric mean over the numbers of rows."""
        logs = [math.log(a / b) for a, b in zip(self.dots, self.lookups, strict=True)]
        return math.exp(sum(logs) / len(logs))

    @property
    def lookup(self) -> bool:
        return self.gain > 1

    def __str__(self) -> str:
        kind, of = ("look-up", "dots") if self.lookup else ("dots", "look-up")
        gain = max(self.gain, 1 / self.gain)
        return f"by {kind}: {gain:.2f} x as quick as {of} where that was measured, for {self.n} x {self.k}"


@lru_cache(maxsize=1)
def table() -> dict[str, list[Choice]]:
    """The measured choices by ``key``."""
    text = resources.files("ronn_provider_bitnet").joinpath("choices.json").read_text(encoding="utf-8")
    made: dict[str, Any] = json.loads(text)
    rows = tuple(made["rows"])
    return {
        key: [Choice(n, k, rows, tuple(dots), tuple(lookups)) for n, k, dots, lookups in found]
        for key, found in made["choices"].items()
    }


def key(weights: str, planes: int, grouped: bool, dot: bool) -> str:
    """What choices are known by: ``binary`` or ``ternary`` weights, planes of activations, scales of groups, a
    processor with dots of bytes."""
    return f"{weights}, {planes} plane{'s' * (planes > 1)}{', groups' * grouped}{'' if dot else ', no dots'}"


def quicker(weights: str, planes: int, n: int, k: int, grouped: bool, dot: bool) -> Choice:
    """The choice that was measured for the size nearest to n by k."""
    found = table()[key(weights, planes, grouped, dot)]
    return min(found, key=lambda c: abs(math.log(c.n / n)) + 0.5 * abs(math.log(c.k / k)))
