"""Products of bfloat16 operands against float64: exact but for the order of additions, on every level."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from gemm_runs import GUARD, LEVELS, Epilogue, each_level, product_bf16
from hypothesis import given, settings
from hypothesis import strategies as st

from ronn_codegen.native.library import library

MODULE = "ronn_codegen.templates.bf16"


def rounded(x: np.ndarray) -> np.ndarray:
    """To bfloat16 and back, by another implementation."""
    with np.errstate(over="ignore", invalid="ignore"):
        return x.astype(ml_dtypes.bfloat16).astype(np.float32)


def specials() -> np.ndarray:
    """float32 of all kinds, ties among them, and with random bits."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 4000, dtype=np.uint32)
    ties = (bits & 0xFFFF0000) | 0x8000
    edges = np.array([0, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0xFFFFFFFF, 0x7F7FFFFF], np.uint32)
    return np.concatenate([bits, ties, edges, np.arange(64, dtype=np.uint32)]).view(np.float32)


def same(got: np.ndarray, want: np.ndarray) -> None:
    """The bits of bfloat16, any NaN for a NaN."""
    nan = np.isnan(want)
    np.testing.assert_array_equal(np.isnan(got), nan)
    np.testing.assert_array_equal(got[~nan].view(np.uint32), want[~nan].view(np.uint32))


def halves(words: np.ndarray) -> np.ndarray:
    """Words [..., n] as the float32 of their lower and upper halves, [..., n, 2]."""
    return (words.view(np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(*words.shape, 2)


@each_level
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("columns", [1, 2, 15, 17, 64, 1025, 2072])
def test_pairs_of_a_row(level: str, columns: int, workers: int) -> None:
    x = np.resize(specials(), (3, columns + 5))
    words = (columns + 1) // 2
    y = np.full((3, words + 2), 7, np.int32)
    kernel = library(level).kernel(MODULE, "bf16_pairs")
    for worker in range(workers):
        kernel(x.ctypes.data, y.ctypes.data, 3, columns, columns + 5, words + 2, worker=worker, workers=workers)
    assert (y[:, words:] == 7).all()
    got = halves(y[:, :words]).reshape(3, -1)
    same(got[:, :columns], rounded(x[:, :columns]))
    assert (got[:, columns:] == 0).all()


@each_level
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("rows, columns", [(1, 1), (2, 15), (5, 16), (8, 17), (3, 70)])
def test_pairs_of_a_column(level: str, rows: int, columns: int, workers: int) -> None:
    x = np.resize(specials()[::-1], (2, rows, columns)).copy()
    pairs = (rows + 1) // 2
    y = np.full((2, pairs * columns + 3), 7, np.int32)
    kernel = library(level).kernel(MODULE, "bf16_row_pairs")
    for worker in range(workers):
        kernel(
            x.ctypes.data, y.ctypes.data, rows, columns, 2, columns, rows * columns, y.shape[1],
            worker=worker, workers=workers,
        )  # fmt: skip
    assert (y[:, pairs * columns :] == 7).all()
    got = halves(np.ascontiguousarray(y[:, : pairs * columns]).reshape(2, pairs, columns))
    got = np.moveaxis(got, -1, 2).reshape(2, 2 * pairs, columns)
    same(got[:, :rows], rounded(x))
    assert (got[:, rows:] == 0).all()


def exact(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The product of rounded operands in float64, and a bound of the error of summing in float32."""
    wide_a, wide_b = (rounded(x).astype(np.float64) for x in (a, b))
    return wide_a @ wide_b, np.abs(wide_a) @ np.abs(wide_b) * 2.0**-24 * (a.shape[-1] + 4) + 1e-30


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["native", *LEVELS]),
    st.tuples(st.integers(1, 40), st.integers(1, 150), st.integers(1, 1100)),
    st.integers(1, 3),
    st.integers(1, 5),
    st.booleans(),
    st.integers(0, 99),
)
def test_any_size_and_batch(
    level: str, size: tuple[int, int, int], batch: int, workers: int, packed: bool, seed: int
) -> None:
    m, n, k = size
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((batch, m, k), (batch, k, n)))
    want, bound = exact(a, b)
    got = product_bf16(level, a, b, packed=packed, workers=workers)
    assert (np.abs(got - want) <= bound).all()
    # Against operands that are not rounded: 2^-8 of every product for each of its two factors.
    assert (np.abs(got - a.astype(np.float64) @ b) <= 2.0**-6.98 * (np.abs(a) @ np.abs(b))).all()


@pytest.mark.parametrize("level", ["native", *LEVELS])
def test_shares_agree_bit_for_bit(level: str) -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((2, 130, 701), (2, 701, 200)))
    epilogue = Epilogue(1.5, 0.5, rng.standard_normal((130, 200)).astype(np.float32), "Gelu")
    one = product_bf16(level, a, b, epilogue)
    for workers in (2, 3, 7, 64):
        np.testing.assert_array_equal(product_bf16(level, a, b, epilogue, workers=workers), one)


@pytest.mark.parametrize("level", ["native", *LEVELS])
def test_epilogue(level: str) -> None:
    rng = np.random.default_rng(2)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((1, 9, 64), (1, 64, 70)))
    bias = rng.standard_normal(70).astype(np.float32)[None]  # rows 0 apart
    want, bound = exact(a, b)
    got = product_bf16(level, a, b, Epilogue(0.5, 2.0, bias, "Relu"))
    assert (np.abs(got - np.maximum(0.5 * want + 2.0 * bias, 0)) <= bound + 1e-5).all()
    assert GUARD not in got


@pytest.mark.parametrize("level", ["native", *LEVELS])
def test_infinities_and_nan_go_through(level: str) -> None:
    a, b = np.ones((1, 2, 33), np.float32), np.ones((1, 33, 40), np.float32)
    a[0, 0, 5], b[0, 7, 3] = np.inf, np.nan
    got = product_bf16(level, a, b)
    assert np.isnan(got[0, :, 3]).all()
    assert (np.delete(got[0, 0], 3) == np.inf).all() and (np.delete(got[0, 1], 3) == 33).all()
