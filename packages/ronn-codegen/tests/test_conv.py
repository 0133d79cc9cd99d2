"""The convolution template against its definition in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ronn_codegen.simd.target import AVX2, AVX512, BASELINE, Target
from ronn_codegen.templates.conv import (
    ConvShape,
    block_input,
    block_weights,
    blocks_of,
    conv,
    conv_arguments,
    tile_of,
    unblock,
)

TARGETS = [BASELINE, AVX2, AVX512]


def by_definition(x: np.ndarray, w: np.ndarray, b: np.ndarray, shape: ConvShape) -> np.ndarray:
    top, left, bottom, right = shape.pads
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    high, wide = shape.out
    out = np.zeros((shape.n, shape.k, high, wide)) + b[:, None, None]
    for i in range(shape.r):
        for j in range(shape.s):
            rows = i * shape.dilations[0] + shape.strides[0] * np.arange(high)
            columns = j * shape.dilations[1] + shape.strides[1] * np.arange(wide)
            out += np.einsum("nchw,kc->nkhw", padded[:, :, rows][:, :, :, columns], w[:, :, i, j].astype(np.float64))
    return out


def check(target: Target, shape: ConvShape, workers: int = 1) -> None:
    tile = tile_of(target)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((shape.n, shape.c, shape.h, shape.w)).astype(np.float32)
    w = rng.standard_normal((shape.k, shape.c, shape.r, shape.s)).astype(np.float32)
    b = rng.standard_normal(shape.k).astype(np.float32)
    kb = blocks_of(shape.k, tile.lanes)
    bias = np.zeros(kb * tile.lanes, np.float32)
    bias[: shape.k] = b
    blocked, weights = block_input(x, shape, tile.lanes), block_weights(w, tile.lanes)
    room = shape.n * kb * shape.out[0] * shape.out[1] * tile.lanes
    y = np.full(room + 16, 7, np.float32)
    addresses = [a.ctypes.data for a in (blocked, weights, bias, y)]
    for worker in range(workers):
        conv(tile)(*conv_arguments(shape, tile), *addresses, worker, workers)
    assert (y[room:] == 7).all()  # nothing beyond the output is written
    got = unblock(y[:room].reshape(shape.n, kb, *shape.out, tile.lanes), shape.k)
    bound = 2.0**-24 * (shape.c * shape.r * shape.s + 2) * 60
    np.testing.assert_allclose(got, by_definition(x, w, b, shape), atol=bound, rtol=0)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize(
    "shape",
    [
        ConvShape(1, 3, 9, 9, 5, 3, 3, pads=(1, 1, 1, 1)),
        ConvShape(2, 16, 7, 13, 64, 1, 1),
        ConvShape(1, 20, 12, 12, 70, 3, 3, strides=(2, 2), pads=(0, 1, 1, 0)),
        ConvShape(1, 8, 11, 17, 33, 5, 2, dilations=(2, 3), pads=(2, 2, 2, 2)),
        ConvShape(1, 17, 1, 6, 16, 1, 3),
    ],
    ids=["3x3", "pointwise", "strided", "dilated", "row"],
)
def test_kinds_of_convolution(target: Target, shape: ConvShape) -> None:
    for workers in (1, 3):
        check(target, shape, workers)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_shape(data: st.DataObject) -> None:
    draw = data.draw
    r, s = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    strides = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    dilations = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    pads = tuple(draw(st.integers(0, 2)) for _ in range(4))
    h = draw(st.integers(dilations[0] * (r - 1) + 1, 14))
    w = draw(st.integers(dilations[1] * (s - 1) + 1, 14))
    n, c, k = draw(st.integers(1, 2)), draw(st.integers(1, 20)), draw(st.integers(1, 40))
    shape = ConvShape(n, c, h, w, k, r, s, strides, pads, dilations)  # type: ignore[arg-type]
    check(draw(st.sampled_from(TARGETS)), shape, draw(st.integers(1, 4)))
