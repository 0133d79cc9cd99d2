"""Reductions, softmax and normalisations on native loops, against their NumPy kernels."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from native_support import native_nodes, numpy_nodes, one_node, run_one
from test_lower_pointwise import check, floats, integers

import ronn

SHAPES = [(4,), (3, 100), (2, 3, 40), (2, 3, 4, 5), (1, 17, 33)]


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("shape", SHAPES)
def test_softmax(op: str, shape: tuple[int, ...]) -> None:
    for axis in range(-1, len(shape) - 1):
        check(op, [floats(*shape)], axis=axis, near=2e-6)
        check(op, [floats(*shape)], axis=axis % len(shape), opset=11, near=2e-6)


def test_softmax_of_infinities_and_nan() -> None:
    x = np.array([[1, np.nan, 2], [np.inf, 1, 2], [-np.inf, 1, 2], [-np.inf] * 3, [1000, 1, 2], [-1000] * 3], "f4")
    with np.errstate(invalid="ignore"):
        check("Softmax", [x])
        check("LogSoftmax", [x])


REDUCTIONS = ["Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp"]


@pytest.mark.parametrize("op", REDUCTIONS)
@pytest.mark.parametrize("keepdims", [0, 1])
def test_reductions(op: str, keepdims: int) -> None:
    for shape in SHAPES if keepdims else SHAPES[2:4]:
        for count in range(1, len(shape) + 1):
            for axes in itertools.combinations(range(len(shape)), count):
                x = np.abs(floats(*shape)) if op == "LogSum" else floats(*shape)
                check(f"Reduce{op}", [x, np.array(axes)], fixed=[1], keepdims=keepdims, tolerance=3e-5, near=1e-5)


@pytest.mark.parametrize("op", ["Sum", "Max", "Min", "Prod", "L1", "SumSquare"])
def test_reductions_of_integers(op: str) -> None:
    for dtype in (np.int32, np.int64, *([np.int8, np.uint8] if op in ("Max", "Min") else [])):
        check(f"Reduce{op}", [integers(-50, 50, 3, 40, dtype=dtype), np.array([1])], fixed=[1])
    if op in ("Max", "Min"):
        check(f"Reduce{op}", [integers(0, 2, 3, 40, dtype=bool), np.array([0])], fixed=[1], opset=20)


def test_reductions_of_nan_and_by_attribute() -> None:
    x = np.array([[1, np.nan, 2], [np.inf, 1, 2], [-np.inf] * 3, [-np.inf, np.inf, 0]], "f4")
    for op in ("Max", "Min", "Sum", "LogSumExp"):
        with np.errstate(invalid="ignore"):
            check(f"Reduce{op}", [x, np.array([1])], fixed=[1])
    check("ReduceMean", [floats(3, 4, 5)], opset=11, axes=[0, -1], tolerance=1e-5)
    check("ReduceSum", [floats(3, 4, 5)], tolerance=1e-5)
    check("ReduceMean", [integers(0, 9, 3, 4), np.array([1])], fixed=[1], native=False)


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
def test_positions(op: str) -> None:
    for shape in SHAPES:
        for axis in range(-1, len(shape) - 1):
            for last in (0, 1):
                check(op, [floats(*shape).round()], axis=axis, keepdims=last, select_last_index=last)
    check(op, [integers(-3, 3, 5, 60, dtype=np.int8)], axis=1)
    if op == "ArgMax":
        check(op, [np.array([[1, np.nan, 2], [np.inf, 1, np.inf], [-np.inf] * 3], "f4")], axis=1)


@pytest.mark.parametrize("shape, axis", [((2, 5, 40), -1), ((2, 5, 40), 1), ((3, 7), -1), ((4, 1), 1)])
def test_layer_normalization(shape: tuple[int, ...], axis: int) -> None:
    tail = shape[axis:]
    check("LayerNormalization", [floats(*shape), floats(*tail), floats(*tail)], axis=axis, tolerance=3e-5, near=1e-5)
    check("LayerNormalization", [floats(*shape), floats(*tail)], axis=axis, tolerance=3e-5, near=1e-5, epsilon=0.1)
    check("RMSNormalization", [floats(*shape), floats(*tail)], axis=axis, opset=23, tolerance=3e-5, near=1e-5)


def test_layer_normalization_gives_its_statistics() -> None:
    x, scale = floats(6, 50), floats(50)
    model = one_node("LayerNormalization", {"x": x, "scale": scale}, outputs=3)
    (y, mean, inverse), session = run_one(model, {"x": x, "scale": scale})
    assert native_nodes(session) == ["LayerNormalization"]
    np.testing.assert_allclose(mean, x.mean(1, keepdims=True), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(inverse, 1 / np.sqrt(x.var(1, keepdims=True) + 1e-5), rtol=1e-5)
    np.testing.assert_allclose(y, (x - mean) * inverse * scale, rtol=1e-4, atol=1e-5)


def test_other_normalizations() -> None:
    loose: dict[str, Any] = {"tolerance": 3e-5, "near": 1e-5}
    check("InstanceNormalization", [floats(2, 5, 40, 3), floats(5), floats(5)], **loose)
    check("InstanceNormalization", [floats(2, 5, 7), floats(5), floats(5)], **loose)
    for groups in (1, 2, 3, 6):
        check("GroupNormalization", [floats(2, 6, 7, 3), floats(6), floats(6)], num_groups=groups, **loose)
        given = [floats(2, 6, 7, 3), floats(groups), floats(groups)]
        check("GroupNormalization", given, num_groups=groups, opset=18, **loose)
    check("MeanVarianceNormalization", [floats(2, 6, 7, 3)], **loose)
    check("MeanVarianceNormalization", [floats(2, 6, 7, 3)], axes=[1, 2], **loose)
    for p in (1, 2):
        x = floats(4, 5, 9)
        x[1] = 0
        for axis in (0, 1, -1):
            check("LpNormalization", [x], p=p, axis=axis, **loose)


def test_hardmax() -> None:
    for shape in SHAPES:
        for axis in range(-1, len(shape) - 1):
            check("Hardmax", [floats(*shape).round()], axis=axis)
    check("Hardmax", [floats(3, 4, 5).round()], axis=1, opset=11)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9])
def test_local_response_normalization(size: int) -> None:
    for shape in ((2, 7, 3, 4), (1, 20, 5, 5), (1, 1, 2, 3)):
        check("LRN", [floats(*shape)], size=size, tolerance=2e-5)
        for beta in (0.4, 0.5, 1.0):
            check("LRN", [floats(*shape)], size=size, alpha=0.3, beta=beta, bias=2.0, tolerance=2e-5)


@pytest.mark.parametrize("op", ["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"])
def test_normalizations_of_a_sum(op: str) -> None:
    x, skip, gamma, beta, bias = floats(2, 3, 40), floats(2, 3, 40), floats(40), floats(40), floats(40)
    rest = [gamma, beta, bias] if op == "SkipLayerNormalization" else [gamma, bias]
    loose: dict[str, Any] = {"domain": "com.microsoft", "tolerance": 3e-5, "near": 1e-5, "epsilon": 1e-5}
    check(op, [x, skip, gamma], **loose)
    check(op, [x, skip[0], *rest], **loose)
    feeds = {"x": x, "skip": skip, "gamma": gamma}
    model = one_node(op, feeds, outputs=4, domain="com.microsoft", domains={"com.microsoft": 1}, epsilon=1e-5)
    got, session = run_one(model, feeds)
    assert native_nodes(session) == [op]
    np.testing.assert_array_equal(got[3], x + skip)
    total = (x + skip).astype(np.float64)
    spread = (
        total.var(-1, keepdims=True) if op == "SkipLayerNormalization" else np.square(total).mean(-1, keepdims=True)
    )
    np.testing.assert_allclose(np.ravel(got[2]), np.ravel(1 / np.sqrt(spread + 1e-5)), rtol=1e-5)


@pytest.mark.parametrize("op", ["Sum", "Prod", "Max", "Min", "Mean", "L1", "L2", "SumSquare", "LogSum", "LogSumExp"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_reductions_of_nothing(op: str, dtype: Any) -> None:
    if dtype == np.int32 and op in ("Mean", "L2", "LogSum", "LogSumExp"):
        return  # no integer stands for what they give
    x = np.zeros((3, 0, 2), dtype)
    for axes, keepdims in (([1], 1), ([0, 1], 0)):
        constants = {"a": np.array(axes)}
        model = one_node("Reduce" + op, {"x": x}, constants=constants, opset=20, keepdims=keepdims)
        (got,), session = run_one(model, {"x": x})
        plain = ronn.Session(model, providers=[("cpu", {"kernels": "numpy"})]).run({"x": x})["y0"]
        assert native_nodes(session) == ["Reduce" + op] and got.dtype == plain.dtype
        np.testing.assert_array_equal(got, plain)


@pytest.mark.parametrize("op", ["Sum", "Prod", "Max", "Min", "Mean"])
def test_reductions_along_no_axis(op: str) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    for constants in ({}, {"a": np.zeros(0, np.int64)}):
        model = one_node("Reduce" + op, {"x": x}, constants=constants, opset=18, noop_with_empty_axes=1)
        (got,), session = run_one(model, {"x": x})
        assert numpy_nodes(session) == []
        np.testing.assert_array_equal(got, x)
