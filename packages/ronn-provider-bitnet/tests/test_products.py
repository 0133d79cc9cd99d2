"""Products with weights of one and two bits: exact integer sums on every level, odd sizes, extremes, bad rows."""

from __future__ import annotations

import numpy as np
import pytest
from bit_levels import needs
from bit_models import product, weights
from hypothesis import given, settings
from hypothesis import strategies as st

import ronn
from ronn_provider_cpu.compiling import unusable

pytestmark = pytest.mark.skipif(bool(unusable()), reason=unusable())
LEVELS = ("native", "avx2", "baseline", "none")


def session(w, level="native", monkeypatch=None, **how):
    if monkeypatch is not None:
        monkeypatch.setenv("RONN_CPU_LEVEL", level)
    return ronn.Session(product(w, **how), providers=["bitnet"])


def operators(s):
    return [n.op for n in s.graph] if not s.stats().plans else [n.op for n in s._base.assigned()]


def integer_rows(m, k, seed):
    """Rows whose largest absolute value is 127, which the quantiser leaves as they are."""
    x = np.random.default_rng(seed).integers(-127, 128, (m, k)).astype(np.float32)
    x[:, seed % k] = 127 * (-1) ** seed
    return x


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("zeros", [True, False])
def test_integer_sums_are_exact(level, zeros, monkeypatch):
    needs(level)
    w = weights(131, 70, zeros=zeros, scale=1.0)
    s = session(w, level, monkeypatch, quantised=True)
    for m in (1, 2, 3, 5, 7, 11):
        x = integer_rows(m, 131, m)
        np.testing.assert_array_equal(s.run(x)[0], (x.astype(np.int64) @ w.astype(np.int64)).astype(np.float32))
    assert operators(s) == ["BitLinear"]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("bits", [1, 2])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums_there_are(level, bits, sign, monkeypatch):
    k = 4096
    w = np.full((k, 40), sign, np.float32)
    if bits == 2:
        w[0, :] = 0
    needs(level)
    s = session(w, level, monkeypatch, quantised=True)
    for value in (127.0, -127.0):
        x = np.full((3, k), value, np.float32)
        np.testing.assert_array_equal(s.run(x)[0], x @ w)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.integers(1, 9), st.sampled_from([(64, 0), (130, 0), (256, 64), (96, 32), (1030, 0)]), st.integers(1, 150),
    st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
def test_any_shape_gives_what_float_products_give(m, sizes, n, zeros, quantised, with_bias):
    (k, group), r = sizes, np.random.default_rng(m + n)
    w = weights(k, max(n, 16), zeros=zeros, group=group, seed=n)
    bias = r.standard_normal(w.shape[1]).astype(np.float32) if with_bias else None
    s = session(w, quantised=quantised, bias=bias)
    x = r.standard_normal((m, k)).astype(np.float32)
    given_ = x
    if quantised:
        steps = np.float32(127) / np.maximum(np.abs(x).max(axis=1, keepdims=True), np.float32(1e-5))
        given_ = np.clip(np.rint(x * steps), -128, 127) / steps
    expected = given_.astype(np.float64) @ w + (0 if bias is None else bias)
    # What 16 bits leave of an activation, K of them with random signs; rounding alone where they are bytes already.
    rounded = 0 if quantised else 1.6e-5 * 6 * k**0.5 * np.abs(w).max() * np.abs(x).max()
    bound = 1e-6 * np.abs(expected).max() + rounded
    assert np.abs(s.run(x)[0] - expected).max() <= bound
    assert "BitLinear" in operators(s)


def test_rows_do_not_depend_on_their_neighbours():
    w = weights(192, 200, zeros=True)
    s = session(w, quantised=False)
    x = np.random.default_rng(0).standard_normal((13, 192)).astype(np.float32)
    whole = s.run(x)[0]
    for i in range(13):
        np.testing.assert_array_equal(s.run(x[i : i + 1])[0][0], whole[i])


@pytest.mark.parametrize("level", ["native", "none"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_with_a_bad_number_is_nan_and_others_are_not(level, bad, monkeypatch):
    w = weights(64, 48, zeros=True)
    s = session(w, level, monkeypatch, quantised=False)
    x = np.ones((3, 64), np.float32)
    good = s.run(x)[0]
    x[1, 5] = bad
    y = s.run(x)[0]
    assert np.isnan(y[1]).all()
    np.testing.assert_array_equal(y[[0, 2]], good[[0, 2]])


@pytest.mark.parametrize("quantised", [True, False])
def test_rows_of_zeros_and_of_tiny_numbers(quantised):
    w = weights(64, 48, zeros=False)
    s = session(w, quantised=quantised)
    assert not s.run(np.zeros((2, 64), np.float32))[0].any()
    tiny = s.run(np.full((1, 64), 1e-30, np.float32))[0]
    assert np.isfinite(tiny).all()


def test_threads_change_no_bit():
    w = weights(512, 1024, zeros=True)
    x = np.random.default_rng(0).standard_normal((40, 512)).astype(np.float32)
    found = [
        ronn.Session(product(w, quantised=False), providers=["bitnet"], options={"threads": t}).run(x)[0]
        for t in (1, 2, 4)
    ]
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_native_and_numpy_kernels_agree(monkeypatch):
    w = weights(256, 100, zeros=True, group=64)
    x = np.random.default_rng(3).standard_normal((6, 256)).astype(np.float32)
    native = session(w, quantised=False).run(x)[0]
    plain = session(w, "none", monkeypatch, quantised=False).run(x)[0]
    np.testing.assert_allclose(native, plain, rtol=0, atol=2e-6 * np.abs(plain).max())
