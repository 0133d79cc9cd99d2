"""Fits and GPTQ: nothing rounds better where an optimum is claimed, and errors shrink where inputs say so."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ronn_provider_bitnet.quantize.gptq import gptq, nearest
from ronn_provider_bitnet.quantize.grids import FITS, binary, ternary, ternary_absmean, uniform

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(0, 1000))


def draw(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def error(w, fit):
    grid = fit(w)
    return ((grid.values(grid.codes(w)) - w).astype(np.float64) ** 2).sum(axis=1)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(SHAPES)
def test_ternary_is_the_best_there_is(case):
    n, k, seed = case
    w = draw((n, k), seed)
    found = error(w, ternary)
    for row, mine in zip(w.astype(np.float64), found, strict=True):
        best = min(
            ((row - s * signs) ** 2).sum()
            for signs in map(np.array, itertools.product((-1, 0, 1), repeat=k))
            if signs.any()
            for s in [row @ signs / (signs @ signs)]
        )
        assert mine <= best * (1 + 1e-5) + 1e-12


@settings(max_examples=40, deadline=None, derandomize=True)
@given(SHAPES)
def test_binary_is_the_best_there_is(case):
    n, k, seed = case
    w = draw((n, k), seed).astype(np.float64)
    expected = (w**2).sum(axis=1) - np.abs(w).sum(axis=1) ** 2 / k
    np.testing.assert_allclose(error(w.astype(np.float32), binary), expected, rtol=1e-4, atol=1e-6)


def test_fits_in_order_of_their_bits():
    w = draw((16, 256), 0)
    errors = [error(w, FITS[bits]).sum() for bits in ("1", "1.58", "2", "4", "8")]
    assert errors == sorted(errors, reverse=True)
    assert error(w, ternary).sum() <= error(w, ternary_absmean).sum()


@pytest.mark.parametrize("bits", ["1", "1.58", "2", "4", "8"])
def test_zeros_and_constants(bits):
    for w in (np.zeros((2, 8), np.float32), np.full((2, 8), 0.5, np.float32), np.full((2, 8), -3, np.float32)):
        grid = FITS[bits](w)
        assert np.isfinite(grid.values(grid.codes(w))).all()
        assert error(w, FITS[bits]).max() <= 1e-6


def test_uniform_keeps_zero():
    w = np.abs(draw((4, 64), 1)) + 1
    w[:, 0] = 0
    grid = uniform(4)(w)
    assert (grid.values(grid.codes(w))[:, 0] == 0).all()


@pytest.mark.parametrize("bits", ["1", "1.58", "2", "4"])
@pytest.mark.parametrize("group", [0, 64, 32, 100])
def test_gptq_beats_rounding_on_inputs_that_hang_together(bits, group):
    r = np.random.default_rng(5)
    k, n = 300, 24
    mix = r.standard_normal((k, 40)) @ r.standard_normal((40, k)) * 0.3 + np.eye(k)
    x = r.standard_normal((2000, k)) @ mix
    w = r.standard_normal((n, k)).astype(np.float32)
    plain, better = nearest(w, FITS[bits], group), gptq(w, x.T @ x, FITS[bits], group)

    def off(rounded):
        return np.linalg.norm(x @ (rounded.values - w).T)

    assert off(better) < 0.8 * off(plain)
    assert better.codes.shape == w.shape and better.scale.shape == (n, -(-k // (group if group else k)))


def test_gptq_with_independent_inputs_is_rounding():
    w = draw((8, 64), 3)
    np.testing.assert_array_equal(gptq(w, np.eye(64), FITS["4"], 32).codes, nearest(w, FITS["4"], 32).codes)


def test_inputs_that_are_always_zero():
    w = draw((8, 64), 3)
    h = np.eye(64)
    h[5, 5] = 0
    rounded = gptq(w, h, FITS["1.58"])
    assert (rounded.values[:, 5] == 0).all()
