"""Bounds against SciPy, MAPIE and their own definitions."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ronn_hrm.guarantee import bounds

DELTAS = st.sampled_from([0.5, 0.1, 0.01, 1e-6])


@st.composite
def counts(draw, most=10**6):
    n = draw(st.integers(1, most))
    return draw(st.integers(0, n)), n


@given(counts(), st.floats(1e-6, 1 - 1e-6))
def test_binomial_cdf(wrong, p):
    k, n = wrong
    assert bounds.binomial_cdf(k, n, p) == pytest.approx(stats.binom.cdf(k, n, p), rel=1e-8, abs=1e-12)


@pytest.mark.parametrize(
    ("k", "n", "p", "expected"), [(-1, 5, 0.5, 0.0), (5, 5, 0.5, 1.0), (3, 5, 0.0, 1.0), (3, 5, 1.0, 0.0)]
)
def test_binomial_cdf_at_its_ends(k, n, p, expected):
    assert bounds.binomial_cdf(k, n, p) == expected


@settings(max_examples=60, deadline=None)
@given(counts(), DELTAS)
def test_clopper_pearson(wrong, delta):
    k, n = wrong
    found = bounds.clopper_pearson(k, n, delta)
    assert found == pytest.approx(1.0 if k == n else stats.beta.ppf(1 - delta, k + 1, n - k), rel=1e-7)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 100_000), st.floats(1e-4, 0.5), DELTAS)
def test_most_wrong_is_where_the_exact_test_turns(n, alpha, delta):
    k = bounds.most_wrong(n, alpha, delta)
    assert k < 0 or stats.binom.cdf(k, n, alpha) <= delta * (1 + 1e-8)
    assert stats.binom.cdf(k + 1, n, alpha) > delta * (1 - 1e-8)
    if k >= 0:
        assert bounds.clopper_pearson(k, n, delta) <= alpha * (1 + 1e-9)
    assert bounds.clopper_pearson(k + 1, n, delta) > alpha
