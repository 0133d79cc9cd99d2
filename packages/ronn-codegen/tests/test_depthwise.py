"""Strips of depthwise convolutions against the definition in float64, at every level of instructions."""

from __future__ import annotations

import numpy as np
import pytest
from conv_runs import by_definition, convolve, levels, operands, plan_of, unblock
from hypothesis import given, settings
from hypothesis import strategies as st

from ronn_codegen.templates.conv_plan import STRIP_KINDS, ConvShape


def depthwise(
    channels: int,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pads: tuple[int, ...],
    n: int = 1,
) -> ConvShape:
    top, left, bottom, right = pads
    return ConvShape(
        n, channels, channels, (1, *size), (1, *kernel), (1, *stride), (0, top, left, 0, bottom, right), group=channels
    )


def check(shape: ConvShape, level: str, workers: int) -> None:
    x, w, bias = operands(shape)
    plan = plan_of(shape, level)
    y = convolve(plan, level, x, w, bias, strips=True)
    got = unblock(y)
    assert not got[:, shape.k :].any()
    np.testing.assert_allclose(got[:, : shape.k], by_definition(x, w, bias, shape), atol=2e-5, rtol=1e-5)
    assert np.array_equal(y, convolve(plan, level, x, w, bias, strips=True, workers=workers))


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("kind", STRIP_KINDS, ids=str)
def test_kinds(kind: tuple[int, int], level: str) -> None:
    taps, stride = kind
    pad = taps // 2
    for size in ((7, 7), (9, 33), (2, 60)):
        check(depthwise(20, size, (taps, taps), (stride, stride), (pad,) * 4), level, 3)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(levels()), st.sampled_from(STRIP_KINDS))
def test_any_shape(data: st.DataObject, level: str, kind: tuple[int, int]) -> None:
    def draw(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    taps, stride = kind
    rows = draw(1, 5)
    pads = (draw(0, 4), draw(0, 7), draw(0, 4), draw(0, 7))
    size = draw(max(rows - pads[0] - pads[2], 1), 9), draw(max(taps - pads[1] - pads[3], 1), 50)
    shape = depthwise(draw(2, 40), size, (rows, taps), (draw(1, 3), stride), pads, draw(1, 2))
    check(shape, level, draw(1, 4))


@pytest.mark.parametrize("level", levels())
def test_endings(level: str) -> None:
    """Clamps, functions, a residual before and behind them, and output over the residual."""
    shape = depthwise(37, (8, 20), (3, 3), (1, 1), (1, 1, 1, 1))
    x, w, bias = operands(shape)
    more = np.random.default_rng(1).standard_normal((1, 37, *shape.out)).astype(np.float32)
    bare, plan = by_definition(x, w, bias, shape), plan_of(shape, level)
    for name, params, function in (
        ("", (), lambda y: y),
        ("Clip", (0.0, 6.0), lambda y: np.clip(y, 0, 6)),
        ("Clip", (0.5, 6.0), lambda y: np.clip(y, 0.5, 6)),
        ("HardSwish", (), lambda y: y * np.clip(y / 6 + 0.5, 0, 1)),
        ("Sigmoid", (), lambda y: 1 / (1 + np.exp(-y))),
    ):
        cases = [
            (function(bare), {}),
            (function(bare + more), {"residual": more}),
            (function(bare + more), {"residual": more, "aliased": True}),
            (function(bare) + more, {"residual": more, "residual_last": True}),
        ]
        for expected, options in cases:
            got = unblock(
                convolve(plan, level, x, w, bias, activation=name, params=params, strips=True, **options)  # type: ignore[arg-type]
            )
            assert not got[:, 37:].any()
            np.testing.assert_allclose(got[:, :37], expected, atol=2e-5)
