"""Reductions over every set of axes, types, empty tensors and opset forms."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from op_runs import assert_same, run_op
from test_elementwise import close, float_arrays
from test_movement import i64

SETTINGS = settings(max_examples=40, deadline=None)


def log_sum_exp(x: np.ndarray, **how: Any) -> Any:
    return np.log(np.sum(np.exp(x), **how))


ORACLE: dict[str, Any] = {
    "ReduceSum": np.sum, "ReduceMean": np.mean, "ReduceProd": np.prod, "ReduceLogSumExp": log_sum_exp,
    "ReduceMax": lambda x, **how: np.max(x, initial=-math.inf, **how),
    "ReduceMin": lambda x, **how: np.min(x, initial=math.inf, **how),
    "ReduceL1": lambda x, **how: np.sum(np.abs(x), **how),
    "ReduceL2": lambda x, **how: np.sqrt(np.sum(x * x, **how)),
    "ReduceSumSquare": lambda x, **how: np.sum(x * x, **how),
    "ReduceLogSum": lambda x, **how: np.log(np.sum(x, **how)),
}  # fmt: skip


@pytest.mark.parametrize("op", ORACLE)
@SETTINGS
@given(x=float_arrays(bound=4), data=st.data())
def test_floats(op: str, x: np.ndarray, data: st.DataObject) -> None:
    axes = data.draw(st.sets(st.integers(0, max(x.ndim - 1, 0)), max_size=x.ndim))
    if x.ndim == 0:
        axes = set()
    signed = [a - x.ndim if data.draw(st.booleans()) else a for a in axes]
    keepdims = data.draw(st.sampled_from([0, 1]))
    inputs = [x, i64(*signed)] if signed else [x]
    (got,) = run_op(op, inputs, keepdims=keepdims)
    along = tuple(axes) if axes else None
    if op == "ReduceMean" and x.size == 0:
        return  # the mean of nothing is undefined
    with np.errstate(all="ignore"):
        wide = x.astype(np.float64)
        want = np.asarray(ORACLE[op](wide, axis=along, keepdims=bool(keepdims)))
    assert got.shape == want.shape
    if op in ("ReduceSum", "ReduceMean", "ReduceLogSum"):
        scale = np.abs(wide).sum(axis=along, keepdims=bool(keepdims))  # cancellation costs digits
        well = (
            ~np.isfinite(want) | (np.abs(want) > 1e-2 * scale)
            if op != "ReduceLogSum"
            else ~np.isfinite(want) | (want > 0)
        )
        got, want = got[well], want[well]
    close(got, want, x.dtype, slack=64)


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceProd", "ReduceSumSquare", "ReduceL1"])
@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32, np.uint64])
def test_integers_wrap(op: str, dtype: Any) -> None:
    x = np.array([[2**31 - 1, 2, 3], [5, 7, 11]]).astype(dtype)
    (got,) = run_op(op, [x, i64(1)], keepdims=0)
    bits = x.dtype.itemsize * 8
    fold = {"ReduceProd": math.prod, "ReduceSumSquare": lambda r: sum(v * v for v in r)}.get(op, sum)
    want = [int(fold([int(v) for v in row])) % 2**bits for row in x]
    assert (got.astype(object) % 2**bits).tolist() == want


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, bool])
def test_max_and_min_of_integers(dtype: Any) -> None:
    x = np.array([[3, 0, 1], [0, 0, 0]]).astype(dtype)
    assert_same(run_op("ReduceMax", [x, i64(1)], keepdims=0)[0], x.max(1))
    assert_same(run_op("ReduceMin", [x, i64(0)])[0], x.min(0, keepdims=True))
    nothing = np.zeros((0, 2), dtype)
    lowest = False if dtype is bool else np.iinfo(dtype).min
    assert_same(run_op("ReduceMax", [nothing, i64(0)], keepdims=0)[0], np.full(2, lowest, dtype))


@pytest.mark.parametrize("op", ORACLE)
def test_axes_attribute_and_noop(op: str) -> None:
    x = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    old = run_op(op, [x], opset=11, axes=[-1], keepdims=0)[0]
    assert_same(old, run_op(op, [x, i64(1)], keepdims=0)[0])
    (same,) = run_op(op, [x, i64()], noop_with_empty_axes=1)
    close(same, ORACLE[op](x.astype(np.float64)[..., None], axis=2), x.dtype, slack=4)
    assert run_op(op, [x, i64()])[0].shape == (1, 1)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_small_floats_are_summed_in_float32(dtype: Any) -> None:
    """4096 ones: a float16 running sum would stall at 2048, a bfloat16 one at 256."""
    x = np.ones(4096).astype(dtype)
    assert run_op("ReduceSum", [x])[0].astype(float).tolist() == [4096]
    assert run_op("ReduceMean", [x])[0].astype(float).tolist() == [1]


def test_log_sum_exp_does_not_overflow() -> None:
    x = np.array([1000, 1000], np.float32)
    np.testing.assert_allclose(run_op("ReduceLogSumExp", [x])[0], [1000 + math.log(2)], rtol=1e-6)
    assert run_op("ReduceLogSumExp", [np.array([-np.inf], np.float32)])[0].tolist() == [-np.inf]
