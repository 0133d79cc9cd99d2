"""Convolutions of bfloat16 operands against the definition in float64: exact but for the order of additions."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from conv_runs import by_definition, convolve, levels, operands, plan_of, unblock
from hypothesis import given, settings
from test_conv import SHAPES, shapes

from ronn_codegen.templates.conv_plan import BLOCKED, ConvShape
from ronn_codegen.templates.pair_plan import PairPlan, pairs

LEVELS = ["native", *levels()]


def rounded(x: np.ndarray) -> np.ndarray:
    return x.astype(ml_dtypes.bfloat16).astype(np.float32)


def check(shape: ConvShape, level: str, workers: int = 1) -> np.ndarray:
    x, w, bias = operands(shape)
    wide = plan_of(shape, level)
    assert wide.kind == BLOCKED
    y = convolve(PairPlan(wide.shape, wide.lanes, wide.pixels), level, x, w, bias, workers=workers)
    got = unblock(y)
    assert not got[:, shape.k :].any()
    got = got[:, : shape.k]
    terms = shape.c // shape.group * wide.taps
    want = by_definition(rounded(x), rounded(w), bias, shape)
    sizes = by_definition(np.abs(x), np.abs(w), np.abs(bias), shape)
    assert (np.abs(got - want) <= 2.0**-24 * (terms + 8) * 1.02 * sizes).all()
    # Against operands that are not rounded: 2^-8 of every product for each of its two factors.
    assert (np.abs(got - by_definition(x, w, bias, shape)) <= 2.0**-6.98 * sizes).all()
    return y


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", [name for name in SHAPES if not name.startswith("depthwise")])
def test_kinds_of_convolution(name: str, level: str) -> None:
    """Any number of shares gives the same bits."""
    whole = check(SHAPES[name], level)
    assert np.array_equal(whole, check(SHAPES[name], level, workers=5))


@pytest.mark.parametrize("level", LEVELS)
@settings(max_examples=20, deadline=None)
@given(shape=shapes().filter(lambda s: not s.group == s.c == s.k > 1))
def test_any_shape(level: str, shape: ConvShape) -> None:
    check(shape, level)


@pytest.mark.parametrize("level", LEVELS)
def test_endings(level: str) -> None:
    """Residual and activation as in float32; the output may lie over the residual."""
    shape = ConvShape(2, 70, 37, (1, 5, 17), (1, 3, 3), pads=(0, 1, 1, 0, 1, 1))
    x, w, bias = operands(shape)
    more = np.random.default_rng(1).standard_normal((2, 37, *shape.out)).astype(np.float32)
    wide = plan_of(shape, level)
    plan, want = PairPlan(shape, wide.lanes, wide.pixels), by_definition(rounded(x), rounded(w), bias, shape)
    for aliased in (False, True):
        y = convolve(plan, level, x, w, bias, residual=more, activation="Relu", aliased=aliased, workers=3)
        np.testing.assert_allclose(unblock(y)[:, :37], np.maximum(want + more, 0), atol=1e-4)


def test_what_words_are_for() -> None:
    """Not for plain inputs nor one channel in, one out; nor where little is computed for each element of the input."""
    level = levels()[-1]
    wide = plan_of(ConvShape(1, 256, 64, (1, 56, 56), (1, 1, 1)), level)
    direct = wide.shape.flops / 2 / wide.lanes
    assert pairs(wide, direct) is not None and pairs(wide, direct / 2) is None
    narrow = ConvShape(1, 256, 4, (1, 56, 56), (1, 1, 1))
    assert pairs(plan_of(narrow, level), narrow.flops / 2 / wide.lanes) is None
    assert pairs(plan_of(SHAPES["depthwise"], level), 1e9) is None
    assert pairs(plan_of(ConvShape(1, 3, 64, (1, 9, 9), (1, 3, 3)), level, plain=True), 1e9) is None
