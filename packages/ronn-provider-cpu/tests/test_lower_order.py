"""TopK and running sums natively: the results of the NumPy kernels, in every type and by every algorithm."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lower_runs import filled, i64, lowered
from native_support import latest_plan, one_node

import ronn

FEW = settings(max_examples=30, deadline=None)
ORDERED = (
    np.float32, np.float64, np.float16, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32,
    np.uint64, ml_dtypes.bfloat16,
)  # fmt: skip


def spread(shape: Any, dtype: Any, seed: int) -> np.ndarray:
    """Values over the whole range of a type, many of them equal; floats with NaN, infinities and both zeros."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        some = np.array([limits.min, limits.max, 0, 1, limits.max // 2, limits.min // 2], dtype)
    else:
        some = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 1, -1, 1.5, 1e-5, -3e4]).astype(dtype)
    small = rng.integers(0, 100, shape).astype(dtype)
    return np.where(rng.integers(0, 2, shape) == 0, rng.choice(some, shape), small).astype(dtype)


@FEW
@given(
    dtype=st.sampled_from(ORDERED), shape=st.lists(st.integers(1, 9), min_size=1, max_size=3), data=st.data(),
    largest=st.integers(0, 1),
)  # fmt: skip
def test_top_k(dtype: Any, shape: list[int], data: st.DataObject, largest: int) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    shape[axis] = data.draw(st.sampled_from([1, 5, 40, 130, 300]))
    k = data.draw(st.integers(1, shape[axis]))
    x = spread(shape, dtype, data.draw(st.integers(0, 99)))
    lowered("TopK", [x, i64(k)], fixed=[1], outputs=2, axis=axis, largest=largest, opset=24)


@pytest.mark.parametrize("k", [1, 20, 700, 5000])
@pytest.mark.parametrize("largest", [0, 1])
def test_top_k_of_many(k: int, largest: int) -> None:
    x = np.random.default_rng(k).standard_normal((2, 5000)).astype(np.float32)
    x[:, ::97] = np.float32(0.25)
    lowered("TopK", [x, i64(k)], fixed=[1], outputs=2, largest=largest)
    lowered("TopK", [(x * 1e9).astype(np.int64), i64(k)], fixed=[1], outputs=2, largest=largest)


def test_top_k_by_attribute() -> None:
    lowered("TopK", [filled((3, 8))], outputs=2, opset=9, k=3, axis=1)


@FEW
@given(
    dtype=st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.uint32, np.uint64]),
    shape=st.lists(st.sampled_from([1, 2, 3, 7, 19, 600]), min_size=1, max_size=3).filter(lambda s: np.prod(s) < 9000),
    data=st.data(), exclusive=st.integers(0, 1), reverse=st.integers(0, 1), op=st.sampled_from(["CumSum", "CumProd"]),
)  # fmt: skip
def test_cumulative(dtype: Any, shape: list[int], data: st.DataObject, exclusive: int, reverse: int, op: str) -> None:
    axis = np.array(data.draw(st.integers(-len(shape), len(shape) - 1)))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = (rng.uniform(-2, 2, shape) * (1 if np.dtype(dtype).kind == "f" else 100)).astype(np.int64).astype(dtype)
    if np.dtype(dtype).kind == "f":
        x = rng.uniform(-2, 2, shape).astype(dtype)
    fixed = [1] if data.draw(st.booleans()) else []
    lowered(op, [x, axis], fixed=fixed, exclusive=exclusive, reverse=reverse, opset=26)


@pytest.mark.parametrize("op, shape", [("CumSum", (300, 2000)), ("TopK", (300, 2000))])
def test_shares_agree(op: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    second = i64(40) if op == "TopK" else np.array([0], np.int64)
    model = one_node(op, {"x": x}, constants={"k": second}, outputs=2 if op == "TopK" else 1)
    results = []
    for threads in (1, 2):
        session = ronn.Session(model, providers=[("cpu", {"threads": threads})])
        results.append(list(session.run({"x": x})))
        assert (latest_plan(session).calls[0].native.kernels[0].chunks > 1) == (threads > 1)
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
