"""Vector functions against float64, in units of the last place, over the whole range and on every vector width."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numba import njit

from ronn_codegen.simd.math import vector_math
from ronn_codegen.simd.memory import VectorType

WIDTHS = (4, 8, 16)
EDGES = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    1e-45,
    -1e-40,
    1.1754944e-38,
    3.4028235e38,
    -3.4028235e38,
    88.72,
    89.5,
    -87.3,
    -103.9,
    -104.5,
]
erf = np.vectorize(math.erf, otypes=[float])


def stable_sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


# name, reference in float64, allowed ulp, the range on which it is sampled most densely, largest |x|
FUNCTIONS: list[tuple[str, Callable[[Any], Any], float, tuple[float, float], float]] = [
    ("exp", np.exp, 1.1, (-104, 89), np.inf),
    ("log", np.log, 1.0, (0, 4), np.inf),
    ("tanh", np.tanh, 1.5, (-10, 10), np.inf),
    ("sigmoid", stable_sigmoid, 2.5, (-110, 20), np.inf),
    ("erf", erf, 2.0, (-5, 5), np.inf),
    ("sin", np.sin, 1.6, (-30, 30), 2.0**19),
    ("cos", np.cos, 1.6, (-30, 30), 2.0**19),
]


def vectorised(fn: Any, lanes: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function of arrays that applies ``fn`` vector by vector, the tail masked."""
    vector = VectorType("f32", lanes)
    load, store, load_first, store_first = vector.load, vector.store, vector.load_first, vector.store_first

    @njit(error_model="numpy")
    def run(x: int, y: int, n: int) -> None:
        i = 0
        while i + lanes <= n:
            store(y, i, fn(load(x, i)))
            i += lanes
        if i < n:
            store_first(y, i, fn(load_first(x, i, n - i)), n - i)

    def apply(x: np.ndarray) -> np.ndarray:
        y = np.full(x.size + 1, 7, np.float32)
        run(x.ctypes.data, y.ctypes.data, x.size)
        assert y[-1] == 7  # nothing is written past the end
        return y[:-1]

    return apply


def samples(low: float, high: float, largest: float) -> np.ndarray:
    rng = np.random.default_rng(5)
    dense = rng.uniform(low, high, 1 << 17).astype(np.float32)
    everywhere = rng.integers(0, 1 << 32, 1 << 17, dtype=np.uint32).view(np.float32)
    x = np.concatenate([dense, everywhere, np.array([*EDGES, np.inf, -np.inf, np.nan], np.float32)])
    return np.ascontiguousarray(x if largest == np.inf else x[np.abs(x) < largest])


def ulps(got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Distance from the exact value in units of the last place of float32; 0 where both overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = exact.astype(np.float32)
        unit = np.maximum(np.spacing(np.abs(rounded)).astype(np.float64), 2.0**-149)
        distance = np.abs(got.astype(np.float64) - exact) / unit
    return np.where((got == rounded) & ~np.isfinite(rounded), 0, distance)


@pytest.mark.parametrize("name, reference, bound, dense, largest", FUNCTIONS, ids=[f[0] for f in FUNCTIONS])
def test_within_the_stated_bound(
    name: str, reference: Callable[[Any], Any], bound: float, dense: tuple[float, float], largest: float
) -> None:
    x = samples(*dense, largest)
    with np.errstate(all="ignore"):
        exact = reference(x.astype(np.float64))
    first: np.ndarray | None = None
    for lanes in WIDTHS:
        got = vectorised(getattr(vector_math(lanes), name), lanes)(x)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(exact))
        finite = ~np.isnan(exact)
        distance = ulps(got[finite], exact[finite])
        worst = int(np.argmax(distance))
        assert distance[worst] <= bound, f"{distance[worst]} ulp at {x[finite][worst]!r}"
        if first is not None:
            np.testing.assert_array_equal(got, first)  # the same bits whatever the width
        first = got


def test_special_values() -> None:
    math16 = vector_math(16)
    inf, nan = np.inf, np.nan
    for name, given, expected in [
        ("exp", [-inf, inf, nan, -200, 200], [0, inf, nan, 0, inf]),
        ("log", [0, -1, inf, nan, 1], [-inf, nan, inf, nan, 0]),
        ("tanh", [-inf, inf, -0.0, 50], [-1, 1, -0.0, 1]),
        ("erf", [-inf, inf, -0.0, 9], [-1, 1, -0.0, 1]),
        ("sigmoid", [-inf, inf, 0, -200], [0, 1, 0.5, 0]),
    ]:
        got = vectorised(getattr(math16, name), 16)(np.array(given, np.float32))
        np.testing.assert_array_equal(got, np.array(expected, np.float32), err_msg=name)
        assert (np.signbit(got) == np.signbit(np.array(expected, np.float32)))[~np.isnan(got)].all(), name
