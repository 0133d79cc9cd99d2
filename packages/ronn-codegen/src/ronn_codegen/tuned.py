"""Sizes that are better measured than derived, by the width of vectors. Read when plans are made, never tuned then.

``benchmarks/tune.py`` measures them on one machine and writes ``tuned.json``. A choice may depend on a size of the
problem: it is then a list of (up to this size, value), the last one without a bound.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import Any

Choices = dict[str, list[list[float | None]]]


@lru_cache(maxsize=1)
def table() -> dict[str, Choices]:
    """The choices by bits of a vector (``"512"``, ``"256"``, ``"128"``) and name."""
    text = resources.files("ronn_codegen").joinpath("tuned.json").read_text(encoding="utf-8")
    made: dict[str, Any] = json.loads(text)
    return {bits: choices for bits, choices in made.items() if bits != "measured_on"}


def tuned(name: str, bits: int, size: int = 0) -> int:
    """The value of a choice for vectors of ``bits`` bits and a problem of ``size``. KeyError for an unknown name."""
    for bound, value in table()[str(bits)][name]:
        if bound is None or size <= bound:
            assert value is not None
            return int(value)
    raise KeyError(f"choice {name!r} has no value for size {size}")
