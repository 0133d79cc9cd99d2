"""How close a result must be: named levels, with their figures for each dtype.

``exact``: the same bits (NaN equals NaN, whatever its payload). ``rounded``: at most one step of the dtype away, which
is what a correctly rounded result computed in a wider type may differ by; small floats are compared by their bits.
``close``: transcendental functions. ``sums``: results of many additions in some order, relative to the largest value.
``single``: the same with float32's figures for float64 too, for operators whose definition holds float32 constants.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

import numpy as np

LEVELS = ("exact", "rounded", "close", "sums", "single")

# dtype -> (relative, absolute); "sums" is relative to the largest magnitude of the expected values.
CLOSE = {"float64": (1e-9, 1e-12), "float32": (2e-5, 2e-6), "float16": (4e-3, 1e-3), "bfloat16": (3e-2, 1e-2)}
SUMS = {"float64": (1e-10, 1e-12), "float32": (2e-5, 1e-6), "float16": (4e-3, 1e-3), "bfloat16": (3e-2, 1e-2)}
STEPS = 1


def explain_difference(got: Any, want: Any, level: str) -> str:
    """Why ``got`` is not close enough to ``want`` at ``level``; empty when it is. Dtypes and shapes must be equal."""
    if isinstance(want, (list, tuple)):
        if not isinstance(got, (list, tuple)) or len(got) != len(want):
            return f"expected a sequence of {len(want)}, got {describe(got)}"
        return next((d for g, w in zip(got, want, strict=True) if (d := explain_difference(g, w, level))), "")
    if want is None or isinstance(want, dict):
        return "" if got == want else f"expected {want!r}, got {got!r}"
    if not isinstance(got, np.ndarray):
        return f"expected an array, got {describe(got)}"
    if got.dtype != want.dtype:
        return f"expected dtype {want.dtype}, got {got.dtype}"
    if got.shape != want.shape:
        return f"expected shape {want.shape}, got {got.shape}"
    wrong = _wrong(got, want, level)
    if not wrong.any():
        return ""
    at = tuple(int(i) for i in np.argwhere(wrong)[0]) if wrong.ndim else ()
    return (
        f"{int(wrong.sum())} of {wrong.size} elements differ ({level} for {want.dtype}); "
        f"first at {list(at)}: {got[at]!r} instead of {want[at]!r}"
    )


def describe(value: Any) -> str:
    """``float32[2, 3]``, or the type's name."""
    return f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__


def _wrong(got: np.ndarray, want: np.ndarray, level: str) -> np.ndarray:
    if want.dtype.kind not in "fcV" or want.dtype.name.startswith(("int", "uint")):
        return np.asarray(got != want)
    name = want.dtype.name
    if want.dtype.kind == "c":
        return ~np.isclose(got, want, rtol=2e-5, atol=2e-6, equal_nan=True)
    if level in ("exact", "rounded") or name not in CLOSE:
        steps = _steps_apart(got, want)
        return np.asarray(steps > (0 if level == "exact" else STEPS))
    if level == "single" and name == "float64":
        name = "float32"
    relative, absolute = (CLOSE if level == "close" else SUMS)[name]
    g, w = got.astype(np.float64), want.astype(np.float64)
    finite = np.isfinite(w)
    magnitude = np.abs(w)
    if level in ("sums", "single"):
        magnitude = np.full(w.shape, np.abs(w[finite]).max(initial=0.0))
    with np.errstate(invalid="ignore"):
        close = np.abs(g - w) <= absolute + relative * magnitude
    same = (np.isnan(g) & np.isnan(w)) | (g == w)
    return np.asarray(~np.where(finite, close, same))


def _steps_apart(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """How many representable values lie between, from the bits; 0 for two NaNs, and for zeros of different sign."""
    bits = np.dtype(f"i{want.dtype.itemsize}")

    def ordered(x: np.ndarray) -> np.ndarray:
        raw = np.ascontiguousarray(x).reshape(x.shape).view(bits).astype(object if bits.itemsize == 8 else np.int64)
        lowest = -(1 << (8 * bits.itemsize - 1))
        return np.asarray(np.where(raw < 0, lowest - raw, raw))

    g, w = got.astype(np.float64), want.astype(np.float64)
    nan = np.isnan(g) & np.isnan(w)
    steps = np.where(np.isnan(g) | np.isnan(w), 1 << 30, np.abs(ordered(got) - ordered(want)))
    return np.where(nan | (g == w), 0, steps)
