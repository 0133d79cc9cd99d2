"""Cast, CastLike and BitCast over pairs of element types."""

from __future__ import annotations

import itertools
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from op_runs import assert_same, run_op, strings

from ronn.ir.types import DType

NUMERIC = [d for d in DType if d not in (DType.STRING, DType.COMPLEX64, DType.COMPLEX128)]
FLOAT8 = [DType.FLOAT8E4M3FN, DType.FLOAT8E4M3FNUZ, DType.FLOAT8E5M2, DType.FLOAT8E5M2FNUZ]


def cast(x: np.ndarray, to: DType, **how: Any) -> np.ndarray:
    (got,) = run_op("Cast", [x], to=to.code, **how)
    return got


@pytest.mark.parametrize(("source", "target"), list(itertools.product(NUMERIC, NUMERIC)), ids=str)
def test_small_values_survive(source: DType, target: DType) -> None:
    """1 is representable everywhere; 0 in all but e8m0."""
    values = [1.0, 1.0] if DType.FLOAT8E8M0 in (source, target) else [0.0, 1.0]
    x = np.array(values).astype(np.float32).astype(source.numpy)
    got = cast(x, target)
    assert got.dtype == target.numpy
    assert got.astype(np.float32).tolist() == values
    (like,) = run_op("CastLike", [x, np.ones(1, np.float32).astype(target.numpy)])
    assert_same(like, got)


@pytest.mark.parametrize(
    "target", [DType.INT8, DType.UINT8, DType.INT16, DType.INT4, DType.UINT4, DType.INT2, DType.UINT2]
)
def test_integers_wrap(target: DType) -> None:
    x = np.array([200, -200, 2**40 + 3, -1, 7], np.int64)
    bits = target.bits
    low = [int(v) & (2**bits - 1) for v in x]
    signed = target.short.startswith("i")
    want = [v - 2**bits if signed and v >= 2 ** (bits - 1) else v for v in low]
    assert cast(x, target).astype(np.int64).tolist() == want


@pytest.mark.parametrize("target", FLOAT8)
def test_float8_saturates_unless_told(target: DType) -> None:
    x = np.array([1e6, -1e6, np.inf, -np.inf, np.nan, 1.0], np.float32)
    limit = float(ml_dtypes.finfo(target.numpy).max)
    got = cast(x, target).astype(np.float32)
    np.testing.assert_array_equal(got, np.array([limit, -limit, limit, -limit, np.nan, 1], np.float32))
    free = cast(x, target, saturate=0).astype(np.float32)
    beyond = np.inf if target is DType.FLOAT8E5M2 else np.nan
    np.testing.assert_array_equal(free, np.array([beyond, -beyond, beyond, -beyond, np.nan, 1], np.float32))


@pytest.mark.parametrize(("mode", "want"), [("up", [2, 4, 1, 2]), ("down", [2, 2, 1, 1]), ("nearest", [2, 4, 1, 2])])
def test_e8m0_rounds_to_powers_of_two(mode: str, want: list[float]) -> None:
    x = np.array([2, 3, 1, 1.75], np.float32)
    assert cast(x, DType.FLOAT8E8M0, round_mode=mode).astype(np.float32).tolist() == want


def test_out_of_range_floats_become_infinite() -> None:
    x = np.array([1e300, -1e300], np.float64)
    assert cast(x, DType.FLOAT32).tolist() == [np.inf, -np.inf]
    assert cast(x, DType.FLOAT16).tolist() == [np.inf, -np.inf]
    assert cast(np.array([0.0, -0.0, np.nan, 0.1]), DType.BOOL).tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    ("dtype", "values", "want"),
    [
        (
            np.float32,
            [0.1, 314.15926, -1.5, np.nan, np.inf, -np.inf],
            ["0.1", "314.15927", "-1.5", "NaN", "INF", "-INF"],
        ),
        (np.int64, [-3, 2**62], ["-3", str(2**62)]),
        (np.uint8, [255], ["255"]),
        (np.float64, [0.1], ["0.1"]),
    ],
)
def test_to_strings(dtype: Any, values: list[Any], want: list[str]) -> None:
    got = cast(np.array(values, dtype), DType.STRING)
    assert got.tolist() == want
    back = cast(got, DType.of(np.dtype(dtype)))
    np.testing.assert_array_equal(back, np.array(values, dtype))


def test_from_strings() -> None:
    assert cast(strings("1e-5", "+INF", "-inf", "NaN", "3.14"), DType.FLOAT32).tolist()[:3] == [
        np.float32(1e-5),
        np.inf,
        -np.inf,
    ]
    assert cast(strings("100.5", "-7", " 12 "), DType.INT32).tolist() == [100, -7, 12]
    assert cast(strings("18446744073709551615"), DType.UINT64).tolist() == [2**64 - 1]
    assert cast(strings("1.5"), DType.BFLOAT16).astype(np.float32).tolist() == [1.5]
    assert cast(strings("True", "0", "false"), DType.BOOL).tolist() == [True, False, False]
    with pytest.raises(ValueError, match="Hello"):
        cast(strings("Hello"), DType.FLOAT32)


def test_bfloat16_rounds_once() -> None:
    """A double just above the tie between two bfloat16 values goes up, though float32 would see the tie."""
    x = np.array([1 + 2**-8 + 2**-40], np.float64)
    assert cast(x, DType.BFLOAT16).astype(np.float64).tolist() == [1 + 2**-7]


@pytest.mark.parametrize(
    ("source", "target"),
    [(np.float32, DType.INT32), (np.int64, DType.FLOAT64), (np.float16, DType.BFLOAT16), (np.int8, DType.UINT8)],
)
def test_bit_cast(source: Any, target: DType) -> None:
    x = np.arange(-3, 3).astype(source)
    (got,) = run_op("BitCast", [x], to=target.code)
    assert got.dtype == target.numpy
    assert got.tobytes() == x.tobytes()
