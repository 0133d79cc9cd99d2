"""Convolutions with few output channels against their definition in float64."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ronn_codegen.simd.target import AVX2, AVX512, BASELINE, Target
from ronn_codegen.templates import conv_narrow
from ronn_codegen.templates.narrow_plan import NarrowPlan, NarrowShape, channel_groups, tiles_of

TARGETS = [BASELINE, AVX2, AVX512]


@cache
def kernel(name: str, target: Target) -> Any:
    return getattr(conv_narrow, name)(target)


def by_definition(x: np.ndarray, w: np.ndarray, b: np.ndarray, shape: NarrowShape) -> np.ndarray:
    top, left, bottom, right = shape.pads
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    high, wide = shape.out
    out = np.zeros((shape.n, shape.k, high, wide)) + b[:, None, None]
    for i in range(shape.kernel[0]):
        for j in range(shape.kernel[1]):
            rows = i * shape.dilations[0] + shape.strides[0] * np.arange(high)
            columns = j * shape.dilations[1] + shape.strides[1] * np.arange(wide)
            out += np.einsum("nchw,kc->nkhw", padded[:, :, rows][:, :, :, columns], w[:, :, i, j].astype(np.float64))
    return out


def check(target: Target, shape: NarrowShape, workers: int = 1, pieces: int = 1, mode: int = 0) -> None:
    plan = NarrowPlan(shape, target)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((shape.n, shape.c, *shape.size)).astype(np.float32)
    w = rng.standard_normal((shape.k, shape.c, *shape.kernel)).astype(np.float32)
    b = rng.standard_normal(shape.k).astype(np.float32)
    source, guard = x, 16
    if not plan.in_place:
        source = np.full(shape.n * shape.c * plan.plane + guard, 7, np.float32)
        for worker in range(workers):
            kernel("narrow_copy_f32", target)(
                x.ctypes.data, source.ctypes.data, shape.n * shape.c, *shape.size, plan.rows, plan.columns,
                shape.strides[1], shape.pads[0], shape.pads[1], worker, workers,
            )  # fmt: skip
        assert (source[-guard:] == 7).all()
    high, wide = shape.out
    y = np.full(shape.n * shape.k * high * wide + guard, 7, np.float32)
    packed, table, taps = plan.pack(w), plan.table, plan.taps
    for worker in range(workers):
        kernel("narrow_conv_f32", target)(
            source.ctypes.data, packed.ctypes.data, b.ctypes.data, y.ctypes.data, shape.n, shape.c,
            shape.c * plan.plane, plan.row, plan.plane, table.ctypes.data, len(table), taps.ctypes.data, len(taps),
            high, wide, shape.strides[0], shape.k, pieces, mode, np.float32(0), np.float32(np.inf), worker, workers,
        )  # fmt: skip
    assert (y[-guard:] == 7).all()  # nothing beyond the output is written
    wanted = by_definition(x, w, b, shape)
    wanted = np.maximum(wanted, 0) if mode else wanted
    bound = 2.0**-24 * (shape.c * shape.kernel[0] * shape.kernel[1] + 2) * 60
    np.testing.assert_allclose(y[:-guard].reshape(wanted.shape), wanted, atol=bound, rtol=0)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("k", range(1, 9))
@pytest.mark.parametrize("width", [16, 23, 48, 100, 257])
def test_widths_and_channels(target: Target, k: int, width: int) -> None:
    check(target, NarrowShape(1, 3, k, (5, width), (3, 3), pads=(1, 1, 1, 1)))
    check(target, NarrowShape(2, 2, k, (3, width + 2), (2, 3)), mode=1)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random(target: Target, data: Any) -> None:
    kernel_shape = (data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5)))
    strides = (data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4)))
    dilations = (data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3)))
    pads = tuple(data.draw(st.integers(0, 3)) for _ in range(4))
    size = tuple(
        (k - 1) * d + data.draw(st.integers(1, m)) for k, d, m in zip(kernel_shape, dilations, (6, 90), strict=True)
    )
    shape = NarrowShape(
        data.draw(st.integers(1, 2)), data.draw(st.integers(1, 4)), data.draw(st.integers(1, 11)), size, kernel_shape,
        strides, pads, dilations,
    )  # fmt: skip
    check(target, shape, workers=data.draw(st.sampled_from([1, 3])))


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_rows_in_pieces(target: Target) -> None:
    for stride in (1, 2):
        shape = NarrowShape(1, 1, 1, (1, 5000), (1, 64), strides=(1, stride))
        widest = NarrowPlan(shape, target).widest
        check(target, shape, workers=3, pieces=max(shape.out[1] // widest, 1))


def test_groups_cover_the_channels() -> None:
    for target in TARGETS:
        sizes = {channels for channels, _ in tiles_of(target)}
        for k in range(1, 30):
            assert sum(channel_groups(k)) == k and set(channel_groups(k)) <= sizes
