"""Int8 products hold against NumPy's integer arithmetic, bit by bit, on every target."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ronn_codegen.simd.target import AVX2, BASELINE, Target, host
from ronn_codegen.templates import int8_gemm, int8_pack

HOST = host()
TARGETS = [t for t in dict.fromkeys((HOST, AVX2, BASELINE)) if t.bits <= HOST.bits]
F = np.float32


@cache
def kernel(target: Target, kind: str):
    return (int8_gemm.int8_bytes if kind == "bytes" else int8_gemm.int8_words)(target)


def address(array: np.ndarray) -> int:
    return array.ctypes.data


def operands(rng: np.random.Generator, m: int, n: int, k: int, extreme: bool) -> tuple[np.ndarray, np.ndarray]:
    if extreme:
        return rng.choice(np.array([0, 255], np.uint8), (m, k)), rng.choice(np.array([-128, 127], np.int8), (k, n))
    return rng.integers(0, 256, (m, k)).astype(np.uint8), rng.integers(-128, 128, (k, n)).astype(np.int8)


sizes = st.tuples(st.integers(1, 40), st.integers(1, 140), st.integers(1, 12).map(lambda g: 4 * g))


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@settings(max_examples=25, deadline=None)
@given(size=sizes, extreme=st.booleans(), zero=st.integers(0, 255), workers=st.integers(1, 4), seed=st.integers(0, 99))
def test_words(target: Target, size, extreme, zero, workers, seed):
    m, n, k = size
    rng = np.random.default_rng(seed)
    a, b = operands(rng, m, n, k, extreme)
    tile = int8_pack.tile_of(target)
    run = kernel(target, "words")
    col_zero = rng.integers(-128, 128, n)
    packed, table = int8_pack.pack(b[None], tile), int8_pack.rows_table(np.arange(m) * k)

    def columns(values, dtype):
        return int8_pack.pad_columns(values, n, tile, dtype)

    init, scale = columns(rng.integers(-(10**6), 10**6, n), np.int32), columns(rng.random(n), F)
    bias = columns(rng.standard_normal(n), F)
    colsum, zeros = columns(int8_pack.row_sums(b[None], col_zero), np.int32), columns(col_zero, np.int32)
    rowsum = a.sum(1, dtype=np.int32)
    zero_at, factor_at = np.array([zero], np.uint8), np.array([0.37], F)
    want = (a.astype(np.int64) - zero) @ (b.astype(np.int64) - col_zero) + init[:n]
    for raw in (1, 0):
        y = np.zeros((m, n), np.int32)
        for worker in range(workers):
            run(
                address(a), address(table), m, n, address(packed), 1, 0, 1, 0, k // 4, address(y), 4 * n,
                address(init), address(colsum), address(zero_at), address(scale), address(factor_at), address(bias),
                F(-1e4), F(np.inf), address(rowsum), address(zeros), raw, worker, workers,
            )  # fmt: skip
        if raw:
            np.testing.assert_array_equal(y, want)
        else:
            real = want.astype(F) * (factor_at * scale[:n]) + bias[:n]
            np.testing.assert_array_equal(y.view(F), np.maximum(real, F(-1e4)))


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@settings(max_examples=25, deadline=None)
@given(size=sizes, extreme=st.booleans(), out_zero=st.integers(0, 255), workers=st.integers(1, 4), add=st.booleans(),
       stages=st.integers(0, 3), seed=st.integers(0, 99))  # fmt: skip
def test_bytes(target: Target, size, extreme, out_zero, workers, add, stages, seed):
    """Rounding is to even, clamping before the zero point; each stage rounds again."""
    m, n, k = size
    rng = np.random.default_rng(seed)
    a, b = operands(rng, m, n, k, extreme)
    tile = int8_pack.tile_of(target)
    run = kernel(target, "bytes")
    packed, table = int8_pack.pack(b[None], tile), int8_pack.rows_table(np.arange(m) * k)
    scale = int8_pack.pad_columns(rng.choice([2.0**-9, 2.0**-6, 0.003], n), n, tile, F)
    init = int8_pack.pad_columns(rng.integers(-99, 99, n), n, tile, np.int32)
    other = rng.integers(0, 256, (m, n)).astype(np.uint8)
    y = np.full((m, n), 77, np.uint8)
    low, high = F(-out_zero), F(255 - out_zero)
    padded = scale.size
    affine = np.zeros((stages, 2, padded), F)
    affine[:, :, :n] = rng.choice([0.25, 0.75, -1.5], (stages, 2, n))
    limits = np.array([[low, high, 0.5]] * stages, F).reshape(stages, 3)
    for worker in range(workers):
        run(
            address(a), address(table), m, n, address(packed), 1, 0, 1, 0, k // 4, address(y), n, address(init),
            address(init), 0, address(scale), low, high, out_zero, stages, address(affine), 4 * padded,
            address(limits), address(other) if add else 0, n, 1, worker, workers,
        )  # fmt: skip
    total = a.astype(np.int64) @ b.astype(np.int64) + init[:n]
    r = np.rint(np.clip(total.astype(F) * scale[:n], low, high))
    for stage in range(stages):
        r = r * affine[stage, 0, :n] + affine[stage, 1, :n]
        if add and stage == 1:
            r = r + other.astype(F) * F(0.5)
        r = np.rint(np.clip(r, low, high))
    np.testing.assert_array_equal(y, (r + out_zero).astype(np.uint8))
