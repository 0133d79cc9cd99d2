"""When two sets of outputs count as equal: the rules of the models table, element by element."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

FLOAT32_RELATIVE, FLOAT32_ABSOLUTE = 1e-4, 1e-5
FLOAT16_RELATIVE = 2e-3


@dataclass(frozen=True)
class Comparison:
    """One output against its expected value. `worst` and `allowed` are absolute; `scale` is max |expected|."""

    ok: bool
    worst: float
    allowed: float
    scale: float
    reason: str | None = None

    @property
    def relative(self) -> float:
        """Largest difference as a share of the largest expected value."""
        return self.worst / self.scale if self.scale > 0 else self.worst


def _wrong(reason: str) -> Comparison:
    return Comparison(False, float("inf"), 0.0, 0.0, reason)


def allowed_difference(scale: float, dtype: np.dtype[Any], precision: str) -> float:
    """Largest |difference| that counts as equal, for outputs whose largest expected magnitude is `scale`."""
    if precision == "float16" or dtype == np.float16 or dtype.name == "bfloat16":
        return FLOAT16_RELATIVE * scale + FLOAT32_ABSOLUTE
    return FLOAT32_RELATIVE * scale + FLOAT32_ABSOLUTE


def _compare_floats(expected: np.ndarray, actual: np.ndarray, precision: str) -> Comparison:
    left, right = expected.astype(np.float64), actual.astype(np.float64)
    finite = np.isfinite(left)
    scale = float(np.abs(left[finite]).max()) if finite.any() else 0.0
    allowed = allowed_difference(scale, expected.dtype, precision)
    if not np.array_equal(left[~finite], right[~finite], equal_nan=True):
        return Comparison(False, float("inf"), allowed, scale, "NaN or infinities differ")
    if not np.isfinite(right[finite]).all():
        return Comparison(False, float("inf"), allowed, scale, "NaN or infinity where a number is expected")
    worst = float(np.abs(left[finite] - right[finite]).max()) if finite.any() else 0.0
    return Comparison(worst <= allowed, worst, allowed, scale, None if worst <= allowed else "differs too much")


def _compare_arrays(expected: np.ndarray, actual: np.ndarray, precision: str) -> Comparison:
    if expected.shape != actual.shape:
        return _wrong(f"shape {list(actual.shape)}, expected {list(expected.shape)}")
    if expected.dtype.kind in "OUST":
        same = bool(np.all(expected.astype(str) == actual.astype(str)))
        return Comparison(True, 0.0, 0.0, 0.0) if same else _wrong("strings differ")
    if expected.dtype != actual.dtype:
        return _wrong(f"dtype {actual.dtype}, expected {expected.dtype}")
    if expected.dtype.kind in "biu":
        differing = int(np.count_nonzero(expected != actual))
        if differing == 0:
            return Comparison(True, 0.0, 0.0, 0.0)
        return _wrong(f"{differing} of {expected.size} integers differ")
    if expected.dtype.kind == "c":
        parts = [np.stack([array.real, array.imag]) for array in (expected, actual)]
        return _compare_floats(parts[0], parts[1], precision)
    return _compare_floats(expected, actual, precision)


def _compare_maps(expected: list[Mapping[Any, Any]], actual: list[Any], precision: str) -> Comparison:
    for position, (left, right) in enumerate(zip(expected, actual, strict=True)):
        if not isinstance(right, Mapping) or list(left) != list(right):
            return _wrong(f"keys of map {position} differ")
    lefts = np.array([value for item in expected for value in item.values()])
    rights = np.array([value for item in actual for value in item.values()], dtype=lefts.dtype)
    return _compare_arrays(lefts, rights, precision)


def compare_values(expected: Any, actual: Any, precision: str = "float32") -> Comparison:
    """An array, a sequence of arrays or of maps, or None against its expected value."""
    if isinstance(expected, np.ndarray):
        if not isinstance(actual, np.ndarray):
            return _wrong(f"a {type(actual).__name__}, expected an array")
        return _compare_arrays(expected, actual, precision)
    if isinstance(expected, list):
        if not isinstance(actual, (list, tuple)) or len(actual) != len(expected):
            return _wrong(f"not a sequence of {len(expected)}")
        if expected and all(isinstance(item, Mapping) for item in expected):
            return _compare_maps(expected, list(actual), precision)
        results = [compare_values(left, right, precision) for left, right in zip(expected, actual, strict=True)]
        return worst_of(results) if results else Comparison(True, 0.0, 0.0, 0.0)
    if isinstance(expected, Mapping):
        return compare_values([expected], [actual], precision)
    same = type(expected) is type(actual) and expected == actual
    return Comparison(True, 0.0, 0.0, 0.0) if same else _wrong(f"{actual!r}, expected {expected!r}")


def worst_of(results: list[Comparison]) -> Comparison:
    """The comparison nearest to failing, or the worst failure."""
    return max(results, key=lambda item: (not item.ok, item.worst / item.allowed if item.allowed > 0 else item.worst))


def compare_outputs(
    expected: Mapping[str, Any], actual: Mapping[str, Any], precision: str = "float32"
) -> dict[str, Comparison]:
    """Each output of `expected` by name. An output that is missing in `actual`, or is too much, fails."""
    results = {
        name: compare_values(value, actual[name], precision) if name in actual else _wrong("output is missing")
        for name, value in expected.items()
    }
    results.update({name: _wrong("output was not expected") for name in actual if name not in expected})
    return results
