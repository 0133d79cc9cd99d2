"""Functions that only loops have, float64 among them, against NumPy in float64, in units of the last place."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from loop_runs import LEVELS, elementwise

RNG = np.random.default_rng(11)
everywhere = pytest.mark.parametrize("level", LEVELS)
erf = np.vectorize(math.erf, otypes=[float])
# name, reference, range of samples, ulp in float32 and in float64
FUNCTIONS: list[tuple[str, Callable[[Any], Any], tuple[float, float], float, float]] = [
    ("expm1", np.expm1, (-20, 20), 2, 4), ("log1p", np.log1p, (-1, 40), 2, 4), ("exp", np.exp, (-750, 720), 1.1, 4),
    ("log", np.log, (0, 1e4), 1, 4), ("tanh", np.tanh, (-12, 12), 1.5, 4), ("sin", np.sin, (-90, 90), 1.6, 4),
    ("cos", np.cos, (-90, 90), 1.6, 4), ("tan", np.tan, (-9, 9), 1, 6), ("asin", np.arcsin, (-1, 1), 1, 4),
    ("acos", np.arccos, (-1, 1), 1, 4), ("atan", np.arctan, (-90, 90), 1, 4), ("sinh", np.sinh, (-80, 80), 1, 6),
    ("cosh", np.cosh, (-80, 80), 1, 6), ("asinh", np.arcsinh, (-90, 90), 1, 6), ("acosh", np.arccosh, (1, 90), 1, 6),
    ("atanh", np.arctanh, (-1, 1), 1, 6), ("erf", erf, (-7, 7), 2.2, 8),
    ("sigmoid", lambda x: 1 / (1 + np.exp(-x)), (-80, 40), 2.5, 6),
]  # fmt: skip


def distance(got: np.ndarray, exact: np.ndarray) -> float:
    """The largest distance in units of the last place of ``got``'s type."""
    rounded = exact.astype(got.dtype)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(exact))
    fits = np.isfinite(rounded) & np.isfinite(got)
    np.testing.assert_array_equal(got[~fits & ~np.isnan(got)], rounded[~fits & ~np.isnan(got)])
    unit = np.maximum(np.spacing(np.abs(rounded[fits])).astype(np.float64), np.finfo(got.dtype).smallest_subnormal)
    return float(np.max(np.abs(got[fits].astype(np.float64) - exact[fits]) / unit, initial=0))


@everywhere
@pytest.mark.parametrize("name, reference, span, single, double", FUNCTIONS, ids=[f[0] for f in FUNCTIONS])
def test_within_bounds(
    level: str, name: str, reference: Callable[[Any], Any], span: tuple[float, float], single: float, double: float
) -> None:
    low, high = span
    x = np.concatenate([RNG.uniform(low, high, 20_000), RNG.standard_normal(3000) * 1e-3, [0.0, -0.0, np.inf, np.nan]])
    tried = [(np.float32, single)] + ([(np.float64, double)] if level != "avx2" else [])
    for dtype, bound in tried:
        given = x.astype(dtype)
        with np.errstate(all="ignore"):
            exact = np.asarray(reference(given.astype(np.float64)))
            got = elementwise(lambda v: v.do(name), [given], np.dtype(dtype), level)
            assert distance(got, exact) <= bound, np.dtype(dtype)


@everywhere
def test_powers(level: str) -> None:
    bases = np.concatenate([RNG.uniform(0, 10, 400), -RNG.uniform(0, 10, 400), RNG.uniform(0, 1e-30, 50)])
    special = np.array([0, -0.0, 1, -1, 2, -2, 0.5, -0.5, np.inf, -np.inf, np.nan, 3, -3, 1e30, 7.5])
    a, b = (v.reshape(-1) for v in np.meshgrid(np.concatenate([bases, special]), special))
    for dtype, bound in ((np.float32, 1.0), (np.float64, 2e3)):
        x, y = a.astype(dtype), b.astype(dtype)
        with np.errstate(all="ignore"):
            exact = np.power(x.astype(np.float64), y.astype(np.float64))
            got = elementwise(lambda p, q: p.do("pow", q), [x, y], np.dtype(dtype), level)
            assert distance(got, exact) <= bound
