"""Bounds against SciPy, MAPIE and their own definitions."""

import numpy as np
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


@settings(derandomize=True)
@given(counts(), st.floats(1e-6, 1 - 1e-6))
def test_binomial_cdf(wrong, p):
    k, n = wrong
    assert bounds.binomial_cdf(k, n, p) == pytest.approx(stats.binom.cdf(k, n, p), rel=1e-8, abs=1e-12)


@pytest.mark.parametrize(
    ("k", "n", "p", "expected"), [(-1, 5, 0.5, 0.0), (5, 5, 0.5, 1.0), (3, 5, 0.0, 1.0), (3, 5, 1.0, 0.0)]
)
def test_binomial_cdf_at_its_ends(k, n, p, expected):
    assert bounds.binomial_cdf(k, n, p) == expected


@settings(derandomize=True, max_examples=60, deadline=None)
@given(counts(), DELTAS)
def test_clopper_pearson(wrong, delta):
    k, n = wrong
    found = bounds.clopper_pearson(k, n, delta)
    assert found == pytest.approx(1.0 if k == n else stats.beta.ppf(1 - delta, k + 1, n - k), rel=1e-7)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.integers(1, 100_000), st.floats(1e-4, 0.5), DELTAS)
def test_most_wrong_is_where_the_exact_test_turns(n, alpha, delta):
    k = bounds.most_wrong(n, alpha, delta)
    assert k < 0 or stats.binom.cdf(k, n, alpha) <= delta * (1 + 1e-8)
    assert stats.binom.cdf(k + 1, n, alpha) > delta * (1 - 1e-8)
    if k >= 0:
        assert bounds.clopper_pearson(k, n, delta) <= alpha * (1 + 1e-9)
    assert bounds.clopper_pearson(k + 1, n, delta) > alpha


@settings(derandomize=True, max_examples=20, deadline=None)
@given(st.integers(20, 3000), st.floats(0.001, 0.4), st.sampled_from([0.2, 0.1, 0.01]))
def test_clopper_pearson_errs_with_probability_delta_at_most(n, p, delta):
    """Exactly, over all outcomes: those that would put the bound below the truth are no likelier than delta."""
    k = np.arange(n + 1)
    worst = np.flatnonzero(stats.binom.cdf(k, n, p) > delta)[0]  # the bound rises with k: only smaller k may err
    assert bounds.clopper_pearson(int(worst), n, delta) >= p * (1 - 1e-9)
    assert stats.binom.cdf(worst - 1, n, p) <= delta


@pytest.mark.parametrize(
    ("n", "total", "alpha"),
    [(1000, 3.0, 0.01), (1000, 3.4, 0.01), (500, 0.0, 0.02), (2000, 90.25, 0.05), (50, 40, 0.3)],
)
def test_hoeffding_bentkus_is_that_of_mapie(n, total, alpha):
    from mapie.risk_control.methods import compute_hoeffding_bentkus_p_value

    expected = compute_hoeffding_bentkus_p_value(np.array([total / n]), n, alpha)
    assert bounds.hoeffding_bentkus_p(total, n, alpha) == pytest.approx(min(1.0, float(expected.item())), rel=1e-6)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.integers(1, 20_000), st.floats(1e-3, 0.5), st.sampled_from([0.5, 0.1, 0.01]), st.floats(0, 1))
def test_hoeffding_bentkus_and_its_largest_sum_agree(n, alpha, delta, part):
    most = bounds.most_total(n, alpha, delta)
    if most >= 0.0:
        assert bounds.hoeffding_bentkus_p(most, n, alpha) <= delta
        assert bounds.hoeffding_bentkus(most * part, n, delta) <= alpha * (1 + 1e-9)
    over = max(most, 0.0) + 2e-9 * n
    assert bounds.hoeffding_bentkus_p(over, n, alpha) > delta or over > n * alpha


LOSSES = st.lists(st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 1.0]) | st.floats(0, 1), min_size=1, max_size=60)


def wealth_by_hand(losses, mean):
    """What 1 becomes: each stake bets its share of the largest bet on every loss; the mean over stakes."""
    largest = 1 / (1 - mean)
    return np.mean([np.prod([1 + stake * largest * (mean - loss) for loss in losses]) for stake in bounds.STAKES])


@settings(derandomize=True)
@given(LOSSES, st.floats(0.01, 0.9))
def test_wealth_of_bets_is_that_by_hand(losses, mean):
    losses = np.array(losses)
    expected = wealth_by_hand(losses, mean)
    found = np.exp(bounds.bets(losses[losses > 0], len(losses), mean))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-300)


@settings(derandomize=True)
@given(LOSSES, st.floats(0.01, 0.9), st.integers(0, 60))
def test_wealth_along_the_losses(losses, mean, cut):
    """After i losses, the others count as 0; in two parts as in one."""
    n, losses = len(losses) + 3, np.array([x for x in losses if x > 0.0])
    whole = bounds.log_wealth(losses, n, mean)
    for i, found in enumerate(whole):
        assert found == pytest.approx(bounds.bets(losses[: i + 1], n, mean), abs=1e-8)
    given_before = bounds.log_stakes(losses[:cut], mean).sum(axis=0)
    assert bounds.log_wealth(losses[cut:], n, mean, given_before) == pytest.approx(whole[cut:], abs=1e-8)


@settings(derandomize=True)
@given(LOSSES, st.integers(0, 500), st.sampled_from([0.5, 0.1, 0.001]))
def test_betting_is_where_the_wealth_reaches_one_in_delta(losses, zeros, delta):
    losses, n = np.array(losses), len(losses) + zeros
    upper = bounds.betting(losses[losses > 0], n, delta)
    assert losses.sum() / n <= upper <= 1.0
    if upper < 1.0:
        assert bounds.bets(losses[losses > 0], n, min(upper * (1 + 1e-6), 1 - 1e-12)) >= -np.log(delta)
        assert bounds.bets(losses[losses > 0], n, upper * (1 - 1e-6)) < -np.log(delta)


@settings(derandomize=True)
@given(LOSSES, st.randoms(use_true_random=False))
def test_bounds_of_any_losses_do_not_ask_for_their_order_and_rise_with_each(losses, random):
    more = [min(1.0, x + 0.05) if random.random() < 0.3 else x for x in losses]
    mixed = random.sample(losses, len(losses))
    n = len(losses) + 100
    first, again, larger = (
        bounds.betting(np.array([x for x in row if x > 0]), n, 0.1) for row in (losses, mixed, more)
    )
    assert first == pytest.approx(again, rel=1e-9)
    assert larger >= first * (1 - 1e-9)


@pytest.mark.parametrize(("alpha", "delta"), [(0.01, 0.1), (0.05, 0.01), (0.001, 0.1), (0.3, 0.5)])
def test_the_fewest_losses_that_bets_need(alpha, delta):
    n = bounds.least_bets(alpha, delta)
    assert bounds.bets(np.array([]), n, alpha) >= -np.log(delta) > bounds.bets(np.array([]), n - 1, alpha)
    assert n >= np.log(delta) / np.log1p(-alpha)  # no bet grows faster than the largest


@pytest.mark.parametrize("kind", ["betting", "hoeffding-bentkus"])
@pytest.mark.parametrize("of", ["fractions", "0 and 1", "one in ten of a half"])
def test_bounds_of_any_losses_hold(kind, of):
    """600 samples of 400: the bound is below the true mean in a share of delta at most; and not far above it."""
    rng = np.random.default_rng(0)
    draw, mean = {
        "fractions": (lambda: rng.beta(0.2, 3.0, 400), 0.0625),
        "0 and 1": (lambda: (rng.random(400) < 0.05).astype(float), 0.05),
        "one in ten of a half": (lambda: np.where(rng.random(400) < 0.1, 0.5, 0.0), 0.05),
    }[of]
    delta, found = 0.1, []
    for _ in range(600):
        x = draw()
        if kind == "betting":  # with half the work: whether the true mean is refuted says whether the bound is below it
            found.append(bounds.bets(x[x > 0], len(x), mean) >= -np.log(delta))
        else:
            found.append(bounds.hoeffding_bentkus_p(float(x.sum()), len(x), mean) <= delta)
    assert np.mean(found) <= delta + 2 * np.sqrt(delta * (1 - delta) / 600)
    x = draw()
    upper = bounds.betting(x[x > 0], 400, delta) if kind == "betting" else bounds.hoeffding_bentkus(x.sum(), 400, delta)
    assert mean < upper < 2 * mean


def test_betting_is_tighter_where_losses_are_small():
    """The reason for it: ten losses of a tenth tell more than one of 1, which the sum does not see."""
    n, small = 1000, np.full(30, 0.1)
    assert bounds.betting(small, n, 0.1) < 0.8 * bounds.hoeffding_bentkus(float(small.sum()), n, 0.1)
