"""Integers with scales and zero points become codes that stand for the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ronn_provider_bitnet.passes.codes import MANY, Codes, few

R = np.random.default_rng


def numbers(found: Codes):
    """The weights f64[N, K] that codes stand for."""
    k = found.codes.shape[1]
    width = found.group if found.group else k
    scale, zero = (np.repeat(a.astype(np.float64), width, axis=1)[:, :k] for a in (found.scale, found.zero))
    codes = found.codes.astype(np.float64)
    return ((2 * codes - 1) if found.bits == 1 else codes - zero) * scale


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 6), k=st.integers(1, 70), group=st.sampled_from([0, 16, 32]), spread=st.integers(0, 15),
    step=st.sampled_from([1, 2, 3, 7]), low=st.integers(-20, 20), by_group=st.booleans(), same=st.booleans(),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_codes_stand_for_the_same_numbers(n, k, group, spread, step, low, by_group, same, seed):
    r = R(seed)
    groups = -(-k // group) if group else 1
    scale = np.full((n, groups), 0.5) if same else r.choice([0.25, 0.5, 1, 2], (n, groups))
    zeros = r.integers(-9, 9, (n, groups)) if by_group else np.full((n, groups), 3)
    each = np.repeat(zeros, group, axis=1)[:, :k] if group else zeros
    q = r.integers(low, low + spread + 1, (n, k)) * step + (each if by_group else 0)
    found = few(q, scale.astype(np.float32), zeros, group)
    if isinstance(found, str):
        assert found == MANY
        values = np.unique(q - each)
        assert np.ptp(values) / max(np.gcd.reduce(np.abs(values)), 1) > 15 and np.ptp(q) > 15
        return
    spread_scale = np.repeat(scale, group, axis=1)[:, :k] if group else scale
    np.testing.assert_array_equal(numbers(found), (q - each) * spread_scale)
    assert found.codes.max(initial=0) < 1 << found.bits
    assert found.codes.dtype == np.uint8


@pytest.mark.parametrize(
    ("values", "bits"),
    [([-1, 0, 1], 2), ([-3, 3], 1), ([0], 2), ([5], 1), ([0, 1, 2, 3], 2), ([0, 1, 2, 3, 4], 4), (range(-8, 8), 4)],
)
def test_as_few_bits_as_it_takes(values, bits):
    q = np.resize(np.array(list(values)), (4, 32))
    assert few(q, np.ones((4, 1), np.float32), np.zeros((4, 1), np.int64), 0).bits == bits


@pytest.mark.parametrize("values", [range(17), [-128, 127], [0, 128, 255], [0, 1, 2**31 - 1]])
def test_other_values_are_told_from_these(values):
    q = np.resize(np.array(list(values)), (4, 34))
    assert few(q, np.ones((4, 1), np.float32), np.zeros((4, 1), np.int64), 0) == MANY


def test_zero_points_by_row_are_no_values():
    """-1, 0 and 1 about another zero point in each row: two bits, one zero point for all."""
    zeros = np.array([[-100], [0], [99]])
    q = R(0).integers(-1, 2, (3, 64)) + zeros
    found = few(q, np.ones((3, 1), np.float32), zeros, 0)
    assert (found.bits, found.one_zero) == (2, 1)


def test_real_zero_points_stay_real():
    q, zeros = np.resize(np.arange(4), (2, 32)), np.array([[0.5], [1.25]])
    found = few(q, np.ones((2, 1), np.float32), zeros, 0)
    assert found.one_zero is None
    np.testing.assert_allclose(numbers(found), q - zeros)


def test_weights_without_elements():
    assert "without elements" in few(np.zeros((0, 4), np.int64), np.ones((0, 1), np.float32), np.zeros((0, 1)), 0)
