"""The convolution kernel against its definition in float64, at every level of instructions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from conv_runs import by_definition, convolve, levels, operands, pack, plan_of, unblock
from hypothesis import given, settings
from hypothesis import strategies as st

from ronn_codegen.native.library import library
from ronn_codegen.templates.conv_plan import ConvShape, pack_weights

SHAPES = {
    "3x3": ConvShape(1, 20, 40, (1, 9, 30), (1, 3, 3), pads=(0, 1, 1, 0, 1, 1)),
    "pointwise": ConvShape(2, 200, 64, (1, 7, 13), (1, 1, 1)),
    "strided": ConvShape(1, 20, 70, (1, 12, 12), (1, 3, 3), (1, 2, 2), (0, 0, 1, 0, 1, 0)),
    "dilated": ConvShape(1, 8, 33, (1, 11, 17), (1, 5, 2), pads=(0, 2, 2, 0, 2, 2), dilations=(1, 2, 3)),
    "wide padding": ConvShape(1, 17, 16, (1, 1, 6), (1, 1, 7), pads=(0, 0, 5, 0, 0, 4)),
    "down columns": ConvShape(2, 20, 33, (1, 17, 9), (1, 1, 7), (1, 2, 1), (0, 1, 3, 0, 0, 3)),
    "one row": ConvShape(1, 17, 16, (1, 1, 60), (1, 1, 3), pads=(0, 0, 1, 0, 0, 1)),
    "volume": ConvShape(1, 6, 18, (5, 6, 7), (3, 2, 3), (2, 1, 2), (1, 0, 1, 2, 1, 0), (1, 2, 1)),
    "grouped": ConvShape(1, 64, 96, (1, 5, 9), (1, 3, 3), pads=(0, 1, 1, 0, 1, 1), group=2),
    "many groups": ConvShape(2, 30, 20, (1, 6, 6), (1, 2, 2), group=10),
    "more outputs than channels": ConvShape(1, 9, 36, (1, 6, 6), (1, 3, 3), pads=(0, 1, 1, 0, 1, 1), group=9),
    "depthwise, strided": ConvShape(1, 20, 20, (1, 9, 33), (1, 5, 5), (1, 2, 2), (0, 2, 2, 0, 2, 2), group=20),
    "depthwise volume": ConvShape(1, 7, 7, (4, 5, 6), (3, 2, 3), pads=(1, 0, 2, 0, 1, 1), dilations=(1, 1, 2), group=7),
    "depthwise": ConvShape(1, 37, 37, (1, 6, 6), (1, 3, 3), pads=(0, 1, 1, 0, 1, 1), group=37),
}


def check(shape: ConvShape, level: str, *, plain: bool = False, workers: int = 1) -> np.ndarray:
    x, w, bias = operands(shape)
    plan = plan_of(shape, level, plain=plain)
    y = convolve(plan, level, x, w, bias, workers=workers)
    got = unblock(y)
    assert not got[:, shape.k :].any()
    terms = shape.c // shape.group * plan.taps
    np.testing.assert_allclose(got[:, : shape.k], by_definition(x, w, bias, shape), atol=2e-7 * (terms + 8), rtol=1e-6)
    return y


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("name", SHAPES)
def test_kinds_of_convolution(name: str, level: str) -> None:
    """Any number of shares gives the same bits."""
    whole = check(SHAPES[name], level)
    assert np.array_equal(whole, check(SHAPES[name], level, workers=5))


@pytest.mark.parametrize("level", levels())
def test_plain_input(level: str) -> None:
    for size, kernel, stride, pad in ((30, 7, 2, 3), (9, 3, 1, 1), (40, 11, 4, 2)):
        shape = ConvShape(2, 3, 33, (1, size, size), (1, kernel, kernel), (1, stride, stride), (0, pad, pad) * 2)
        whole = check(shape, level, plain=True)
        assert np.array_equal(whole, check(shape, level, plain=True, workers=3))


@st.composite
def shapes(draw: st.DrawFn) -> ConvShape:
    kernel, strides, dilations, pads, sizes = [], [], [], ([], []), []  # type: ignore[var-annotated]
    for axis, (most_taps, most) in enumerate(((2, 3), (4, 12), (8, 40))):
        taps, dilation = draw(st.integers(1, most_taps)), draw(st.integers(1, 2))
        before, after = draw(st.integers(0, 4)), draw(st.integers(0, 4))
        if axis == 0 and draw(st.booleans()):
            taps, before, after = 1, 0, 0
        least = max(dilation * (taps - 1) + 1 - before - after, 1)
        kernel.append(taps)
        dilations.append(dilation)
        strides.append(draw(st.integers(1, 3)))
        pads[0].append(before)
        pads[1].append(after)
        sizes.append(draw(st.integers(least, max(most, least))))
    group = draw(st.sampled_from([1, 1, 1, 2, 3, 5, 33]))
    c, k = (
        (group, group)
        if group == 33
        else (group * draw(st.integers(1, 40 // group)), group * draw(st.integers(1, 50 // group)))
    )
    return ConvShape(
        draw(st.integers(1, 2)), c, k, tuple(sizes), tuple(kernel), tuple(strides), tuple(pads[0] + pads[1]),
        tuple(dilations), group,
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(shapes(), st.sampled_from(levels()), st.booleans(), st.integers(1, 4))
def test_any_shape(shape: ConvShape, level: str, plain: bool, workers: int) -> None:
    check(shape, level, plain=plain and shape.group == 1, workers=workers)


@settings(max_examples=30, deadline=None)
@given(shapes(), st.sampled_from(levels()), st.booleans())
def test_packing(shape: ConvShape, level: str, plain: bool) -> None:
    plan = plan_of(shape, level, plain=plain and shape.group == 1)
    _, w, _ = operands(shape)
    np.testing.assert_array_equal(pack(plan, w, library(level)), pack_weights(plan, w))


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("group", [1, 2])
def test_packing_of_squares(group: int, level: str) -> None:
    """Weights of one tap are transposed square by square."""
    shape = ConvShape(1, 64, 70 * group, (1, 4, 4), (1, 1, 1), group=group)
    plan, (_, w, _) = plan_of(shape, level), operands(shape)
    np.testing.assert_array_equal(pack(plan, w, library(level)), pack_weights(plan, w))


ENDINGS: dict[str, tuple[tuple[float, ...], Callable[[np.ndarray], np.ndarray]]] = {
    "": ((), lambda x: x),
    "Relu": ((), lambda x: np.maximum(x, 0)),
    "Clip": ((-1.0, 2.0), lambda x: np.clip(x, -1, 2)),
    "LeakyRelu": ((0.1,), lambda x: np.where(x < 0, 0.1 * x, x)),
    "Sigmoid": ((), lambda x: 1 / (1 + np.exp(-x))),
    "Silu": ((), lambda x: x / (1 + np.exp(-x))),
    "Tanh": ((), np.tanh),
    "HardSwish": ((), lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    "HardSigmoid": ((0.3, 0.4), lambda x: np.clip(0.3 * x + 0.4, 0, 1)),
    "Gelu": ((), lambda x: x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))),
    "Softplus": ((), lambda x: np.logaddexp(x, 0)),
    "Elu": ((0.7,), lambda x: np.where(x < 0, 0.7 * np.expm1(x), x)),
}


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("name", [*ENDINGS, "Clip above zero"])
def test_endings(name: str, level: str) -> None:
    """Activations with and without a residual, before or behind them, and written over the residual; lanes beyond the
    last channel stay zero."""
    shape = ConvShape(2, 70, 37, (1, 5, 17), (1, 3, 3), pads=(0, 1, 1, 0, 1, 1))
    x, w, bias = operands(shape)
    params, function = ENDINGS.get(name, ((0.5, 2.0), lambda x: np.clip(x, 0.5, 2)))
    more = np.random.default_rng(1).standard_normal((2, 37, *shape.out)).astype(np.float32)
    bare = by_definition(x, w, bias, shape)
    plan = plan_of(shape, level)
    cases = [
        (function(bare), {}),
        (function(bare + more), {"residual": more}),
        (function(bare + more), {"residual": more, "aliased": True}),
        (function(bare) + more, {"residual": more, "residual_last": True}),
    ]
    for expected, options in cases:
        got = unblock(convolve(plan, level, x, w, bias, activation=name.split(" ")[0], params=params, **options))  # type: ignore[arg-type]
        assert not got[:, 37:].any()
        np.testing.assert_allclose(got[:, :37], expected, atol=2e-4, rtol=1e-5)


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("name", ["", "Relu", "Clip", "Silu"])
def test_nan_and_infinity(name: str, level: str) -> None:
    """They come out where they belong."""
    shape = ConvShape(1, 3, 20, (1, 4, 20), (1, 1, 1))
    x, w, bias = operands(shape)
    x[0, :, 0, 1, 3], x[0, 0, 0, 2, 7], w[:, 0] = np.nan, np.inf, 1
    params, function = ENDINGS[name]
    got = unblock(convolve(plan_of(shape, level), level, x, w, bias, activation=name, params=params))[:, :20]
    with np.errstate(all="ignore"):
        expected = function(by_definition(x, w, bias, shape))
    np.testing.assert_allclose(got, expected, atol=1e-5, rtol=1e-5)
