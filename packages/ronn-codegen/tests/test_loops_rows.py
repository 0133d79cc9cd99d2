"""Loops of several sections: reductions along either kind of axis, rows that share values, shares of the work."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_runs import LEVELS, NAMES, execute, steps

from ronn_codegen.loops.nest import Nest

RNG = np.random.default_rng(9)
everywhere = pytest.mark.parametrize("level", LEVELS)
SHAPES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((50,), (0,)), ((3, 5), (1,)), ((3, 200), (1,)), ((9, 40), (0,)), ((7, 3, 33), (1,)), ((7, 3, 33), (0, 2)),
    ((2, 3, 4, 5), (1, 2, 3)), ((2, 3, 4, 5), (0, 2)), ((40, 3), (1,)), ((1, 1), (1,)), ((6, 1), (1,)), ((1, 70), (0,)),
]  # fmt: skip


def reduced(
    x: np.ndarray, axes: Sequence[int], op: str, level: str, workers: int = 1, vector: str | None = None
) -> np.ndarray:
    """``op`` over ``axes``; ``vector`` is the axis that vectors are expected along."""
    kept = [a for a in range(x.ndim) if a not in axes]
    order = [*kept, *axes]
    shape = [x.shape[a] for a in order]
    nest = Nest(shape, len(axes))
    dtype = np.dtype(np.int64 if op.endswith(("argmax", "argmin", "lastmax", "lastmin")) else x.dtype)
    y = np.zeros([x.shape[a] for a in kept], dtype)
    with nest.writer.each():
        value = nest.writer.reduce(op, nest.load("x", NAMES[x.dtype], [steps(x)[a] for a in order]))
    with nest.writer.row():
        nest.store("y", NAMES[dtype], [*steps(y), *(0 for _ in axes)], value)
    bound = nest.finish()
    assert vector is None or bound.loop.vector == vector
    execute(bound, {"x": x, "y": y}, level, workers)
    return y


@everywhere
@pytest.mark.parametrize("shape, axes", SHAPES)
def test_sums_and_extremes(level: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    x = RNG.standard_normal(shape).astype(np.float32)
    np.testing.assert_allclose(reduced(x, axes, "sum", level), x.sum(axis=axes), rtol=1e-5, atol=1e-5)
    whole = RNG.integers(-100, 100, shape).astype(np.int32)
    np.testing.assert_array_equal(reduced(whole, axes, "largest", level, 2), whole.max(axis=axes))


@everywhere
@pytest.mark.parametrize("op, numpy", [("prod", np.prod), ("smallest", np.min), ("largest", np.max), ("sum", np.sum)])
def test_other_types_and_nan(level: str, op: str, numpy: object) -> None:
    assert callable(numpy)
    for dtype in (np.uint8, np.int64, np.float64, np.float32):
        x = RNG.integers(1, 3, (5, 37)).astype(dtype)
        if dtype == np.float32:
            x[1, 3], x[2, 0], x[3, 36], x[4, :] = np.nan, np.inf, -np.inf, -np.inf
        for axis in (0, 1):
            with np.errstate(all="ignore"):
                want = np.asarray(numpy(x, axis=axis)).astype(dtype)
            np.testing.assert_array_equal(reduced(x, (axis,), op, level), want, err_msg=f"{np.dtype(dtype)} {axis}")


@everywhere
def test_positions_of_extremes(level: str) -> None:
    x = RNG.integers(0, 4, (21, 75)).astype(np.float32)
    x[3, 40] = x[3, 50] = x[5, 0] = np.nan
    for axis, vector in ((0, "outer"), (1, "inner")):
        np.testing.assert_array_equal(reduced(x, (axis,), "argmax", level, 3, vector), x.argmax(axis=axis))
        np.testing.assert_array_equal(reduced(x, (axis,), "argmin", level, 1, vector), x.argmin(axis=axis))
        flipped = np.flip(x, axis)
        last = x.shape[axis] - 1 - flipped.argmax(axis=axis)
        np.testing.assert_array_equal(reduced(x, (axis,), "lastmax", level), last)
    empty = np.full((2, 20), -np.inf, np.float32)
    np.testing.assert_array_equal(reduced(empty, (1,), "argmax", level), [0, 0])


@everywhere
def test_peaks_leave_nan_out(level: str) -> None:
    x = RNG.standard_normal((4, 50)).astype(np.float32)
    x[:, 7] = np.nan
    np.testing.assert_array_equal(reduced(x, (1,), "peak", level), np.nanmax(x, axis=1))


def softmax(x: np.ndarray, axis: int, level: str, workers: int) -> np.ndarray:
    """Softmax with the exponentials kept in the result's memory."""
    order = [a for a in range(x.ndim) if a != axis] + [axis]
    y = np.zeros_like(x)
    nest = Nest([x.shape[a] for a in order], 1)
    laid = [steps(x)[a] for a in order]
    with nest.writer.each():
        peak = nest.writer.reduce("peak", nest.load("x", "f32", laid))
    with nest.writer.each():
        e = (nest.load("x", "f32", laid) - peak).do("exp")
        nest.store("y", "f32", laid, e)
        total = nest.writer.reduce("sum", e)
    with nest.writer.row():
        factor = 1.0 / total
    with nest.writer.each():
        nest.store("y", "f32", laid, nest.load("y", "f32", laid) * factor)
    execute(nest.finish(), {"x": x, "y": y}, level, workers)
    return y


@everywhere
@pytest.mark.parametrize("shape, axis", [((5, 100), 1), ((3, 33), 0), ((2, 21, 40), 1), ((1, 7), 1), ((9, 1), 1)])
def test_rows_that_share_values(level: str, shape: tuple[int, ...], axis: int) -> None:
    x = (RNG.standard_normal(shape) * 5).astype(np.float32)
    e = np.exp(x.astype(np.float64) - x.max(axis=axis, keepdims=True))
    got = softmax(x, axis, level, 1)
    np.testing.assert_allclose(got, e / e.sum(axis=axis, keepdims=True), rtol=4e-6)
    for workers in (2, 5):
        np.testing.assert_array_equal(softmax(x, axis, level, workers).view(np.uint32), got.view(np.uint32))


@everywhere
def test_count_and_parameters_along_a_row(level: str) -> None:
    x, scale = RNG.standard_normal((6, 45)).astype(np.float32), RNG.standard_normal(45).astype(np.float32)
    y, mean = np.zeros_like(x), np.zeros(6, np.float32)
    nest = Nest(x.shape, 1)
    with nest.writer.each():
        total = nest.writer.reduce("sum", nest.load("x", "f32", steps(x)))
    with nest.writer.row():
        middle = total / nest.writer.count().cast("f32")
        nest.store("mean", "f32", (1, 0), middle)
    with nest.writer.each():
        nest.store("y", "f32", steps(y), (nest.load("x", "f32", steps(x)) - middle) * nest.load("s", "f32", (0, 1)))
    execute(nest.finish(), {"x": x, "y": y, "mean": mean, "s": scale}, level, 2)
    np.testing.assert_allclose(mean, x.mean(axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(y, (x - x.mean(axis=1, keepdims=True)) * scale, rtol=1e-5, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from([1, 2, 5, 18]), min_size=1, max_size=3), st.data())
def test_any_axes(shape: list[int], data: st.DataObject) -> None:
    axes = data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True).map(sorted))
    x = RNG.integers(-9, 9, shape).astype(np.int32)
    got = reduced(x, axes, "sum", "baseline", data.draw(st.integers(1, 3)))
    np.testing.assert_array_equal(got, x.sum(axis=tuple(axes), dtype=np.int32))
