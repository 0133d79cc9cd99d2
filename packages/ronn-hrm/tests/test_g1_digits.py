"""G1: over 500 draws of calibration records, thresholds miss their target no oftener than delta says.

Real records: scikit-learn's digits, of which the cheap model sees nine pixels and the expensive one all, scored by
confidence, margin, and the nearest of 500 remembered images.
"""

from functools import cache

import numpy as np
import pytest

from ronn_hrm.guarantee import Guarantee, calibrate, empirical, violations
from ronn_hrm.guarantee.ranked import Threshold
from ronn_hrm.scorers import LogisticScorer

DRAWS = 500
CELLS = [(0.01, 300), (0.01, 1000), (0.02, 300), (0.02, 1000), (0.05, 300), (0.05, 1000)]


@cache
def population() -> tuple[np.ndarray, np.ndarray]:
    """Scores and losses of 1097 images that neither the models, the memory nor the scorer has seen."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x, y = digits.data[order] / 16, digits.target[order]
    train, fit, rest = slice(0, 500), slice(500, 700), slice(700, None)
    small = x.reshape(-1, 8, 8)[:, 1:7:2, 1:7:2].reshape(len(x), -1)
    fast = LogisticRegression(C=3.0, max_iter=200).fit(small[train], y[train]).predict_log_proba(small)
    full = SVC(C=5.0, gamma=0.8).fit(x[train], y[train]).predict(x)
    best = np.sort(fast, axis=1)
    far = ((x[:, None] - x[None, train]) ** 2).sum(axis=-1)
    near = np.argsort(far, axis=1)[:, :8]
    features = np.stack(
        [
            best[:, -1],
            best[:, -1] - best[:, -2],
            np.take_along_axis(far, near, axis=1).mean(axis=1),
            (full[train][near] == fast.argmax(axis=1)[:, None]).mean(axis=1),
        ],
        axis=1,
    )
    losses = (fast.argmax(axis=1) != full).astype(np.float64)
    names = ["confidence", "margin", "novelty", "agreement"]
    scorer = LogisticScorer.fit(features[fit], names, losses[fit])
    return scorer.score_many(features[rest]), losses[rest]


@cache
def pages() -> tuple[np.ndarray, np.ndarray]:
    """Four images a request: the loss is the share that differs, the score the least of four."""
    scores, losses = population()
    picked = np.random.default_rng(1).integers(0, len(scores), (1000, 4))
    return scores[picked].min(axis=1), losses[picked].mean(axis=1)


def test_the_models_are_worth_routing():
    scores, losses = population()
    assert 0.2 < losses.mean() < 0.4
    best = scores >= np.quantile(scores, 0.5)
    assert losses[best].mean() < 0.02


@pytest.mark.parametrize(("alpha", "n"), CELLS)
def test_g1_ucb(alpha, n):
    guarantee = Guarantee(alpha, 0.1)
    found = violations(*population(), guarantee, n, DRAWS)
    assert found.rate <= found.allowed(guarantee.delta)
    assert found.certified == DRAWS
    assert found.share > 0.4


@pytest.mark.parametrize(("alpha", "n"), CELLS)
def test_the_plain_threshold_misses_its_target_half_of_the_time(alpha, n):
    """What G1 is held against, and how it fails."""
    guarantee = Guarantee(alpha, 0.1)
    found = violations(*population(), guarantee, n, DRAWS, by=empirical)
    assert 0.35 < found.rate < 0.65
    assert found.rate > found.allowed(guarantee.delta)


@pytest.mark.parametrize(
    ("kind", "bound"),
    [("ucb", "auto"), ("ucb", "hoeffding-bentkus"), ("selective", "auto"), ("anytime", "auto")],
)
def test_g1_of_losses_between_0_and_1(kind, bound):
    guarantee = Guarantee(0.05, 0.1, kind, bound)
    found = violations(*pages(), guarantee, 1000, DRAWS)
    assert found.rate <= found.allowed(guarantee.delta)
    assert found.certified > DRAWS / 2


@pytest.mark.parametrize(("alpha", "n"), [(0.02, 1000), (0.05, 300)])
@pytest.mark.parametrize("kind", ["anytime", "selective"])
def test_g1_of_other_kinds(kind, alpha, n):
    guarantee = Guarantee(alpha, 0.1, kind)
    found = violations(*population(), guarantee, n, DRAWS)
    assert found.rate <= found.allowed(guarantee.delta)
    assert found.certified > 0.9 * DRAWS


def test_selective_where_no_threshold_is_right():
    """Scores that say nothing, and a risk of a little more than alpha at every threshold: each certificate is wrong."""
    scores, losses = np.repeat(np.arange(40.0), 1000), np.tile((np.arange(1000) < 51).astype(float), 40)
    found = violations(scores, losses, Guarantee(0.05, 0.1, "selective"), 1000, DRAWS)
    assert found.violated == found.certified
    assert 0.01 < found.rate <= found.allowed(0.1)


@pytest.mark.parametrize(("alpha", "n"), CELLS)
def test_crc_holds_on_average_only(alpha, n):
    found = violations(*population(), Guarantee(alpha, kind="crc"), n, DRAWS)
    assert 0.5 * alpha < found.risk <= alpha * 1.02
    assert found.rate > 0.2


def test_anytime_holds_whenever_one_looks_and_ucb_does_not():
    """A state is certified again as its records grow: 40 looks at each of 120 streams, any of which may be wrong."""
    scores, losses = population()
    looks = np.unique(np.geomspace(72, 3000, 40).astype(int))
    rng, alpha, streams = np.random.default_rng(0), 0.05, 120
    wrong = {"ucb": 0, "anytime": 0}
    for _ in range(streams):
        picked = rng.integers(0, len(scores), looks[-1])
        for kind in wrong:
            guarantee = Guarantee(alpha, 0.1, kind)
            lams = (calibrate(scores[picked[:n]], losses[picked[:n]], guarantee).lam for n in looks)
            wrong[kind] += any(losses[scores >= lam].sum() / len(losses) > alpha for lam in lams)
    allowed = 0.1 + 2 * np.sqrt(0.1 * 0.9 / streams)
    assert wrong["anytime"] / streams <= allowed < wrong["ucb"] / streams


def test_draws_are_told_from_the_seed_and_counted():
    scores, losses = np.array([3.0, 2.0, 1.0, np.nan]), np.array([0.0, 1.0, 0.0, 1.0])
    asked = []

    def by(s, l, guarantee):
        asked.append((s, l))
        lam = [3.0, 2.0, np.inf, 1.0][(len(asked) - 1) % 4]
        return Threshold(lam, len(s), 0.0, 0.0, 0.0)

    found = violations(scores, losses, Guarantee(0.2), 50, 8, seed=3, by=by)
    assert (found.draws, found.violated, found.certified, found.rate) == (8, 4, 6, 0.5)
    assert found.share == pytest.approx((0.25 + 0.5 + 0.0 + 0.75) / 4)
    assert found.risk == pytest.approx((0.0 + 0.25 + 0.0 + 0.25) / 4)
    assert found.allowed(0.1) == pytest.approx(0.1 + 2 * np.sqrt(0.09 / 8))
    again = list(asked)
    violations(scores, losses, Guarantee(0.2), 50, 8, seed=3, by=by)
    assert all(np.array_equal(a[0], b[0], equal_nan=True) for a, b in zip(again, asked[8:], strict=True))
    selective = violations(scores, losses, Guarantee(0.4, kind="selective"), 50, 4, by=by)
    assert (selective.violated, selective.risk) == (1, pytest.approx((0.0 + 0.5 + 0.0 + 1 / 3) / 4))
