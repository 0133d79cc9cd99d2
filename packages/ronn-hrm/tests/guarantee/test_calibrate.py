"""From records to thresholds: against the definitions, MAPIE, and what must not matter."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from ronn.errors import OptionError
from ronn_hrm.errors import CalibrationError
from ronn_hrm.guarantee import Guarantee, bounds, calibrate, least_records, risk_at, selective

KINDS = ["ucb", "crc", "selective", "anytime"]


@st.composite
def records(draw, fractional=None, least=1):
    """Scores with ties and NaN among them, losses that are rarer where scores are high."""
    n = draw(st.integers(least, 400))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = np.round(rng.normal(size=n), draw(st.sampled_from([0, 1, 6])))
    scores[rng.random(n) < draw(st.sampled_from([0.0, 0.2]))] = np.nan
    losses = (rng.random(n) < draw(st.sampled_from([0.02, 0.2])) / (1 + np.exp(2 * np.nan_to_num(scores)))).astype(
        float
    )
    if draw(st.booleans()) if fractional is None else fractional:
        losses *= rng.choice([0.25, 1.0, 0.6], n)
    return scores, losses


GUARANTEES = st.builds(
    Guarantee,
    alpha=st.sampled_from([0.01, 0.05, 0.2]),
    delta=st.sampled_from([0.1, 0.4]),
    kind=st.sampled_from(KINDS),
)


def by_definition(scores, losses, passes):
    """The smallest lam such that it and all larger ones pass; ``passes(losses at or above lam)``."""
    lam = math.inf
    for candidate in sorted({s for s in scores if s == s}, reverse=True):
        if not passes(losses[scores >= candidate]):
            break
        lam = candidate
    return lam


@settings(derandomize=True, deadline=None)
@given(records(fractional=False), st.sampled_from([0.01, 0.05, 0.2]), st.sampled_from([0.1, 0.4]))
def test_ucb_is_the_definition_with_scipys_bound(known, alpha, delta):
    scores, losses = known
    n = len(scores)

    def passes(inside):
        wrong = int(inside.sum())
        return wrong < n and stats.beta.ppf(1 - delta, wrong + 1, n - wrong) <= alpha

    found = calibrate(scores, losses, Guarantee(alpha, delta))
    assert found.lam == by_definition(scores, losses, passes)
    if found.certified:
        wrong = int(losses[scores >= found.lam].sum())
        assert (found.n, found.wrong, found.reason) == (n, wrong, "")
        assert found.share == (scores >= found.lam).sum() / n
        assert found.bound == pytest.approx(stats.beta.ppf(1 - delta, wrong + 1, n - wrong))


@settings(derandomize=True, deadline=None, max_examples=50)
@given(records(), st.sampled_from([0.05, 0.2]), st.sampled_from(["betting", "hoeffding-bentkus"]))
def test_ucb_is_the_definition_with_other_bounds(known, alpha, bound):
    scores, losses = known
    n = len(scores)

    def passes(inside):
        if bound == "betting":
            return bounds.bets(inside[inside > 0], n, alpha) >= -math.log(0.1)
        return bounds.hoeffding_bentkus_p(float(inside.sum()), n, alpha) <= 0.1

    assert calibrate(scores, losses, Guarantee(alpha, 0.1, bound=bound)).lam == by_definition(scores, losses, passes)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(records(), st.sampled_from([0.05, 0.2]))
def test_crc_is_that_of_mapie(known, alpha):
    from mapie.risk_control.methods import get_r_hat_plus

    scores, losses = known
    known_scores = sorted({s for s in scores if s == s}, reverse=True)
    assume(known_scores)
    risks = np.stack([np.where(scores >= lam, losses, 0.0) for lam in known_scores], axis=1)
    _, upper = get_r_hat_plus(risks, np.array(known_scores), "crc", None, None, None)
    good = upper <= alpha + 1e-12  # it falls with lam, up to rounding
    expected = known_scores[int(good.sum()) - 1] if good[0] else math.inf
    assert calibrate(scores, losses, Guarantee(alpha, kind="crc")).lam == expected


@settings(derandomize=True, deadline=None, max_examples=100)
@given(records(fractional=False, least=120), st.sampled_from([0.05, 0.2]), st.integers(0, 1000))
def test_selective_is_the_fallback_procedure(known, alpha, seed):
    """Each threshold is tested with its own part of delta and with what the one before it, if it passed, hands on."""
    scores, losses = known
    assume(not np.isnan(scores).all())
    grid = np.random.default_rng(seed).normal(size=50)
    least = math.log(0.05) / math.log1p(-alpha)
    lams, parts = selective.sequence(grid, min(1.0, 1.3 * math.ceil(least) / len(scores)))
    handed, passed = 0.0, []
    for lam, part in zip(lams, parts, strict=True):
        level, inside = handed + 0.1 * part, losses[scores >= lam]
        good = level > 0 and len(inside) > 0 and stats.binom.cdf(inside.sum(), len(inside), alpha) <= level
        handed = level if good else 0.0
        passed += [(lam, level)] if good else []
    found = calibrate(scores, losses, Guarantee(alpha, 0.1, kind="selective"), grid=grid)
    assert found.lam == (passed[-1][0] if passed else math.inf)
    if passed:
        inside = losses[scores >= found.lam]
        assert (found.n, found.wrong, found.share) == (len(scores), inside.sum(), len(inside) / len(scores))
        k, m = inside.sum(), len(inside)
        assert found.bound == pytest.approx(stats.beta.ppf(1 - passed[-1][1], k + 1, m - k))


def test_selective_thresholds_bring_in_delta_once():
    for size, first in [(300, 0.2), (10, 0.3), (500, 1.0), (3, 0.01)]:
        scores = np.random.default_rng(size).normal(size=size).round(1)
        lams, parts = selective.sequence(scores, first)
        assert (np.diff(lams) < 0).all()
        assert parts.sum() == 1.0
        assert parts[0] > 0
        assert np.isin(lams, scores).all()
    lams, parts = selective.sequence(np.array([1.0, np.nan, np.nan, np.nan]), 0.5)
    assert len(lams) == len(parts) == 0


def test_selective_spends_a_tenth_on_its_thresholds():
    rng = np.random.default_rng(0)
    scores, guarantee = rng.normal(size=400), Guarantee(0.05, kind="selective")
    losses = np.zeros(400)
    losses[:40] = 1.0  # they place thresholds, and are not looked at
    found = calibrate(scores, losses, guarantee)
    assert (found.n, found.wrong, found.share) == (360, 0.0, pytest.approx(1.0, abs=0.02))
    assert calibrate(scores[40:], losses[40:], guarantee, grid=scores[:40]) == found
    assert not calibrate(scores, losses, guarantee, grid=rng.normal(size=40)).share > 0.99


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(derandomize=True, deadline=None, max_examples=30)
def test_more_may_be_answered_where_more_may_be_wrong(kind, data):
    scores, losses = data.draw(records())
    few, more = (calibrate(scores, losses, Guarantee(alpha, 0.1, kind)) for alpha in (0.05, 0.1))
    sure, unsure = (calibrate(scores, losses, Guarantee(0.1, delta, kind)) for delta in (0.05, 0.2))
    if kind != "selective":  # whose sequences start elsewhere for another alpha
        assert more.lam <= few.lam
        assert unsure.lam <= sure.lam
        less = losses * (np.random.default_rng(0).random(len(losses)) < 0.5)
        assume(((losses == 0) | (losses == 1)).all() == ((less == 0) | (less == 1)).all())  # the bound is the same
        assert calibrate(scores, less, Guarantee(0.05, 0.1, kind)).lam <= few.lam


@given(records(), GUARANTEES, st.randoms(use_true_random=False))
@settings(derandomize=True, deadline=None)
def test_the_order_of_records_does_not_matter(known, guarantee, random):
    assume(guarantee.kind != "selective")
    scores, losses = known
    order = random.sample(range(len(scores)), len(scores))
    assert calibrate(scores[order], losses[order], guarantee) == calibrate(scores, losses, guarantee)


@given(records(), GUARANTEES)
@settings(derandomize=True, deadline=None)
def test_only_the_order_of_scores_matters(known, guarantee):
    scores, losses = known
    found, other = calibrate(scores, losses, guarantee), calibrate(np.arctan(scores), losses, guarantee)
    if found.certified:
        assert other.lam == np.arctan(found.lam)
    assert (other.n, other.wrong, other.share, other.bound) == (found.n, found.wrong, found.share, found.bound)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_scores_are_all_in_or_all_out(kind):
    """The best 800 are right. Those after them share a score: a few wrong ones among them keep them all out."""
    scores = np.append(np.linspace(1.0, 2.0, 800), np.zeros(200))
    losses = np.append(np.zeros(800), np.tile([0.0] * 3 + [1.0], 50))
    order = np.random.default_rng(0).permutation(1000)
    found = calibrate(scores[order], losses[order], Guarantee(0.03, kind=kind))
    assert found.lam >= 1.0
    assert found.wrong == 0.0
    losses[-200:] = 0.0
    found = calibrate(scores[order], losses[order], Guarantee(0.03, kind=kind))
    assert found.lam == 0.0
    assert found.share == 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_score_nothing_is_answered_and_the_record_counts(kind):
    scores = np.append(np.full(500, np.nan), np.linspace(0.5, 1, 1000))[np.random.default_rng(0).permutation(1500)]
    losses = np.where(np.isnan(scores), 1.0, 0.0)
    found = calibrate(scores, losses, Guarantee(0.02, kind=kind))
    assert found.share == pytest.approx(2 / 3, abs=0.02)
    assert found.wrong == 0.0
    nowhere = calibrate(np.full(1500, np.nan), losses * 0, Guarantee(0.02, kind=kind))
    assert (nowhere.lam, nowhere.share, nowhere.bound) == (math.inf, 0.0, 0.0)
    assert nowhere.reason == "none of 1500 records has a score"


def test_infinite_scores():
    """Minus infinity is never answered; plus infinity is above every finite threshold, and certifies a finite one."""
    scores = np.array([np.inf] * 300 + [-np.inf] * 100)
    found = calibrate(scores, np.append(np.zeros(300), np.ones(100)), Guarantee(0.02))
    assert math.isfinite(found.lam)
    assert (found.share, found.wrong) == (0.75, 0.0)


@pytest.mark.parametrize("alpha", [0.3, 0.05, 0.01, 0.005])
@pytest.mark.parametrize("delta", [0.3, 0.1, 0.01])
@pytest.mark.parametrize(
    ("kind", "bound"), [(k, "auto") for k in KINDS] + [("ucb", "betting"), ("selective", "betting")]
)
def test_fewer_records_than_are_needed_certify_nothing_and_as_many_do(kind, bound, alpha, delta):
    guarantee = Guarantee(alpha, delta, kind, bound)
    n = least_records(guarantee)
    scores = np.ones(n)
    assert calibrate(scores, np.zeros(n), guarantee).share == 1.0
    tiny = calibrate(scores[1:], np.zeros(n - 1), guarantee)
    assert tiny.lam == math.inf
    assert f"{n} records are needed at alpha={alpha:g}" in tiny.reason
    assert tiny.reason.endswith(f"there are {n - 1}")


def test_the_fewest_records():
    assert [least_records(Guarantee(alpha)) for alpha in (0.01, 0.005, 0.001)] == [230, 460, 2302]
    assert least_records(Guarantee(0.01, kind="crc")) == 99
    assert least_records(Guarantee(0.01, kind="selective"), placed=True) == 230
    assert least_records(Guarantee(0.01, kind="selective")) == 256
    assert least_records(Guarantee(0.01, bound="hoeffding-bentkus"), binary=False) == 230
    reason = calibrate(np.ones(40), np.zeros(40), Guarantee(0.01, 0.1)).reason
    assert reason == "230 records are needed at alpha=0.01, delta=0.1; there are 40"
    assert calibrate([], [], Guarantee()).reason.endswith("there are 0")


@pytest.mark.parametrize("kind", KINDS)
def test_why_nothing_is_certified(kind):
    """Enough records, but the surest are wrong as often as the others."""
    losses = np.tile([1.0, 0.0], 500)
    found = calibrate(np.ones(1000), losses, Guarantee(0.01, kind=kind))
    assert (found.lam, found.share, found.wrong, found.bound) == (math.inf, 0.0, 0.0, 0.0)
    assert "is above alpha=0.01" in found.reason
    assert "records" in found.reason
    assert found.as_data()["lam"] is None


def test_binomial_takes_a_part_for_the_whole():
    scores, losses = np.ones(1000), np.zeros(1000)
    losses[:5] = 0.001
    assert calibrate(scores, losses, Guarantee(0.01, bound="binomial")).bound == bounds.clopper_pearson(5, 1000, 0.1)
    assert calibrate(scores, losses, Guarantee(0.01)).bound == bounds.betting(losses[:5], 1000, 0.1)


def test_losses_may_be_many():
    """More of them than are looked at in one go."""
    n = 20_000
    scores, losses = np.arange(n, dtype=float), np.full(n, 0.004)
    losses[: n // 2] = 0.5
    found = calibrate(scores, losses, Guarantee(0.01))
    inside = np.sort(losses[scores >= found.lam])
    assert n // 2 < len(inside) < n // 2 + 1000
    assert bounds.bets(inside, n, 0.01) >= -math.log(0.1) > bounds.bets(np.append(inside, 0.5), n, 0.01)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("ucb", bounds.clopper_pearson(2, 40, 0.1)), ("crc", 3 / 41), ("selective", bounds.clopper_pearson(2, 20, 0.1))],
)
def test_the_risk_at_a_threshold_of_others(kind, expected):
    scores, losses = np.arange(40.0), np.zeros(40)
    losses[[0, 25, 30]] = 1.0
    assert risk_at(scores, losses, 20.0, Guarantee(kind=kind)) == (2.0, 0.5, pytest.approx(expected))
    assert risk_at(scores, losses, math.inf, Guarantee(kind=kind)) == (0.0, 0.0, 0.0)


def test_records_that_cannot_be():
    with pytest.raises(
        CalibrationError, match=r"scores of shape \[3\] and losses of shape \[2\] do not belong together"
    ):
        calibrate([1, 2, 3], [0, 1], Guarantee())
    with pytest.raises(
        CalibrationError, match=r"loss of calibration record 1 is nan, and must be from 0 to 1 \(and 1 more"
    ):
        calibrate([1, 2, 3], [0, np.nan, 2], Guarantee())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"alpha": 0.0}, "alpha=0.0 is not between 0 and 1"),
        ({"delta": 1}, "delta=1 is not between 0 and 1"),
        ({"kind": "sure"}, "there is no guarantee of kind 'sure'"),
        ({"bound": "wishful"}, "there is no bound 'wishful'"),
        ({"kind": "crc", "bound": "betting"}, "of kind 'crc' takes no bound 'betting'"),
        ({"kind": "anytime", "bound": "binomial"}, "of kind 'anytime' takes no bound 'binomial'"),
    ],
)
def test_guarantees_that_are_none(values, words):
    with pytest.raises(OptionError, match=words):
        Guarantee(**values)
