"""Byte dots are exact on every target; bfloat16 dots agree with float32 arithmetic on widened values."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from numba import njit

from ronn_codegen.simd.dot import bf16_dot, dot4
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.target import AVX2, AVX512, BASELINE, Target, host

HOST = host()
TARGETS = [t for t in dict.fromkeys((HOST, AVX512, AVX2, BASELINE)) if t.bits <= HOST.bits]


def runner(target: Target):
    words = VectorType("i32", target.lanes(32))
    load, store, dot = words.load, words.store, dot4(target)

    @njit(error_model="numpy")
    def run(acc, a, w, y):
        store(y, 0, dot(load(acc, 0), load(a, 0), load(w, 0)))

    return run


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: f"{t.name}{'-vnni' if t.int8_dot else ''}")
def test_dot4_is_exact(target: Target):
    lanes, rng = target.lanes(32), np.random.default_rng(0)
    run = runner(target)
    for trial in range(60):
        if trial < 20:  # extremes, where saturating or 16-bit sums would go wrong
            a = rng.choice(np.array([0, 1, 127, 128, 255], np.uint8), 4 * lanes)
            w = rng.choice(np.array([-128, -127, -1, 0, 127], np.int8), 4 * lanes)
        else:
            a, w = rng.integers(0, 256, 4 * lanes).astype(np.uint8), rng.integers(-128, 128, 4 * lanes).astype(np.int8)
        acc = rng.integers(-(2**31), 2**31, lanes).astype(np.int32)
        y = np.zeros(lanes, np.int32)
        run(acc.ctypes.data, a.ctypes.data, w.ctypes.data, y.ctypes.data)
        products = a.astype(np.int64) * w.astype(np.int64)
        want = (acc.astype(np.int64) + products.reshape(lanes, 4).sum(1)).astype(np.int32)  # sums wrap
        np.testing.assert_array_equal(y, want)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: f"{t.name}{'-vnni' if t.int8_dot else ''}")
def test_bf16_dot(target: Target):
    lanes, rng = target.lanes(32), np.random.default_rng(1)
    floats, words, dot = VectorType("f32", lanes), VectorType("i32", lanes), bf16_dot(target)
    load_f, store_f, load_i = floats.load, floats.store, words.load

    @njit(error_model="numpy")
    def run(acc, a, b, y):
        store_f(y, 0, dot(load_f(acc, 0), load_i(a, 0), load_i(b, 0)))

    a, b = (rng.standard_normal(2 * lanes).astype(ml_dtypes.bfloat16) for _ in range(2))
    acc, y = rng.standard_normal(lanes).astype(np.float32), np.zeros(lanes, np.float32)
    run(acc.ctypes.data, a.ctypes.data, b.ctypes.data, y.ctypes.data)
    want = acc + (a.astype(np.float64) * b.astype(np.float64)).reshape(lanes, 2).sum(1)
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-6)
