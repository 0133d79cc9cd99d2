"""Top-k and running sums against NumPy, at every level of instructions; nothing written beside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from guarded import Guarded
from hypothesis import given, settings
from hypothesis import strategies as st
from levels import library_at

from ronn_codegen.native.library import Library
from ronn_codegen.templates.jobs import ACCUMULATED

LEVELS = ("native", "avx2", "baseline")
MODULE = "ronn_codegen.templates.order"
INFINITY = {"float32": 0x7F80_0000, "float64": 0x7FF0_0000_0000_0000, "float16": 0x7C00}


@pytest.fixture(scope="module", params=LEVELS)
def kernels(request: pytest.FixtureRequest) -> Library:
    return library_at(request.param)


@settings(max_examples=40, deadline=None)
@given(
    dtype=st.sampled_from([np.float32, np.float64, np.float16, np.int8, np.uint16, np.int32, np.int64, np.uint64]),
    n=st.sampled_from([1, 2, 17, 127, 128, 500]), outer=st.integers(1, 3), inner=st.integers(1, 3),
    part=st.floats(0, 1), largest=st.booleans(), workers=st.integers(1, 4), seed=st.integers(0, 999),
)  # fmt: skip
def test_top_k(
    kernels: Library, dtype: Any, n: int, outer: int, inner: int, part: float, largest: bool, workers: int, seed: int
) -> None:
    rng, kind = np.random.default_rng(seed), np.dtype(dtype)
    x = rng.integers(0, 60, (outer, n, inner)).astype(dtype)  # many are equal
    if kind.kind == "f":
        x = np.where(rng.integers(0, 4, x.shape) == 0, rng.choice([np.nan, np.inf, -np.inf, -0.0, -3], x.shape), x)
        x = x.astype(dtype)
    elif kind.kind == "i":
        x = np.where(rng.integers(0, 4, x.shape) == 0, np.iinfo(kind).min, x).astype(dtype)
    else:
        x = np.where(rng.integers(0, 4, x.shape) == 0, np.iinfo(kind).max, x).astype(dtype)
    k = max(1, round(part * n))
    values, indices = Guarded((outer, k, inner), dtype), Guarded((outer, k, inner), np.int64)
    room = Guarded((workers * (32 * n + 2048),), np.uint8)
    kernel = kernels.kernel(MODULE, "top_k")
    for worker in range(workers):
        kernel(
            x.ctypes.data, values.address, indices.address, room.address, kind.itemsize, INFINITY.get(kind.name, 0),
            kind.kind == "u", largest, outer, n, inner, k, worker=worker, workers=workers,
        )  # fmt: skip
    for g in (values, indices, room):
        g.check()
    if largest:
        order = n - 1 - np.argsort(x[:, ::-1], axis=1, kind="stable")[:, ::-1]
    else:
        order = np.argsort(x, axis=1, kind="stable")
    np.testing.assert_array_equal(indices.array, order[:, :k])
    np.testing.assert_array_equal(values.array, np.take_along_axis(x, order[:, :k], axis=1))


@settings(max_examples=40, deadline=None)
@given(
    dtype=st.sampled_from([np.float32, np.float64, np.int32, np.int64]), n=st.sampled_from([1, 2, 9, 40]),
    outer=st.integers(1, 3), inner=st.sampled_from([1, 2, 3, 4, 5, 33, 1100]), product=st.booleans(),
    exclusive=st.booleans(), reverse=st.booleans(), workers=st.integers(1, 4),
)  # fmt: skip
def test_cumulative(
    kernels: Library, dtype: Any, n: int, outer: int, inner: int, product: bool, exclusive: bool, reverse: bool,
    workers: int,
) -> None:  # fmt: skip
    kind, rng = np.dtype(dtype), np.random.default_rng(n * inner)
    x = (rng.uniform(-3, 3, (outer, n, inner)) * (1 if kind.kind == "f" else 1e6)).astype(dtype)
    y = Guarded(x.shape, dtype)
    first = 1.0 if product else 0.0 if exclusive else -0.0
    neutral = np.full(512, first).astype(dtype)
    kernel = kernels.kernel(MODULE, "cumulative")
    axis, shape, status = np.array([-2], np.int32), np.array(x.shape), np.zeros(1, np.int64)
    what = 2 * ACCUMULATED.index(f"{kind.kind}{8 * kind.itemsize}") + product
    for worker in range(workers):
        kernel(
            x.ctypes.data, y.address, status.ctypes.data, what, kind.itemsize, exclusive, reverse, neutral.ctypes.data,
            axis.ctypes.data, 0, shape.ctypes.data, 3, worker=worker, workers=workers,
        )  # fmt: skip
    y.check()
    assert status[0] == 0
    with np.errstate(all="ignore"):
        given = x[:, ::-1] if reverse else x
        want = (np.cumprod if product else np.cumsum)(given, axis=1, dtype=dtype)
    if exclusive:
        want = np.concatenate([np.full((outer, 1, inner), int(product), dtype), want[:, :-1]], axis=1)
    np.testing.assert_array_equal(y.array, want[:, ::-1] if reverse else want)
