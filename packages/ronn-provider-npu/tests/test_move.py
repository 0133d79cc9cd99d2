"""Operators that move elements: what an OpenCL device makes is what the CPU provider makes, bit by bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from npu_runs import on_device, one_node, same
from onnx import helper

import ronn
from ronn.errors import ExecutionError

FEW = settings(max_examples=12, deadline=None)
DTYPES = (np.uint8, np.int16, np.float32, np.int64)
dtypes = st.sampled_from(DTYPES)
shapes = st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple)
seeds = st.integers(0, 99)


def filled(shape: tuple[int, ...], dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).integers(1, 120, shape)).astype(dtype)


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@FEW
@given(data=st.data(), shape=shapes, dtype=dtypes)
def test_transpose(data: st.DataObject, shape: tuple[int, ...], dtype: Any) -> None:
    same("Transpose", [filled(shape, dtype)], perm=data.draw(st.permutations(range(len(shape)))))


@FEW
@given(data=st.data(), shape=shapes, dtype=dtypes)
def test_slice(data: st.DataObject, shape: tuple[int, ...], dtype: Any) -> None:
    n = len(shape)
    starts, ends = (data.draw(st.lists(st.integers(-9, 9), min_size=n, max_size=n)) for _ in range(2))
    steps = data.draw(st.lists(st.integers(-3, 3).filter(bool), min_size=n, max_size=n))
    same("Slice", [filled(shape, dtype), i64(*starts), i64(*ends), i64(*range(n)), i64(*steps)], fixed=[1, 2, 3, 4])


@FEW
@given(data=st.data(), shape=shapes, dtype=dtypes, mode=st.sampled_from(["constant", "edge", "reflect", "wrap"]))
def test_pad(data: st.DataObject, shape: tuple[int, ...], dtype: Any, mode: str) -> None:
    pads = [data.draw(st.integers(0, n - 1)) for n in (*shape, *shape)]
    same("Pad", [filled(shape, dtype), i64(*pads), np.array(7, dtype)], fixed=[1], mode=mode)


@FEW
@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=11), dtype=dtypes, axis=st.integers(0, 2))
def test_concat_and_split(sizes: list[int], dtype: Any, axis: int) -> None:
    parts = [filled(tuple(n if d == axis else 3 for d in range(3)), dtype, n) for n in sizes]
    whole = np.concatenate(parts, axis)
    (got,) = same("Concat", parts, axis=axis)
    np.testing.assert_array_equal(got, whole)
    same("Split", [whole, i64(*sizes)], fixed=[1], outputs=len(sizes), axis=axis)


@FEW
@given(shape=st.lists(st.integers(60, 200), min_size=2, max_size=2).map(tuple), dtype=dtypes)
def test_copies_of_many_strips(shape: tuple[int, int], dtype: Any) -> None:
    x = filled((*shape, 3), dtype)
    same("Transpose", [x], perm=[2, 1, 0])
    same("Tile", [x, i64(2, 1, 3)], fixed=[1])
    same("Expand", [x[:, :1], i64(*shape, 3)], fixed=[1])


@FEW
@given(data=st.data(), shape=shapes, dtype=dtypes, wide=st.booleans(), seed=seeds)
def test_gather(data: st.DataObject, shape: tuple[int, ...], dtype: Any, wide: bool, seed: int) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    n, rng = shape[axis], np.random.default_rng(seed)
    kind = np.int64 if wide else np.int32
    x = filled(shape, dtype)
    same("Gather", [x, rng.integers(-n, n, (3, 2)).astype(kind)], axis=axis)
    chosen = tuple(4 if d == axis else m for d, m in enumerate(shape))
    same("GatherElements", [x, rng.integers(-n, n, chosen).astype(kind)], axis=axis)


@FEW
@given(data=st.data(), shape=st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple), dtype=dtypes, seed=seeds)
def test_coordinates(data: st.DataObject, shape: tuple[int, ...], dtype: Any, seed: int) -> None:
    depth, rng = data.draw(st.integers(1, len(shape))), np.random.default_rng(seed)
    places = np.stack([rng.integers(-n, n, 6) for n in shape[:depth]], -1)
    x = filled(shape, dtype)
    same("GatherND", [x, places])
    updates = filled((6, *shape[depth:]), dtype, 1)
    same("ScatterND", [x, places, updates])
    same("ScatterND", [x, places, updates], reduction=data.draw(st.sampled_from(["add", "mul", "max", "min"])))


@FEW
@given(data=st.data(), shape=shapes, dtype=dtypes, seed=seeds)
def test_scatter_elements(data: st.DataObject, shape: tuple[int, ...], dtype: Any, seed: int) -> None:
    axis, rng = data.draw(st.integers(0, len(shape) - 1)), np.random.default_rng(seed)
    indices = rng.integers(-shape[axis], shape[axis], tuple(5 if d == axis else m for d, m in enumerate(shape)))
    x, updates = filled(shape, dtype), filled(indices.shape, dtype, 1)
    reduction = data.draw(st.sampled_from(["none", "add", "mul", "max", "min"]))
    same("ScatterElements", [x, indices, updates], axis=axis, reduction=reduction)


def test_scattered_extremes_keep_nan_and_the_sign_of_zero() -> None:
    x = np.array([1, np.nan, 0.0, -0.0, 5], np.float32)
    updates = np.array([np.nan, 2, -0.0, 0.0, -5], np.float32)
    for reduction in ("max", "min"):
        (got,) = same("ScatterElements", [x, np.arange(5), updates], reduction=reduction)
        assert np.signbit(got[2:4]).tolist() == [reduction == "min"] * 2


@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_tensor_scatter(mode: str) -> None:
    cache, update = filled((2, 3, 5, 4)), filled((2, 3, 2, 4), seed=1)
    starts = i64(3, 4 if mode == "circular" else 1)
    same("TensorScatter", [cache, update, starts], opset=24, mode=mode)
    same("TensorScatter", [cache, update], opset=24, mode=mode)


def test_reverse_sequence() -> None:
    same("ReverseSequence", [filled((4, 3, 5)), i64(4, 0, 2)], batch_axis=1, time_axis=0)
    same("ReverseSequence", [filled((4, 3, 5)), i64(1, 2, 3, 0)], batch_axis=0, time_axis=1)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes"),
    [
        ("Gather", [filled((2, 3)), i64(0, 3)], {"axis": 1}),
        ("GatherElements", [filled((2, 3)), i64(0, -4, 1).reshape(1, 3)], {"axis": 1}),
        ("GatherND", [filled((2, 3)), i64(0, 1, 2, 0).reshape(2, 2)], {}),
        ("ScatterElements", [filled((2, 3)), i64(3).reshape(1, 1), filled((1, 1))], {"axis": 1}),
        ("ScatterND", [filled((2, 3)), i64(2).reshape(1, 1), filled((1, 3))], {}),
        ("ReverseSequence", [filled((2, 3)), i64(1, 3, 1)], {}),
        ("CumSum", [filled((2, 3)), i64(2).reshape(())], {}),
    ],
)
def test_places_that_are_not_there(op: str, inputs: list[np.ndarray], attributes: dict[str, Any]) -> None:
    model, fed = one_node(op, inputs, **attributes)
    with pytest.raises(ExecutionError, match=r"out of range|not in 0|no such axis"):
        on_device(model, fed)


@FEW
@given(
    data=st.data(), shape=st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple), seed=seeds,
    dtype=st.sampled_from([np.float32, np.float64, np.float16, np.int8, np.int64, np.uint16, np.uint64]),
)  # fmt: skip
def test_top_k(data: st.DataObject, shape: tuple[int, ...], seed: int, dtype: Any) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    x = np.random.default_rng(seed).integers(0, 5, shape).astype(dtype)
    if x.dtype.kind == "f":
        x.flat[0] = np.nan
        x.flat[-1] = -0.0
    k = i64(data.draw(st.integers(1, shape[axis])))
    same("TopK", [x, k], fixed=[1], outputs=2, axis=axis, largest=data.draw(st.integers(0, 1)))


def test_top_k_of_many() -> None:
    x = np.random.default_rng(0).standard_normal((20, 700)).astype(np.float32)
    same("TopK", [x, i64(200)], fixed=[1], outputs=2)
    same("TopK", [x, i64(3)], fixed=[1], outputs=2)


@FEW
@given(
    shape=st.lists(st.integers(1, 20), min_size=1, max_size=3).map(tuple), data=st.data(),
    dtype=st.sampled_from([np.float32, np.float64, np.int32, np.int64]), flags=st.tuples(*[st.integers(0, 1)] * 2),
)  # fmt: skip
def test_cumulative(shape: tuple[int, ...], data: st.DataObject, dtype: Any, flags: tuple[int, int]) -> None:
    axis = np.array(data.draw(st.integers(-len(shape), len(shape) - 1)), np.int64)
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    same("CumSum", [x, axis], exclusive=flags[0], reverse=flags[1])


@FEW
@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=4).map(tuple), dtype=dtypes, k=st.integers(-7, 7),
    upper=st.integers(0, 1),
)  # fmt: skip
def test_trilu(shape: tuple[int, ...], dtype: Any, k: int, upper: int) -> None:
    same("Trilu", [filled(shape, dtype), np.array(k, np.int64)], upper=upper)


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.float32])
def test_one_hot(kind: Any) -> None:
    indices = np.array([[0, 4, -1], [-5, 5, -6]]).astype(kind)
    for axis in (-1, 0, 1):
        same("OneHot", [indices, i64(5), np.array([2, 9], np.int16)], fixed=[1], axis=axis)


# --- sizes that the kernels find out


@FEW
@given(shape=st.lists(st.integers(1, 40), min_size=1, max_size=3).map(tuple), dtype=dtypes, seed=seeds)
def test_nonzero_and_compress(shape: tuple[int, ...], dtype: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, shape).astype(dtype)
    same("NonZero", [x])
    same("Compress", [x, rng.random(shape[0]) < 0.5], axis=0)
    same("Compress", [x, rng.random(x.size) < 0.5])


def test_nothing_is_found() -> None:
    (got,) = same("NonZero", [np.zeros((3, 4), np.float32)])
    assert got.shape == (2, 0)
    same("Compress", [filled((3, 4)), np.zeros(3, np.bool_)], axis=0)


@FEW
@given(
    shape=st.lists(st.integers(1, 12), min_size=1, max_size=3).map(tuple), seed=seeds, ordered=st.integers(0, 1),
    dtype=st.sampled_from([np.float32, np.int8, np.uint8, np.int64]), along=st.booleans(),
)  # fmt: skip
def test_unique(shape: tuple[int, ...], seed: int, ordered: int, dtype: Any, along: bool) -> None:
    x = np.random.default_rng(seed).integers(0, 2 if along else 9, shape).astype(dtype)
    axis = {"axis": len(shape) - 1} if along else {}
    same("Unique", [x], outputs=4, sorted=ordered, **axis)


@FEW
@given(n=st.integers(1, 60), classes=st.integers(1, 3), centred=st.integers(0, 1), least=st.booleans(), seed=seeds)
def test_suppression(n: int, classes: int, centred: int, least: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes, scores = rng.random((2, n, 4)).astype(np.float32), rng.random((2, classes, n)).astype(np.float32)
    given = [boxes, scores, i64(5), np.array([0.3], np.float32), np.array([0.4], np.float32) if least else None]
    same("NonMaxSuppression", given, fixed=[2], center_point_box=centred)


# --- sizes that hang on values


def test_values_that_sizes_hang_on_may_come_with_each_run() -> None:
    x = filled((4, 3))
    model, fed = one_node("Tile", [x, i64(1, 1)])
    session = ronn.Session(model, providers=["npu"])
    for n in range(1, 11):
        (got,) = session.run({**fed, "x1": i64(n, 2)})
        np.testing.assert_array_equal(got, np.tile(x, (n, 2)))
    assert {row.provider for row in session.placement()} == {"npu"}


def test_what_stands_behind_sizes_that_kernels_find_out_runs_on_the_device() -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["places"]),
        helper.make_node("Transpose", ["places"], ["rows"]),
        helper.make_node("GatherND", ["x", "rows"], ["found"]),
        helper.make_node("Mul", ["found", "found"], ["y"]),
    ]
    x = np.array([[0, 1, 2], [3, 0, 4]], np.float32)
    graph = helper.make_graph(
        nodes, "found", [helper.make_tensor_value_info("x", 1, x.shape)], [helper.make_tensor_value_info("y", 1, None)]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = ronn.Session(model, providers=["npu"])
    assert session.run(x)["y"].tolist() == [1, 4, 9, 16]
    assert session.run(np.zeros_like(x))["y"].tolist() == []
    assert {row.provider for row in session.placement()} == {"npu"}


@FEW
@given(
    equation=st.sampled_from(["ij,jk->ik", "bij,bjk->bik", "bhid,bhjd->bhij", "bij,kj->bik", "ij,jk,kl->il", "bij->j",
                              "i,j->ij", "bij,bik->bjk", "...ij,jk->...ik"]),
    sizes=st.lists(st.integers(1, 5), min_size=6, max_size=6), dtype=st.sampled_from([np.float32, np.float64]),
)  # fmt: skip
def test_einsum(equation: str, sizes: list[int], dtype: Any) -> None:
    of = dict(zip("bhijkldx", [*sizes, 3, 2], strict=True))
    terms = equation.replace("...", "x").split("->")[0].split(",")
    operands = [np.random.default_rng(0).standard_normal([of[i] for i in t]).astype(dtype) for t in terms]
    model, fed = one_node("Einsum", operands, equation=equation)
    (got,) = ronn.Session(model, providers=["npu"]).run(fed)
    np.testing.assert_allclose(got, np.einsum(equation, *operands), rtol=1e-4, atol=1e-5)
