"""Products with weights of bytes: to the bit those of the float32 weights; nothing written beside."""

from __future__ import annotations

from math import erf

import ml_dtypes
import numpy as np
from gemm_runs import MODULE, each_level
from guarded import Guarded
from hypothesis import given, settings
from hypothesis import strategies as st

from ronn_codegen.native.library import library
from ronn_codegen.simd.modes import mode_of
from ronn_codegen.templates.gemm_shape import tile_of
from ronn_codegen.templates.int8_pack import pack_rows


@each_level
@settings(max_examples=50, deadline=None)
@given(
    m=st.integers(1, 30), n=st.integers(1, 150), k=st.integers(1, 70), kc=st.sampled_from([8, 16, 512]),
    biased=st.booleans(), activation=st.sampled_from(["", "Relu", "Gelu"]), workers=st.integers(1, 3),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_products(
    level: str, m: int, n: int, k: int, kc: int, biased: bool, activation: str, workers: int, seed: int
) -> None:
    rng, lib = np.random.default_rng(seed), library(level)
    tile = tile_of(lib.machine.target)
    w = rng.integers(-128, 128, (k, n)).astype(np.int8)
    scale = np.zeros(-(-n // tile.lanes) * tile.lanes, np.float32)
    scale[:n] = rng.uniform(0.001, 0.02, n)
    a, bias = rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal(n).astype(np.float32)
    packed = pack_rows(w, tile.lanes, tile.columns)
    apart = 4 * kc * tile.columns
    y, room = Guarded((m, n), np.float32), Guarded((workers, apart), np.uint8)
    mode, p0, p1 = mode_of(activation, [])
    kernel = lib.kernel(MODULE, "gemm_bytes_f32")
    for worker in range(workers):
        kernel(
            m, n, k, kc, a.ctypes.data, k, packed.ctypes.data, scale.ctypes.data, y.address, n, bias.ctypes.data,
            int(biased), mode, p0, p1, room.address, apart, worker=worker, workers=workers,
        )  # fmt: skip
    y.check()
    room.check()
    expected = a.astype(np.float64) @ (w * scale[:n]).astype(np.float64) + (bias if biased else 0)
    if activation == "Relu":
        expected = np.maximum(expected, 0)
    elif activation == "Gelu":
        expected = 0.5 * expected * (1 + np.vectorize(erf)(expected / np.sqrt(2)))
    np.testing.assert_allclose(y.array, expected, rtol=1e-4, atol=1e-4)


@each_level
@settings(max_examples=30, deadline=None)
@given(
    m=st.integers(1, 30), n=st.integers(1, 150), k=st.integers(1, 70), kc=st.sampled_from([8, 16, 512]),
    biased=st.booleans(), workers=st.integers(1, 3), seed=st.integers(0, 99),
)  # fmt: skip
def test_products_with_halves(
    level: str, m: int, n: int, k: int, kc: int, biased: bool, workers: int, seed: int
) -> None:
    rng, lib = np.random.default_rng(seed), library(level)
    tile = tile_of(lib.machine.target)
    w = rng.standard_normal((k, n)).astype(ml_dtypes.bfloat16)
    a, bias = rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal(n).astype(np.float32)
    pairs = np.zeros((k + k % 2, n), ml_dtypes.bfloat16)
    pairs[:k] = w
    words = np.ascontiguousarray(np.moveaxis(pairs.reshape(-1, 2, n), 1, 2)).view(np.int32)[..., 0]
    packed = pack_rows(words, tile.lanes, tile.columns)
    apart = 4 * kc * tile.columns
    y, room = Guarded((m, n), np.float32), Guarded((workers, apart), np.uint8)
    kernel = lib.kernel(MODULE, "gemm_halves_f32")
    for worker in range(workers):
        kernel(
            m, n, k, kc, a.ctypes.data, k, packed.ctypes.data, 0, y.address, n, bias.ctypes.data, int(biased), 0,
            0.0, 0.0, room.address, apart, worker=worker, workers=workers,
        )  # fmt: skip
    y.check()
    room.check()
    exact = a.astype(np.float64) @ w.astype(np.float64) + (bias if biased else 0)
    bound = 2.0**-24 * (k + 3) * (np.abs(a) @ np.abs(w.astype(np.float64)) + np.abs(bias)) * 1.01
    assert (np.abs(y.array - exact) <= bound).all()
