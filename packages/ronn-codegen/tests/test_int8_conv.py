"""Int8 planes, depthwise filters and pools hold against NumPy, bit by bit, on every target."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ronn_codegen.simd.target import AVX2, BASELINE, Target, host
from ronn_codegen.templates import int8_conv, int8_gemm, int8_pack

HOST = host()
TARGETS = [t for t in dict.fromkeys((HOST, AVX2, BASELINE)) if t.bits <= HOST.bits]
FEW = settings(max_examples=12, deadline=None)
F = np.float32
each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)


@cache
def kernel(target: Target, name: str):
    return getattr(int8_gemm if name == "int8_planes" else int8_conv, name)(target)


def address(array: np.ndarray) -> int:
    return array.ctypes.data


def values(rng: np.random.Generator, shape: tuple[int, ...], dtype: type, extreme: bool) -> np.ndarray:
    info = np.iinfo(dtype)
    if extreme:
        return rng.choice(np.array([info.min, info.max], dtype), shape)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


@each_target
@FEW
@given(images=st.integers(1, 3), m=st.integers(1, 40), n=st.integers(1, 40), groups=st.integers(1, 9),
       extreme=st.booleans(), zero=st.integers(0, 255), workers=st.integers(1, 3), seed=st.integers(0, 99))  # fmt: skip
def test_planes(target: Target, images, m, n, groups, extreme, zero, workers, seed):
    rng, k = np.random.default_rng(seed), 4 * groups
    a, b = values(rng, (images * m, k), np.uint8, extreme), values(rng, (k, n), np.int8, extreme)
    tile = int8_pack.planes_tile(target)
    packed, table = int8_pack.pack(b[None], tile), int8_pack.rows_table(np.arange(images * m) * k)
    sums = int8_pack.pad_columns(int8_pack.row_sums(b[None]), n, tile, np.int32)
    scale, bias = (int8_pack.pad_columns(rng.random(n), n, tile, F) for _ in range(2))
    init, zero_at = np.zeros_like(sums), np.array([zero], np.uint8)
    y = np.zeros((images, n, m), np.int32)
    want = ((a.astype(np.int64) - zero) @ b.astype(np.int64)).reshape(images, m, n).transpose(0, 2, 1)
    for raw in (1, 0):
        for worker in range(workers):
            kernel(target, "int8_planes")(
                address(a), address(table), images, m, n, address(packed), 1, 0, 1, 0, groups, address(y), 4 * m,
                address(init), address(sums), address(zero_at), address(scale), 0, address(bias), F(-np.inf),
                F(np.inf), 0, 0, raw, worker, workers,
            )  # fmt: skip
        if raw:
            np.testing.assert_array_equal(y, want)
        else:
            np.testing.assert_array_equal(y.view(F), want.astype(F) * scale[:n, None] + bias[:n, None])


@each_target
@FEW
@given(size=st.integers(3, 7), n=st.integers(1, 40), dilation=st.integers(1, 2), extreme=st.booleans(),
       zero=st.integers(0, 255), seed=st.integers(0, 99))  # fmt: skip
def test_depthwise(target: Target, size, n, dilation, extreme, zero, seed):
    """A filter of 3 x 2 over an image that carries its padding."""
    rng = np.random.default_rng(seed)
    wide = size + 2 * dilation
    x, w = values(rng, (wide, wide, n), np.uint8, extreme), values(rng, (6, n), np.int8, extreme)
    memory = np.concatenate([x.reshape(-1), np.zeros(64, np.uint8)])
    tile = int8_pack.depthwise_tile(target)
    packed = int8_pack.pack_depthwise(w, tile)
    i, j = np.ogrid[:size, :size]
    table = int8_pack.rows_table((i * wide + j) * n)
    sums = int8_pack.pad_columns(w.sum(0, dtype=np.int32), n, tile, np.int32)
    init, scale, zero_at = np.zeros_like(sums), np.zeros(sums.size, F), np.array([zero], np.uint8)
    y = np.zeros((size, size, n), np.int32)
    for worker in range(2):
        kernel(target, "int8_depthwise_words")(
            address(memory), address(table), size * size, n, address(packed), 3, dilation * wide * n, 2, dilation * n,
            0, address(y), 4 * n, address(init), address(sums), address(zero_at), address(scale), 0, address(scale),
            F(0), F(0), 0, 0, 1, worker, 2,
        )  # fmt: skip
    shifted = x.astype(np.int64) - zero
    want = sum(
        shifted[r * dilation : r * dilation + size, s * dilation : s * dilation + size] * w[2 * r + s].astype(np.int64)
        for r in range(3)
        for s in range(2)
    )
    np.testing.assert_array_equal(y, want)


@each_target
@FEW
@given(c=st.sampled_from([1, 3, 16, 37, 70]), pad=st.integers(0, 1), seed=st.integers(0, 99))
def test_pools(target: Target, c, pad, seed):
    rng = np.random.default_rng(seed)
    x = values(rng, (2, 7, 8, c), np.uint8, False)
    oh, ow = (7 + 2 * pad - 3) // 2 + 1, (8 + 2 * pad - 2) // 1 + 1
    most, mean = np.zeros((2, oh, ow, c), np.uint8), np.zeros((2, oh, ow, c), np.uint8)
    for worker in range(2):
        kernel(target, "int8_max_pool")(
            address(x), address(most), 2, 7, 8, c, oh, ow, 3, 2, 2, 1, 1, 1, pad, pad, worker, 2
        )
        kernel(target, "int8_average_pool")(
            address(x), address(mean), 2, 7, 8, c, oh, ow, 3, 2, 2, 1, pad, pad, 0, 9, F(0.5), F(-40), F(215), 40,
            worker, 2,
        )  # fmt: skip
    for oy in range(oh):
        for ox in range(ow):
            rows = slice(max(2 * oy - pad, 0), 2 * oy - pad + 3)
            window = x[:, rows, max(ox - pad, 0) : ox - pad + 2].astype(np.int64)
            np.testing.assert_array_equal(most[:, oy, ox], window.max((1, 2)))
            count = window.shape[1] * window.shape[2]
            real = (window - 9).sum((1, 2)).astype(F) * F(F(0.5) / F(count))
            np.testing.assert_array_equal(mean[:, oy, ox], np.rint(np.clip(real, -40, 215)) + 40)
