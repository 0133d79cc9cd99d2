"""Products with weights of eight bits: exact integer sums on every level, odd sizes, groups, zero points, extremes."""

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
@pytest.mark.parametrize("block", [32, 16384])
def test_the_largest_sums_there_are(level, block, monkeypatch):
    needs(level)
    monkeypatch.setenv("RONN_CPU_LEVEL", level)
    k, n = 16384, 20
    codes = np.zeros((n, k), np.uint8)
    codes[::2] = 255
    codes[0, :256] = np.arange(256)
    session = ronn.Session(product(codes, block, 8), providers=["bitnet"])
    weights = codes.astype(np.int64) - 128
    for value in (127.0, -127.0):
        x = np.full((2, k), value, np.float32)
        expected = (x.astype(np.int64) @ weights.T).astype(np.float32)
        # Blocks are summed in float32: those of 32 have sums below 2**24, many of them may not.
        np.testing.assert_allclose(session.run(x)[0], expected, rtol=0 if block == k else 1e-6)
    assert bits_of(session) == [8]


@pytest.mark.parametrize("level", LEVELS)
def test_integer_sums_are_exact(level, monkeypatch):
    needs(level)
    monkeypatch.setenv("RONN_CPU_LEVEL", level)
    codes = R(0).integers(0, 256, (70, 131)).astype(np.uint8)
    session = ronn.Session(product(codes, 256, 8), providers=["bitnet"])
    for m in (1, 2, 3, 5, 7, 11):
        x = integer_rows(m, 131, m)
        expected = x.astype(np.int64) @ (codes.astype(np.int64) - 128).T
        np.testing.assert_array_equal(session.run(x)[0], expected.astype(np.float32))
    assert bits_of(session) == [8]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    m=st.integers(1, 9), k=st.integers(40, 200), n=st.integers(1, 150), block=st.sampled_from([16, 32, 64, 128]),
    zeros=st.sampled_from(["none", "whole", "real"]), level=st.sampled_from([0, 4]),
)  # fmt: skip
def test_any_shape_gives_what_float_products_give(m, k, n, block, zeros, level):
    r, blocks = R(m * k + n), -(-k // block)
    codes = r.integers(0, 256, (n, k)).astype(np.uint8)
    scale = r.uniform(0.001, 0.01, (n, blocks)).astype(np.float32)
    given_zeros = {
        "none": None, "whole": r.integers(0, 256, (n, blocks)).astype(np.uint8),
        "real": r.uniform(0, 255, (n, blocks)).astype(np.float32),
    }[zeros]  # fmt: skip
    check_against_floats(codes, block, 8, m, scale=scale, zeros=given_zeros, level=level, r=r, rounding=2e-6)


def test_native_and_numpy_kernels_agree(monkeypatch):
    check_native_against_numpy(8, monkeypatch)
