"""Gather and scatter natively: the results of the NumPy kernels for every size of element, and indices checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lower_runs import DTYPES, filled, i64, lowered, with_shapes
from native_support import latest_plan, one_node, run_one

import ronn

FEW = settings(max_examples=25, deadline=None)
dtypes = st.sampled_from(DTYPES)
shapes = st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple)


@st.composite
def indexed(draw: st.DrawFn, same_rank: bool) -> tuple[np.ndarray, np.ndarray, int]:
    """A tensor, indices into it, and the axis."""
    shape = draw(shapes)
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    if same_rank:
        picked = tuple(draw(st.integers(1, n)) for n in shape)
    else:
        picked = tuple(draw(st.lists(st.integers(1, 5), max_size=3)))
    n = shape[axis]
    seed = draw(st.integers(0, 99))
    indices = np.asarray(np.random.default_rng(seed).integers(-n, n, picked)).astype(
        draw(st.sampled_from([np.int32, np.int64]))
    )
    return filled(shape, draw(dtypes)), indices, axis


@FEW
@given(given=indexed(False), fixed=st.booleans())
def test_gather(given: tuple[np.ndarray, np.ndarray, int], fixed: bool) -> None:
    x, indices, axis = given
    lowered("Gather", [x, indices], axis=axis, fixed=[1] if fixed else [])


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_gather_of_long_rows(dtype: Any) -> None:
    lowered("Gather", [filled((3, 5, 21000), dtype), i64(4, -5, 0)], axis=1)
    lowered("Gather", [filled((40, 129), dtype), np.arange(200) % 40], axis=0)
    lowered("Gather", [filled((40, 129), dtype), np.arange(200) * 7 % 40], axis=0, fixed=[1])


def test_a_constant_index_is_a_view() -> None:
    x = filled((4, 3, 5))
    for index in (np.array(2), i64(1, 2, 3)):
        model = with_shapes(one_node("Gather", {"x": x}, constants={"i": index}, axis=0), {"i": index})
        (got,), session = run_one(model, {"x": x})
        np.testing.assert_array_equal(got, x[index])
        assert not latest_plan(session).calls[0].native.kernels


@FEW
@given(given=indexed(True))
def test_gather_elements(given: tuple[np.ndarray, np.ndarray, int]) -> None:
    x, indices, axis = given
    lowered("GatherElements", [x, indices], axis=axis)


@FEW
@given(given=indexed(True), how=st.sampled_from(["none", "add", "mul", "max", "min"]))
def test_scatter_elements(given: tuple[np.ndarray, np.ndarray, int], how: str) -> None:
    x, indices, axis = given
    if x.dtype.kind == "c":
        how = "none"
    lowered("ScatterElements", [x, indices, filled(indices.shape, x.dtype, seed=9)], axis=axis, reduction=how)


def coordinates(draw: Any, sizes: tuple[int, ...], rows: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return np.stack([rng.integers(-n, n, rows) for n in sizes], axis=-1).astype(np.int64)


@FEW
@given(data=st.data(), shape=shapes, dtype=dtypes)
def test_gather_nd(data: st.DataObject, shape: tuple[int, ...], dtype: Any) -> None:
    batch = data.draw(st.integers(0, len(shape) - 1))
    depth = data.draw(st.integers(1, len(shape) - batch))
    rows = (*shape[:batch], *data.draw(st.lists(st.integers(1, 4), max_size=2)))
    if batch and len(rows) == batch:
        rows = (*rows, 3)
    indices = coordinates(data.draw, shape[batch : batch + depth], rows)
    lowered("GatherND", [filled(shape, dtype), indices], batch_dims=batch)


@FEW
@given(
    data=st.data(), shape=shapes, dtype=st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.uint8, np.int8,
    np.uint16, np.bool_]), how=st.sampled_from(["none", "add", "mul", "max", "min"]),
)  # fmt: skip
def test_scatter_nd(data: st.DataObject, shape: tuple[int, ...], dtype: Any, how: str) -> None:
    if dtype is np.bool_:
        how = "none"
    depth = data.draw(st.integers(1, len(shape)))
    indices = coordinates(data.draw, shape[:depth], (data.draw(st.integers(1, 9)),))
    updates = filled((len(indices), *shape[depth:]), dtype, seed=3)
    lowered("ScatterND", [filled(shape, dtype), indices, updates], reduction=how)


def test_scattered_nan_and_infinity() -> None:
    x, updates = np.array([np.nan, 1, -np.inf, 2], np.float32), np.array([1, np.nan, 3, np.inf], np.float32)
    for how in ("add", "max", "min"):
        lowered("ScatterElements", [x, np.arange(4), updates], reduction=how)


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_shares_of_scattered_rows(dtype: Any) -> None:
    """Duplicate places, rows long enough to be shared out: two threads give what one gives."""
    x, indices = filled((6, 70000), dtype), i64(1, 3, 1, 1, 5)[:, None]
    updates = filled((5, 70000), dtype, seed=2)
    want = x.copy()
    np.add.at(want, indices[:, 0], updates)
    session = ronn.Session(
        one_node("ScatterND", {"x": x, "i": indices, "u": updates}, reduction="add"),
        providers=[("cpu", {"threads": 2})],
    )
    (got,) = session.run({"x": x, "i": indices, "u": updates})
    np.testing.assert_array_equal(got, want)
    assert latest_plan(session).calls[0].native.kernels[-1].chunks > 1


def test_tensor_scatter() -> None:
    cache, update = filled((3, 2, 7, 5)), filled((3, 2, 3, 5), seed=1)
    lowered("TensorScatter", [cache, update, i64(0, 4, 2)], opset=24)
    lowered("TensorScatter", [cache, update], opset=24)
    lowered("TensorScatter", [cache, update, i64(6, 0, 5)], opset=24, mode="circular")
    lowered("TensorScatter", [filled((2, 9, 4)), filled((2, 1, 4)), i64(8, 0)], opset=24, axis=1)


def test_reverse_sequence() -> None:
    lowered("ReverseSequence", [filled((5, 3, 4)), i64(5, 1, 3)], batch_axis=1, time_axis=0)
    lowered("ReverseSequence", [filled((3, 5)), i64(2, 5, 4)], batch_axis=0, time_axis=1)
    lowered("ReverseSequence", [filled((2, 6, 2, 3), np.uint8), i64(6, 1)], batch_axis=0, time_axis=1)


def test_max_unpool() -> None:
    places = np.random.default_rng(0).permutation(2 * 3 * 4 * 6)[:36].reshape(2, 3, 2, 3)
    lowered("MaxUnpool", [filled((2, 3, 2, 3)), places], kernel_shape=[2, 2], strides=[2, 2])


def test_array_feature_extractor() -> None:
    x = filled((4, 6))
    for source in (x, x[0]):
        feeds = {"x": source, "i": i64(1, 5, 5)}
        model = one_node("ArrayFeatureExtractor", feeds, domain="ai.onnx.ml", domains={"ai.onnx.ml": 3})
        (got,), _ = run_one(model, feeds)
        np.testing.assert_array_equal(got, source[..., [1, 5, 5]].reshape(-1, 3))


@pytest.mark.parametrize(
    "op, inputs",
    [
        ("Gather", [filled((3, 4)), i64(1, 3)]),
        ("GatherElements", [filled((3, 4)), i64(1, -4).reshape(1, 2)]),
        ("GatherND", [filled((3, 4)), i64(1, 4).reshape(1, 2)]),
        ("ScatterElements", [filled((3, 4)), i64(1, 3).reshape(1, 2), filled((1, 2))]),
        ("ScatterND", [filled((3, 4)), i64(3).reshape(1, 1), filled((1, 4))]),
        ("ReverseSequence", [filled((3, 2)), i64(4, 1)]),
    ],
)
def test_indices_out_of_range_are_errors(op: str, inputs: list[np.ndarray]) -> None:
    given = {f"x{i}": v for i, v in enumerate(inputs)}
    session = ronn.Session(one_node(op, given), providers=["cpu"])
    with pytest.raises(ronn.RonnError, match=r"out of range|not in 0"):
        session.run(given)
