"""Differences of values: tolerances, NaN, infinities, kinds of values, figures."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import ronn
from ronn.numerics.difference import Difference, Tolerance, measure, worst

F = np.float32
ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int32, np.uint8, np.bool_]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
)


@settings(max_examples=60, deadline=None)
@given(ARRAYS)
def test_a_value_equals_itself(a: np.ndarray) -> None:
    found = measure(a, a.copy())
    assert found.equal and found.differing == 0 and found.not_finite == 0 and found.max_abs == 0
    assert found.cosine is None or found.cosine == pytest.approx(1)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(F, hnp.array_shapes(max_dims=3), elements=st.floats(-1e6, 1e6, width=32)), st.integers(0, 10**6),
    st.sampled_from([np.nan, np.inf, -np.inf]),
)  # fmt: skip
def test_one_odd_element_is_found(a: np.ndarray, where: int, odd: float) -> None:
    b = a.copy()
    b.flat[where % a.size] = odd
    for left, right in ((a, b), (b, a)):
        found = measure(left, right)
        assert not found.equal and found.not_finite == 1 and found.badness == math.inf
        assert ("NaN" if np.isnan(odd) else "infinite") in found.reason
    assert measure(b, b).equal


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1e-2), st.floats(1e-3, 1e3), st.floats(0.01, 100))
def test_the_tolerance_is_what_it_says(rtol: float, scale: float, times: float) -> None:
    a = np.array([scale, scale / 2, 0.0])
    gap = times * rtol * scale + 1e-12
    found = measure(a, a + np.array([0, gap, 0]), Tolerance(rtol=rtol, atol=1e-9))
    if abs(times - 1) > 1e-3 and rtol > 1e-6:
        assert found.equal == (gap <= 1e-9 + rtol * scale)
    assert found.scale == scale and found.max_abs == pytest.approx(gap, rel=1e-6, abs=1e-12)


def test_figures() -> None:
    a = np.array([3, 4, 0, 0], F)
    found = measure(a, a + F(0.4) * np.array([0, 1, 0, 0], F))
    assert (found.max_abs, found.max_rel) == (pytest.approx(0.4, rel=1e-5), pytest.approx(0.1, rel=1e-5))
    assert found.snr_db == pytest.approx(10 * math.log10(25 / 0.16), rel=1e-4) and found.differing == 0.25
    assert found.cosine == pytest.approx(np.dot(a, [3, 4.4, 0, 0]) / (5 * np.hypot(3, 4.4)), rel=1e-6)
    assert measure(a, a).snr_db == math.inf and measure(a * 0, a * 0).cosine == 1.0
    assert measure(np.zeros(3), np.ones(3)).cosine == 0.0
    large = np.full(4, 1e200)
    assert measure(large, large * 2).cosine == pytest.approx(1) and measure(large, large * 2).snr_db == pytest.approx(0)


def test_classes() -> None:
    scores = np.eye(4, 12, dtype=F)
    other = scores.copy()
    other[0] = np.roll(scores[0], 1)
    assert measure(scores, scores).argmax == 1.0 and measure(scores, other).argmax == 0.75
    assert measure(np.arange(12), np.arange(12)).argmax is None and measure(scores[:, :5], scores[:, :5]).argmax is None
    assert measure(scores[:, :, None, None], other[:, :, None, None]).argmax == 0.75


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        (np.zeros(3, F), np.zeros(4, F), "shape [4], expected [3]"),
        (np.zeros(3, F), [np.zeros(3, F)], "a list, expected a ndarray"),
        ([np.zeros(1, F)], [], "a sequence of 0, expected one of 1"),
        ({"a": 1.0}, {"b": 1.0}, "other keys"),
        (None, np.zeros(1, F), "absent in one only"),
        (np.array(["a", "b"], object), np.array(["a", "c"], object), "1 of 2 strings differ"),
        (np.array(["a"], object), np.zeros(1, F), "dtype float32, expected object"),
        (np.array([1, 2], np.int64), np.array([1, 3], np.int64), "1 of 2 elements differ"),
        (np.array([True]), np.array([False]), "1 of 1 elements differ"),
    ],
)
def test_what_differs_in_kind(a: Any, b: Any, reason: str) -> None:
    found = measure(a, b)
    assert not found.equal and reason in found.reason


def test_defaults_by_dtype() -> None:
    half = np.array([1.0, 0.5], ml_dtypes.bfloat16)
    assert measure(half, (half * ml_dtypes.bfloat16(1.01))).equal
    assert not measure(np.ones(2, F), np.ones(2, F) * F(1.01)).equal
    assert measure(np.array([7], np.uint8), np.array([8], np.uint8)).equal  # a step of something quantised
    assert not measure(np.array([7], np.uint8), np.array([9], np.uint8)).equal
    assert not measure(np.array([7], np.int32), np.array([8], np.int32)).equal
    assert measure(np.array([7], np.int32), np.array([8], np.int32), Tolerance(atol=1)).equal
    four = np.array([1, 2], ml_dtypes.int4)
    assert measure(four, four).equal
    assert measure([{"a": 1.0}], [{"a": 1.0}]).equal and measure(None, None).equal and measure([], []).equal
    assert measure(np.array([1 + 2j]), np.array([1 + 2j])).equal


def test_share_and_order() -> None:
    a, b = np.zeros(100, F), np.zeros(100, F)
    b[:2] = 1
    assert not measure(a, b).equal and measure(a, b, Tolerance(share=0.02)).equal
    small, nan = measure(np.ones(1), np.ones(1) * 1.1), Difference(False, "NaN", not_finite=1)
    assert worst([Difference(True), small, nan]) is nan and worst([small, Difference(True)]) is small
    for wrong in ({"rtol": -1}, {"atol": math.nan}, {"share": 2}):
        with pytest.raises(ronn.OptionError):
            Tolerance(**wrong)
