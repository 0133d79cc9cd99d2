"""Triangles, one-hot tensors, constants: native results are those of the NumPy kernels."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lower_runs import DTYPES, filled, i64, lowered
from native_support import native_nodes, one_node, run_one
from onnx import TensorProto

FEW = settings(max_examples=25, deadline=None)
dtypes = st.sampled_from(DTYPES)


@FEW
@given(
    shape=st.lists(st.integers(1, 40), min_size=2, max_size=3), k=st.integers(-45, 45), upper=st.integers(0, 1),
    dtype=dtypes, how=st.sampled_from(["constant", "computed", "omitted"]),
)  # fmt: skip
def test_trilu(shape: list[int], k: int, upper: int, dtype: Any, how: str) -> None:
    inputs = [filled(shape, dtype)] if how == "omitted" else [filled(shape, dtype), np.array(k)]
    lowered("Trilu", inputs, fixed=[1] if how == "constant" else [], upper=upper)


@pytest.mark.parametrize("k", [2**62, -(2**62)])
def test_trilu_of_a_far_diagonal(k: int) -> None:
    lowered("Trilu", [filled((3, 4)), np.array(k)])
    lowered("Trilu", [filled((3, 4)), np.array(k)], upper=0)


@FEW
@given(
    shape=st.lists(st.integers(1, 5), max_size=3), depth=st.integers(1, 9), axis=st.integers(-4, 3), dtype=dtypes,
    of=st.sampled_from([np.int32, np.int64, np.float32]),
)  # fmt: skip
def test_one_hot(shape: list[int], depth: int, axis: int, dtype: Any, of: Any) -> None:
    axis = max(min(axis, len(shape)), -len(shape) - 1)
    indices = np.asarray(np.random.default_rng(depth).integers(-12, 12, shape)).astype(of)
    lowered("OneHot", [indices, np.array(depth), np.array([5, 9], dtype)], axis=axis, fixed=[1])


def test_one_hot_of_fractions_and_nan() -> None:
    indices = np.array([1.5, np.nan, np.inf, -np.inf, -1, 2, 3, -0.0], np.float32)
    lowered("OneHot", [indices, np.array(3), np.array([0, 1], np.float32)], fixed=[1])


def test_made_of_sizes() -> None:
    lowered("ConstantOfShape", [i64(3, 70)], fixed=[0])
    lowered("EyeLike", [filled((3, 5))], k=1)
    lowered("Shape", [filled((2, 0, 4))], start=1)
    lowered("Size", [filled((2, 7))])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32, np.int64, ml_dtypes.bfloat16])
def test_range(dtype: Any) -> None:
    lowered("Range", [np.array(v).astype(dtype) for v in (9, -5, -3)], fixed=[0, 1, 2], opset=27)


def test_constants() -> None:
    for attributes in ({"value_float": 2.5}, {"value_ints": [3, 4]}):
        (got,), session = run_one(one_node("Constant", {}, **attributes), {})
        np.testing.assert_array_equal(got, next(iter(attributes.values())))
        assert native_nodes(session) in (["Constant"], [])  # loading may have made it an initializer


def test_bits_of_another_type() -> None:
    x = np.array([1.0, -2.5, np.nan], np.float32)
    (got,) = lowered("BitCast", [x], to=TensorProto.INT32, opset=26)
    np.testing.assert_array_equal(got, x.view(np.int32))
    lowered("BitCast", [np.array([True, False])], to=TensorProto.UINT8, opset=26)
