"""The matrix product template against float64, for every register tile, edge size and number of workers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ronn_codegen.simd.target import AVX2, AVX512, BASELINE, Target
from ronn_codegen.templates.gemm import KC, gemm, pack, packed_size, tile_of

TARGETS = [BASELINE, AVX2, AVX512]


def product(target: Target, a: np.ndarray, b: np.ndarray, workers: int = 1) -> np.ndarray:
    tile = tile_of(target)
    (m, k), n = a.shape, b.shape[1]
    packed = pack(b, tile)
    assert packed.size == packed_size(k, n, tile)
    c = np.full((m + 1, n + 3), 7, np.float32)
    for worker in range(workers):
        gemm(tile)(m, n, k, a.ctypes.data, a.strides[0] // 4, packed.ctypes.data, c.ctypes.data, n + 3, worker, workers)
    assert (c[m] == 7).all() and (c[:, n:] == 7).all()  # nothing beyond C is written
    return c[:m, :n]


def check(target: Target, m: int, n: int, k: int, workers: int, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((m, k + 2)).astype(np.float32)[:, :k]
    b = rng.standard_normal((k, n)).astype(np.float32)
    exact = a.astype(np.float64) @ b
    bound = np.abs(a).astype(np.float64) @ np.abs(b) * 2.0**-24 * (k + 1)
    assert (np.abs(product(target, a, b, workers) - exact) <= bound).all()


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize(
    "m, n, k", [(1, 1, 1), (6, 64, KC), (7, 65, 3), (13, 130, KC + 1), (5, 63, 2 * KC + 7), (12, 8, 5)]
)
def test_edges_of_tiles_and_blocks(target: Target, m: int, n: int, k: int) -> None:
    for workers in (1, 2, 3):
        check(target, m, n, k, workers)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(TARGETS),
    st.integers(1, 40),
    st.integers(1, 150),
    st.integers(1, 600),
    st.integers(1, 5),
    st.integers(0, 99),
)
def test_any_size(target: Target, m: int, n: int, k: int, workers: int, seed: int) -> None:
    check(target, m, n, k, workers, seed)


def test_workers_write_each_element_once_and_agree_bit_for_bit() -> None:
    rng = np.random.default_rng(1)
    a = rng.standard_normal((50, 300)).astype(np.float32)
    b = rng.standard_normal((300, 200)).astype(np.float32)
    one = product(AVX512, a, b, 1)
    for workers in (2, 3, 7, 64):
        np.testing.assert_array_equal(product(AVX512, a, b, workers), one)


def test_non_contiguous_b_is_packed_right() -> None:
    rng = np.random.default_rng(2)
    a = rng.standard_normal((4, 30)).astype(np.float32)
    b = rng.standard_normal((70, 60)).astype(np.float32).T[:30:1, ::2]
    np.testing.assert_allclose(product(AVX2, a, b), a @ b, rtol=1e-4, atol=1e-5)
