"""Products with weights of four bits: exact integer sums on every level, odd sizes, groups, zero points, extremes."""

from __future__ import annotations

import numpy as np
import pytest
from bit_levels import needs
from hypothesis import given, settings
from hypothesis import strategies as st
from nbits_models import bits_of, check_against_floats, check_native_against_numpy, product
from test_products import LEVELS, integer_rows

import ronn
from ronn_provider_cpu.compiling import unusable

pytestmark = pytest.mark.skipif(bool(unusable()), reason=unusable())
R = np.random.default_rng


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("zeros", ["none", "one", "each"])
def test_the_largest_sums_there_are(level, zeros, monkeypatch):
    needs(level)
    monkeypatch.setenv("RONN_CPU_LEVEL", level)
    k, n, block = 4096, 40, 32
    codes = np.zeros((n, k), np.uint8)
    codes[::2] = 15
    codes[0, :16] = np.arange(16)
    zero = {"none": None, "one": np.full((n, k // block), 15, np.uint8)}.get(zeros)
    if zeros == "each":
        zero = np.repeat(np.where(np.arange(n) % 4 < 2, 0, 15)[:, None], k // block, 1).astype(np.uint8)
    session = ronn.Session(product(codes, block, 4, zeros=zero), providers=["bitnet"])
    weights = codes.astype(np.int64) - (8 if zero is None else zero[:, :1].astype(np.int64))
    for value in (127.0, -127.0):
        x = np.full((3, k), value, np.float32)
        np.testing.assert_array_equal(session.run(x)[0], (x.astype(np.int64) @ weights.T).astype(np.float32))
    assert bits_of(session) == [4]


@pytest.mark.parametrize("level", LEVELS)
def test_integer_sums_are_exact(level, monkeypatch):
    needs(level)
    monkeypatch.setenv("RONN_CPU_LEVEL", level)
    codes = R(0).integers(0, 16, (70, 131)).astype(np.uint8)
    session = ronn.Session(product(codes, 256, 4), providers=["bitnet"])
    for m in (1, 2, 3, 5, 7, 11):
        x = integer_rows(m, 131, m)
        expected = x.astype(np.int64) @ (codes.astype(np.int64) - 8).T
        np.testing.assert_array_equal(session.run(x)[0], expected.astype(np.float32))
    assert bits_of(session) == [4]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    m=st.integers(1, 9), k=st.integers(17, 200), n=st.integers(1, 150), block=st.sampled_from([16, 32, 64, 128]),
    with_zeros=st.booleans(), level=st.sampled_from([0, 4]),
)  # fmt: skip
def test_any_shape_gives_what_float_products_give(m, k, n, block, with_zeros, level):
    r, blocks = R(m * k + n), -(-k // block)
    codes = r.integers(0, 16, (n, k)).astype(np.uint8)
    codes[0, :17] = np.arange(17) % 16
    scale = r.uniform(0.01, 0.1, (n, blocks)).astype(np.float32)
    zeros = r.integers(0, 16, (n, blocks)).astype(np.uint8) if with_zeros else None
    check_against_floats(codes, block, 4, m, scale=scale, zeros=zeros, level=level, r=r, rounding=1e-6)


def test_native_and_numpy_kernels_agree(monkeypatch):
    check_native_against_numpy(4, monkeypatch)
