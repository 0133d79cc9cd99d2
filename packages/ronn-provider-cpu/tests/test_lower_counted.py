"""Outputs whose size depends on data, made natively: the results of the NumPy kernels."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lower_runs import i64, lowered
from native_support import native_nodes, one_node, run_one
from onnx import TensorProto, helper

import ronn

FEW = settings(max_examples=30, deadline=None)
DTYPES = (
    np.float32, np.float64, np.float16, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint32, np.uint64, np.bool_,
    ml_dtypes.bfloat16,
)  # fmt: skip
SHAPES = st.one_of(
    st.lists(st.sampled_from([0, 1, 2, 3, 7, 65]), min_size=1, max_size=3),
    st.sampled_from([[63], [64], [4095], [4096], [4097], [70, 130], [3, 5000]]),
)


def sparse(shape: Any, dtype: Any, seed: int) -> np.ndarray:
    """Few different values, many of them zero; floats with both zeros and NaN."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    values = [0, 0, 1, 2, 100, -1, -100] if dtype.kind != "f" else [0.0, -0.0, np.nan, -np.nan, np.inf, 1, -1e-7]
    if dtype.name == "bfloat16":
        values = [0.0, -0.0, np.inf, 1, -2]
    return rng.choice(np.array(values).astype(dtype), shape).astype(dtype)


@FEW
@given(dtype=st.sampled_from(DTYPES), shape=SHAPES, seed=st.integers(0, 99))
def test_non_zero(dtype: Any, shape: list[int], seed: int) -> None:
    lowered("NonZero", [sparse(shape, dtype, seed)])


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("chance", [0.0, 0.01, 0.5, 1.0])
def test_many_blocks(threads: int, chance: float) -> None:
    """Every share finds its own place in the output."""
    x = np.random.default_rng(0).random((31, 40, 300)) < chance
    model = one_node("NonZero", {"x": x})
    session = ronn.Session(model, providers=["cpu"], options={"threads": threads})
    for _ in range(3):
        (got,) = session.run(x)
        np.testing.assert_array_equal(got, np.array(np.nonzero(x)))


@FEW
@given(dtype=st.sampled_from(DTYPES), shape=SHAPES, data=st.data(), seed=st.integers(0, 99))
def test_compress(dtype: Any, shape: list[int], data: st.DataObject, seed: int) -> None:
    x = sparse(shape, dtype, seed)
    rng = np.random.default_rng(seed)
    axis = data.draw(st.one_of(st.none(), st.integers(-len(shape), len(shape) - 1)))
    n = x.size if axis is None else shape[axis]
    condition = rng.integers(0, 2, data.draw(st.sampled_from([n, n, n // 2]))) > 0
    attributes = {} if axis is None else {"axis": axis}
    lowered("Compress", [x, condition], fixed=data.draw(st.sampled_from([[], [1]])), **attributes)


@FEW
@given(
    dtype=st.sampled_from(DTYPES), shape=SHAPES.filter(lambda s: np.prod(s) > 0), data=st.data(),
    ordered=st.integers(0, 1), seed=st.integers(0, 99),
)  # fmt: skip
def test_unique(dtype: Any, shape: list[int], data: st.DataObject, ordered: int, seed: int) -> None:
    axis = data.draw(st.one_of(st.none(), st.integers(-len(shape), len(shape) - 1)))
    x = sparse(shape, dtype, seed)
    if axis is not None:  # NumPy tells slices with NaNs apart
        x = np.where(x == x, x, x.dtype.type(3))
    attributes = {} if axis is None else {"axis": axis}
    results = lowered("Unique", [x], outputs=4, sorted=ordered, **attributes)
    fewer, session = run_one(one_node("Unique", {"x": x}, outputs=2, sorted=ordered, **attributes), {"x": x})
    assert native_nodes(session) == ["Unique"]
    for got, want in zip(fewer, results, strict=False):
        np.testing.assert_array_equal(got, want)


def test_unique_of_many() -> None:
    x = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 3000)
    lowered("Unique", [np.concatenate([x, x[:700]])], outputs=4)
    lowered("Unique", [np.concatenate([x, x[:700]]).astype(np.float32)], outputs=4, sorted=0)


def boxes_of(rng: np.random.Generator, batches: int, n: int, centred: int) -> np.ndarray:
    if centred:
        places, sizes = rng.uniform(0, 1, (batches, n, 2)), rng.uniform(-0.02, 0.3, (batches, n, 2))
        return np.concatenate([places, sizes], axis=2).astype(np.float32)
    return rng.uniform(0, 1, (batches, n, 4)).astype(np.float32)


@FEW
@given(
    batches=st.integers(1, 3), classes=st.integers(1, 4), n=st.sampled_from([0, 1, 5, 31, 33, 100, 700]),
    most=st.sampled_from([None, 0, 1, 20, 10**12]), iou=st.sampled_from([None, 0.0, 0.1, 0.5, 1.0]),
    least=st.sampled_from([None, -1.0, 0.0, 0.5, 0.99]), centred=st.integers(0, 1), fixed=st.booleans(),
    kind=st.integers(0, 2), seed=st.integers(0, 99),
)  # fmt: skip
def test_non_max_suppression(
    batches: int, classes: int, n: int, most: int | None, iou: float | None, least: float | None, centred: int,
    fixed: bool, kind: int, seed: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    boxes, scores = boxes_of(rng, batches, n, centred), rng.uniform(-0.2, 1, (batches, classes, n)).astype(np.float32)
    if kind == 1:
        scores = np.round(scores, 1)  # many are equal, and some are either zero
    elif kind == 2:
        scores = (rng.choice([1.0, -1.0], scores.shape) * np.exp(rng.normal(0, 20, scores.shape))).astype(np.float32)
    given_ = [
        boxes, scores, None if most is None else i64(most), None if iou is None else np.float32([iou]),
        None if least is None else np.float32([least]),
    ]  # fmt: skip
    constants = [i for i in (2, 3, 4) if fixed and given_[i] is not None]
    lowered("NonMaxSuppression", given_, fixed=constants, center_point_box=centred)


@pytest.mark.parametrize("least", [None, 0.3])
def test_all_in_one_bucket(least: float | None) -> None:
    """Scores that differ in their last bits only, many of them equal."""
    rng = np.random.default_rng(0)
    scores = (0.5 + rng.integers(0, 300, (1, 2, 3000)) * 2.0**-24).astype(np.float32)
    boxes = boxes_of(rng, 1, 3000, 0)
    given_ = [boxes, scores, i64(3000), np.float32([0.3]), None if least is None else np.float32([least])]
    lowered("NonMaxSuppression", given_)


def test_odd_scores_come_last() -> None:
    """Where no score is asked for, NaN is the worst that there is."""
    boxes = np.tile(np.float32([0, 0, 1, 1]), (1, 5, 1)) + np.arange(5, dtype=np.float32).reshape(1, 5, 1)
    scores = np.float32([[[0.1, np.nan, np.inf, -np.inf, 0.2]]])
    (got,) = lowered("NonMaxSuppression", [boxes, scores, i64(5), np.float32([0.5]), None])
    assert got[:, 2].tolist() == [2, 4, 0, 3, 1]


def test_in_the_middle_of_a_graph() -> None:
    """What is found out goes on to nodes on either side of the split."""
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["x"], ["r"]),
            helper.make_node("NonZero", ["r"], ["i"]),
            helper.make_node("Exp", ["r"], ["e"]),
            helper.make_node("Transpose", ["i"], ["t"], perm=[1, 0]),
            helper.make_node("GatherND", ["e", "t"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [6, 70])],
        [helper.make_empty_tensor_value_info(n) for n in ("i", "y", "e")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = ronn.Session(model, providers=["cpu"])
    rng = np.random.default_rng(0)
    kept = []
    for _ in range(4):
        x = rng.standard_normal((6, 70)).astype(np.float32)
        i, y, e = session.run(x)
        r = np.maximum(x, 0)
        np.testing.assert_array_equal(i, np.array(np.nonzero(r)))
        np.testing.assert_allclose(e, np.exp(r), rtol=1e-6)
        np.testing.assert_array_equal(y, e[np.nonzero(r)])
        kept.append((i, i.copy()))
    assert "NonZero" in native_nodes(session)
    for i, before in kept:  # outputs are the caller's own
        np.testing.assert_array_equal(i, before)
