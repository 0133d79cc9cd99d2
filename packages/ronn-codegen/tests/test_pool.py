"""Pooling kernels against windows cut out one by one."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ronn_codegen.simd.target import AVX2, AVX512, BASELINE, Target
from ronn_codegen.templates import pool
from ronn_codegen.templates.pool_sizes import scratch_width

TARGETS = [BASELINE, AVX2, AVX512]
Ints = tuple[int, ...]


@cache
def kernel(name: str, target: Target) -> Any:
    return getattr(pool, name)(target)


def by_definition(
    x: np.ndarray, out: Ints, kernel: Ints, strides: Ints, dilations: Ints, pads: Ints, average: bool
) -> np.ndarray:
    """``x[planes, spatial...]``; padding does not count."""
    y = np.zeros((x.shape[0], *out))
    for place in product(*map(range, out)):
        taps = []
        for tap in product(*map(range, kernel)):
            at = [p * s + t * d - b for p, s, t, d, b in zip(place, strides, tap, dilations, pads, strict=True)]
            if all(0 <= a < size for a, size in zip(at, x.shape[1:], strict=True)):
                taps.append(x[(slice(None), *at)].astype(np.float64))
        y[(slice(None), *place)] = np.mean(taps, 0) if average else np.max(taps, 0)
    return y


def counts(size: int, out: int, kernel: int, stride: int, dilation: int, pad: int) -> np.ndarray:
    """How many taps of each window along one axis lie inside."""
    at = np.arange(out)[:, None] * stride + np.arange(kernel) * dilation - pad
    return np.ascontiguousarray(((at >= 0) & (at < size)).sum(1).astype(np.float32))


@st.composite
def axes(draw: Any, count: int) -> list[Ints]:
    """Of each axis: size, output size, kernel, stride, dilation, pad; no window is all padding."""
    found = []
    for i in range(count):
        kernel = draw(st.integers(1, 4))
        stride, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 2))
        extent = (kernel - 1) * dilation + 1
        pad = draw(st.integers(0, kernel - 1)) if dilation == 1 else 0
        size = extent + draw(st.integers(0, 40 if i == count - 1 else 5))
        found.append((size, (size + 2 * pad - extent) // stride + 1, kernel, stride, dilation, pad))
    return found


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@settings(max_examples=60, deadline=None)
@given(axes(2), st.integers(1, 3), st.sampled_from([1, 3]), st.booleans())
def test_blocked(target: Target, geometry: list[Ints], planes: int, workers: int, average: bool) -> None:
    lanes = target.lanes(32)
    size, out, taps, strides, dilations, pads = zip(*geometry, strict=True)
    x = np.random.default_rng(0).standard_normal((planes, *size, lanes)).astype(np.float32)
    y = np.full(planes * out[0] * out[1] * lanes + 32, 7, np.float32)
    tables = [counts(*g) for g in geometry]
    fields = [v for pair in (size, out, taps, strides, dilations, pads) for v in pair]
    name = "average_pool_blocked_f32" if average else "max_pool_blocked_f32"
    for worker in range(workers):
        kernel(name, target)(
            x.ctypes.data, y.ctypes.data, planes, *fields, *(t.ctypes.data for t in tables), worker, workers
        )
    assert (y[-32:] == 7).all()
    rows = x.transpose(0, 3, 1, 2).reshape(-1, *size)
    wanted = by_definition(rows, out, taps, strides, dilations, pads, average)
    got = y[:-32].reshape(planes, *out, lanes).transpose(0, 3, 1, 2).reshape(wanted.shape)
    np.testing.assert_allclose(got, wanted, rtol=1e-6 if average else 0, atol=1e-6 if average else 0)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@settings(max_examples=60, deadline=None)
@given(axes(3), st.integers(1, 3), st.sampled_from([1, 3]), st.booleans())
def test_plain(target: Target, geometry: list[Ints], planes: int, workers: int, average: bool) -> None:
    lanes = target.lanes(32)
    size, out, taps, strides, dilations, pads = zip(*geometry, strict=True)
    x = np.random.default_rng(0).standard_normal((planes, *size)).astype(np.float32)
    y = np.full(planes * int(np.prod(out)) + 32, 7, np.float32)
    tables = [counts(*g) for g in geometry]
    fields = [v for triple in (size, out, taps, strides, dilations, pads) for v in triple]
    width = scratch_width(size[2], out[2], taps[2], strides[2], dilations[2], pads[2], lanes)
    scratch = np.full(workers * width + 32, 9, np.float32)
    name = "average_pool_f32" if average else "max_pool_f32"
    for worker in range(workers):
        kernel(name, target)(
            x.ctypes.data, y.ctypes.data, scratch.ctypes.data, planes, *fields,
            *(t.ctypes.data for t in tables), width, worker, workers,
        )  # fmt: skip
    assert (y[-32:] == 7).all() and (scratch[-32:] == 9).all()
    wanted = by_definition(x, out, taps, strides, dilations, pads, average)
    got = y[:-32].reshape(wanted.shape)
    np.testing.assert_allclose(got, wanted, rtol=1e-6 if average else 0, atol=1e-6 if average else 0)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 200), st.sampled_from([1, 2]), st.booleans())
def test_global(target: Target, planes: int, size: int, workers: int, average: bool) -> None:
    x = np.random.default_rng(0).standard_normal((planes, size)).astype(np.float32) - 5
    y = np.full(planes + 32, 7, np.float32)
    for worker in range(workers):
        name = "global_average_f32" if average else "global_max_f32"
        kernel(name, target)(x.ctypes.data, y.ctypes.data, planes, size, worker, workers)
    assert (y[planes:] == 7).all()
    wanted = x.astype(np.float64).mean(1) if average else x.max(1)
    np.testing.assert_allclose(y[:planes], wanted, rtol=1e-6 if average else 0)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_nan_wins(target: Target) -> None:
    lanes = target.lanes(32)
    x = np.ones((3 * lanes,), np.float32)
    for place in (0, 1, lanes, 3 * lanes - 1):
        x[:] = 1
        x[place] = np.nan
        y = np.zeros(1, np.float32)
        kernel("global_max_f32", target)(x.ctypes.data, y.ctypes.data, 1, x.size, 0, 1)
        assert np.isnan(y[0])
