"""Vector operations against NumPy, element type by element type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from ronn_codegen.simd import ops
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.target import AVX2, AVX512, BASELINE, Target, host, of_features

DTYPES = {
    "f32": np.float32,
    "f64": np.float64,
    "i8": np.int8,
    "u8": np.uint8,
    "i16": np.int16,
    "i32": np.int32,
    "i64": np.int64,
}
LANES = 8


def values(elem: str, seed: int, low: int = -100, high: int = 100) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if elem[0] == "f":
        return rng.uniform(low, high, LANES).astype(DTYPES[elem])
    return rng.integers(0 if elem[0] == "u" else low, high, LANES).astype(DTYPES[elem])


def run(fn: Any, out: str, *arrays: np.ndarray) -> np.ndarray:
    """``fn`` on whole vectors of the arrays."""
    names = {np.dtype(d): e for e, d in DTYPES.items()}
    loads = [VectorType(names[a.dtype], LANES).load for a in arrays]
    store = VectorType(out, LANES).store
    result = np.empty(LANES, DTYPES[out])
    addresses = tuple(a.ctypes.data for a in arrays)
    if len(arrays) == 1:
        (load,) = loads
        compiled = njit(lambda a, y: store(y, 0, fn(load(a[0], 0))))
    elif len(arrays) == 2:
        load, load2 = loads
        compiled = njit(lambda a, y: store(y, 0, fn(load(a[0], 0), load2(a[1], 0))))
    else:
        load, load2, load3 = loads
        compiled = njit(lambda a, y: store(y, 0, fn(load(a[0], 0), load2(a[1], 0), load3(a[2], 0))))
    compiled(addresses, result.ctypes.data)
    return result


@pytest.mark.parametrize("elem", DTYPES)
@pytest.mark.parametrize(
    "op, numpy", [(ops.add, np.add), (ops.sub, np.subtract), (ops.mul, np.multiply)], ids=["add", "sub", "mul"]
)
def test_arithmetic_wraps_as_in_c(elem: str, op: Any, numpy: Callable[..., Any]) -> None:
    a, b = values(elem, 1), values(elem, 2)
    np.testing.assert_array_equal(run(op, elem, a, b), numpy(a, b))


@pytest.mark.parametrize("elem", ["f32", "f64"])
@pytest.mark.parametrize(
    "op, numpy",
    [(ops.absolute, np.abs), (ops.neg, np.negative), (ops.rint, np.rint), (ops.floor, np.floor), (ops.trunc, np.trunc)],
    ids=["abs", "neg", "rint", "floor", "trunc"],
)
def test_rounding_and_signs(elem: str, op: Any, numpy: Callable[..., Any]) -> None:
    a = np.array([0.5, 1.5, -2.5, -0.0, 1e20, -3.7, np.inf, 2.4], DTYPES[elem])
    got = run(op, elem, a)
    np.testing.assert_array_equal(got, numpy(a))
    np.testing.assert_array_equal(np.signbit(got), np.signbit(numpy(a)))


@pytest.mark.parametrize("elem", ["f32", "i32", "u8"])
def test_minimum_maximum_and_select(elem: str) -> None:
    a, b = values(elem, 3), values(elem, 4)
    np.testing.assert_array_equal(run(ops.maximum, elem, a, b), np.maximum(a, b))
    np.testing.assert_array_equal(run(ops.minimum, elem, a, b), np.minimum(a, b))
    smaller = njit(lambda x, y: ops_select(ops_less(x, y), x, y))
    ops_select, ops_less = ops.select, ops.less
    np.testing.assert_array_equal(run(smaller, elem, a, b), np.minimum(a, b))


def test_nan_in_minimum_and_maximum() -> None:
    a = np.array([np.nan, 1, np.nan, 2] * 2, np.float32)
    b = np.array([3, np.nan, np.nan, 5] * 2, np.float32)
    np.testing.assert_array_equal(run(ops.maximum, "f32", a, b), np.fmax(a, b))
    np.testing.assert_array_equal(run(ops.propagating_max, "f32", a, b), np.maximum(a, b))
    np.testing.assert_array_equal(run(ops.propagating_min, "f32", a, b), np.minimum(a, b))


def test_fma_bits_and_shifts() -> None:
    a, b, c = values("f32", 5), values("f32", 6), values("f32", 7)
    exact = a.astype(np.float64) * b + c
    np.testing.assert_allclose(run(ops.fma, "f32", a, b, c), exact, rtol=1e-5)
    i, j = values("i32", 8, 0), values("i32", 9, 0, 20)
    np.testing.assert_array_equal(run(ops.shift_left, "i32", i, j), i << j)
    np.testing.assert_array_equal(run(ops.shift_right, "i32", -i, j), -i >> j)
    np.testing.assert_array_equal(run(ops.bit_xor, "i32", i, j), i ^ j)
    np.testing.assert_array_equal(run(ops.popcount, "i32", i), [bin(x).count("1") for x in i])


def test_conversions_truncate_and_saturate() -> None:
    a = np.array([1.9, -1.9, 3e9, -3e9, np.nan, np.inf, 0, 7], np.float32)
    top, bottom = 2**31 - 1, -(2**31)
    np.testing.assert_array_equal(run(ops.convert("i32"), "i32", a), [1, -1, top, bottom, 0, top, 0, 7])
    np.testing.assert_array_equal(run(ops.convert("u8"), "u8", a), [1, 0, 255, 0, 0, 255, 0, 7])
    i = values("i32", 10)
    np.testing.assert_array_equal(run(ops.convert("f32"), "f32", i), i.astype(np.float32))
    np.testing.assert_array_equal(run(ops.convert("i8"), "i8", i * 7), (i * 7).astype(np.int8))
    np.testing.assert_array_equal(run(ops.bitcast("i32"), "i32", a), a.view(np.int32))


@pytest.mark.parametrize("elem", ["f32", "i32"])
def test_reductions(elem: str) -> None:
    a = values(elem, 11)
    load = VectorType(elem, LANES).load
    for op, numpy in [(ops.reduce_add, np.sum), (ops.reduce_max, np.max), (ops.reduce_min, np.min)]:
        got = njit(lambda x: op(load(x, 0)))(a.ctypes.data)  # noqa: B023
        np.testing.assert_allclose(got, numpy(a), rtol=1e-5)


@pytest.mark.parametrize("count", [-1, 0, 1, 3, 8, 9])
def test_masked_access_touches_only_the_first_lanes(count: int) -> None:
    vector = VectorType("f32", LANES)
    load_first, store_first = vector.load_first, vector.store_first
    a = np.arange(1, LANES + 1, dtype=np.float32)
    y = np.full(LANES, -1, np.float32)
    n = max(0, min(count, LANES))
    njit(lambda x, y, n: store_first(y, 0, load_first(x, 0, n), n))(a.ctypes.data, y.ctypes.data, count)
    np.testing.assert_array_equal(y, np.where(np.arange(LANES) < n, a, -1))


def test_making_vectors() -> None:
    vector = VectorType("i32", LANES)
    store, splat, iota, gather, broadcast = vector.store, vector.splat, vector.iota, vector.gather, vector.broadcast
    table = np.arange(100, dtype=np.int32)
    y = np.empty((4, LANES), np.int32)
    seven = np.int32(7)

    @njit
    def fill(x: int, y: int) -> None:
        store(y, 0, splat(seven))
        store(y, LANES, iota())
        store(y, 2 * LANES, gather(x, 3, 5))
        store(y, 3 * LANES, broadcast(x, 42))

    fill(table.ctypes.data, y.ctypes.data)
    np.testing.assert_array_equal(y[0], 7)
    np.testing.assert_array_equal(y[1], np.arange(LANES))
    np.testing.assert_array_equal(y[2], 3 + 5 * np.arange(LANES))
    np.testing.assert_array_equal(y[3], 42)


def test_operators_read_as_arithmetic() -> None:
    a, b = values("f32", 12), values("f32", 13)
    np.testing.assert_array_equal(run(njit(lambda x, y: x * y - x / y), "f32", a, b), a * b - a / b)


def test_mixed_types_are_refused_by_name() -> None:
    with pytest.raises(TypingError, match=r"add takes 2 vectors of one type"):
        run(ops.add, "f32", values("f32", 1), values("i32", 1))


def test_targets_follow_features() -> None:
    assert of_features(frozenset()) == BASELINE
    assert of_features(frozenset({"avx2", "fma"})) == AVX2
    wide = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl", "fma"})
    assert of_features(wide) == AVX512
    assert of_features(wide | {"avx512vnni"}).int8_dot
    assert isinstance(host(), Target) and host().lanes(32) * 32 == host().bits
