"""Winograd's convolution against the definition in float64, at every level of instructions."""

from __future__ import annotations

import numpy as np
import pytest
from conv_runs import by_definition, convolve_winograd, levels, operands, plan_of, transform_weights, unblock
from hypothesis import given, settings
from hypothesis import strategies as st

from ronn_codegen.native.library import library
from ronn_codegen.native.machine import machine
from ronn_codegen.templates.conv_plan import ConvShape, pixels_of
from ronn_codegen.templates.winograd_plan import WinogradPlan, pack_winograd, winograd


def winograd_plan(shape: ConvShape, level: str) -> WinogradPlan:
    target = machine(level).target
    return WinogradPlan(shape, target.lanes(32), pixels_of(target))


def square(c: int, k: int, size: int, n: int = 1) -> ConvShape:
    return ConvShape(n, c, k, (1, size, size), (1, 3, 3), pads=(0, 1, 1, 0, 1, 1))


def check(shape: ConvShape, level: str, workers: int = 3) -> None:
    x, w, bias = operands(shape)
    plan = winograd_plan(shape, level)
    y = convolve_winograd(plan, level, x, w, bias)
    got, expected = unblock(y), by_definition(x, w, bias, shape)
    assert not got[:, shape.k :].any()
    assert np.abs(got[:, : shape.k] - expected).max() <= 1e-5 * np.abs(expected).max()
    assert np.array_equal(y, convolve_winograd(plan, level, x, w, bias, workers=workers))


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("shape", [square(70, 50, 14), square(40, 20, 90), square(16, 16, 7, n=3)], ids=str)
def test_both_orders(shape: ConvShape, level: str) -> None:
    """Few tiles are transformed all at once, many block by block."""
    assert winograd_plan(shape, level).fused == (shape.size[1] == 90)
    check(shape, level)


@settings(max_examples=25, deadline=None)
@given(st.data(), st.sampled_from(levels()))
def test_any_shape(data: st.DataObject, level: str) -> None:
    def draw(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    pads = [draw(0, 2) for _ in range(4)]
    high, wide = draw(max(1, 3 - pads[0] - pads[2]), 20), draw(max(1, 3 - pads[1] - pads[3]), 50)
    shape = ConvShape(
        draw(1, 2),
        draw(1, 40),
        draw(1, 40),
        (1, high, wide),
        (1, 3, 3),
        pads=(0, pads[0], pads[1], 0, pads[2], pads[3]),
    )
    check(shape, level, draw(1, 4))


@pytest.mark.parametrize("level", levels())
def test_weights(level: str) -> None:
    shape = square(20, 37, 8)
    plan = winograd_plan(shape, level)
    _, w, _ = operands(shape)
    np.testing.assert_allclose(transform_weights(plan, w, library(level)), pack_winograd(plan, w), atol=2e-6)


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("size", [9, 90])
def test_endings(size: int, level: str) -> None:
    shape = square(40, 37, size)
    x, w, bias = operands(shape)
    more = np.random.default_rng(1).standard_normal((1, 37, *shape.out)).astype(np.float32)
    bare, plan = by_definition(x, w, bias, shape), winograd_plan(shape, level)
    for activation, params, function in (
        ("Relu", (), lambda y: np.maximum(y, 0)),
        ("Clip", (0.5, 2.0), lambda y: np.clip(y, 0.5, 2)),
        ("Sigmoid", (), lambda y: 1 / (1 + np.exp(-y))),
    ):
        for last in (False, True):
            got = unblock(
                convolve_winograd(
                    plan, level, x, w, bias, residual=more, residual_last=last, activation=activation, params=params
                )
            )
            assert not got[:, 37:].any()
            np.testing.assert_allclose(got[:, :37], function(bare) + more if last else function(bare + more), atol=5e-4)


def test_where_it_pays() -> None:
    plan = plan_of(square(64, 64, 56), levels()[-1])
    assert winograd(plan) is not None
    assert winograd(plan_of(square(512, 512, 7), levels()[-1])) is None  # its transformed weights are too large
    assert winograd(plan_of(square(4, 4, 6), levels()[-1])) is None


def test_accuracy_of_deep_sums() -> None:
    """As good as within a factor of four of sums in order."""
    shape = square(256, 256, 12)
    x, w, bias = operands(shape)
    expected = by_definition(x, w, bias, shape)
    level = levels()[-1]
    got = unblock(convolve_winograd(winograd_plan(shape, level), level, x, w, bias))
    assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()
