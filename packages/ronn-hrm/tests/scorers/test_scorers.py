"""Scorers: one request and many give the same bits, parts add up, kinds are found again."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from ronn.errors import OptionError
from ronn_hrm import scorers
from ronn_hrm.errors import StateError
from ronn_hrm.scorers import registry

NAMES = ("confidence", "margin", "entropy", "novelty", "agreement", "size", "variance", "rank")


def records(count: int, seed: int, missing: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Features [count, 8] and losses: wrong answers are of low confidence or far from memory."""
    random = np.random.default_rng(seed)
    hard = random.normal(size=count)
    far = random.exponential(size=count)
    features = np.stack(
        [
            3.0 - 2.0 * hard + random.normal(size=count), 2.0 - hard + random.normal(size=count),
            np.exp(0.5 * hard), far, np.round(10 / (1 + far)) / 10,
            np.full(count, 784.0), random.uniform(size=count), np.full(count, 2.0),
        ],
        axis=1,
    )  # fmt: skip
    losses = (random.uniform(size=count) < 1 / (1 + np.exp(4.0 - 2.0 * hard - far))).astype(np.float64)
    features[random.uniform(size=features.shape) < missing] = np.nan
    return features.astype(np.float32), losses


def fitted(count: int, seed: int, missing: float) -> list[scorers.LinearScorer | scorers.AdditiveScorer]:
    features, losses = records(count, seed, missing)
    return [
        scorers.LogisticScorer.fit(features, NAMES, losses),
        scorers.AdditiveScorer.fit(features, NAMES, losses),
        scorers.ConfidenceScorer.fit(features, NAMES, losses),
        scorers.MarginScorer.of(NAMES),
        scorers.SizeRule.fit(features, NAMES, losses),
    ]


@given(
    count=st.integers(0, 60), seed=st.integers(0, 99), missing=st.sampled_from([0.0, 0.3, 1.0]),
    odd=st.lists(st.floats(width=32), min_size=8, max_size=8),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_one_by_one_many_and_read_again_give_the_same_bits(count, seed, missing, odd):
    features, _ = records(30, seed + 1, 0.1)
    features = np.vstack([features, np.array([odd], np.float32)])
    for scorer in fitted(count, seed, missing):
        many = scorer.score_many(features)
        assert many.dtype == np.float64
        one = np.array([scorer.score(row) for row in features.tolist()])
        assert one.tobytes() == many.tobytes()
        assert np.array([scorer.score(row) for row in features]).tobytes() == many.tobytes()
        again = scorers.from_data(json.loads(json.dumps(scorer.as_data())))
        assert again == scorer and type(again) is type(scorer) and hash(again) == hash(scorer)
        assert again.score_many(features).tobytes() == many.tobytes()
        for row, score in zip(features.tolist(), many, strict=True):
            parts = scorer.parts(row)
            assert [name for name, _ in parts] == list(scorer.names)
            assert scorer.bias + sum(value for _, value in parts) == pytest.approx(score, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("kind", ["logistic", "additive"])
def test_fits_recover_the_odds(kind):
    features, losses = records(4000, 0)
    fit = {"logistic": scorers.LogisticScorer, "additive": scorers.AdditiveScorer}[kind].fit
    score = fit(features, NAMES, losses, use=NAMES[:5]).score_many(features)
    mean = 1 / (1 + np.exp(-score))
    assert abs(mean.mean() - (1 - losses.mean())) < 0.005
    order = np.argsort(score)
    for part in np.array_split(order, 4):
        assert abs(mean[part].mean() - (1 - losses[part].mean())) < 0.05


def test_logistic_agrees_with_scikit_learn():
    features, losses = records(500, 3)
    features = features[:, 5:8].astype(np.float64)  # nothing is known of these three
    features += np.random.default_rng(0).normal(size=features.shape)
    ours = scorers.LogisticScorer.fit(features, ("a", "b", "c"), losses, ridge=1.0)
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    theirs = LogisticRegression(C=1.0, tol=1e-8).fit(standard, losses == 0.0)
    np.testing.assert_allclose(
        ours.score_many(features), standard @ theirs.coef_[0] + theirs.intercept_, rtol=0, atol=0.03
    )


def test_without_a_wrong_record_known_directions_rank():
    features, _ = records(50, 1)
    scorer = scorers.LogisticScorer.fit(features, NAMES, np.zeros(50), use=NAMES[:5])
    weight = dict(zip(scorer.names, scorer.as_data()["weight"], strict=True))
    assert weight["confidence"] > 0 > weight["novelty"] and weight["entropy"] < 0 < weight["agreement"]
    additive = scorers.AdditiveScorer.fit(features, NAMES, np.zeros(50), use=NAMES[:5])
    assert np.corrcoef(additive.score_many(features), scorer.score_many(features))[0, 1] > 0.8


def test_what_was_never_missing_is_doubted_where_it_is():
    features, _ = records(400, 2)
    for scorer in fitted(400, 2, 0.0)[:2]:
        row = features[0].tolist()
        known = dict(scorer.parts(row))["confidence"]
        row[0] = float("nan")
        assert dict(scorer.parts(row))["confidence"] <= known


def test_the_size_rule_asks_inputs_alone():
    features, losses = records(200, 5)
    rule = scorers.SizeRule.fit(features, NAMES, losses)
    assert rule.names == ("size", "variance", "rank")
    small, large = features[0].tolist(), features[0].tolist()
    small[6], large[6] = 0.0, 1.0
    assert rule.score(small) > rule.score(large)
    assert scorers.auroc(rule.score_many(features), losses) < 0.65


def test_memory_features_lose_where_they_say_nothing_and_win_where_they_do():
    random = np.random.default_rng(0)
    confidence = random.normal(size=600)
    noise = random.normal(size=(600, 2))
    wrong = (random.uniform(size=600) < 1 / (1 + np.exp(2 + 2 * confidence))).astype(np.float64)
    names = ("confidence", "novelty", "agreement")
    chosen = scorers.choose(np.column_stack([confidence, noise]), names, wrong, alpha=0.05)
    assert chosen.names == ("confidence",)
    novelty = random.normal(size=600)
    wrong = (random.uniform(size=600) < 1 / (1 + np.exp(2 + confidence - 3 * novelty))).astype(np.float64)
    chosen = scorers.choose(np.column_stack([confidence, novelty, noise[:, 0]]), names, wrong, alpha=0.05)
    assert "novelty" in chosen.names


def test_before_there_are_records_what_is_known_ranks():
    assert scorers.unfitted(NAMES).kind == "confidence"
    scorer = scorers.unfitted(("size", "novelty", "agreement"))
    assert scorer.names == ("novelty", "agreement")
    assert scorer.score([9.0, 0.1, 2.0]) > scorer.score([9.0, 0.5, 2.0]) > scorer.score([9.0, 0.5, float("nan")])
    assert scorers.unfitted(("size",)).score([3.0]) == 0.0


def test_choosing_is_deterministic_and_few_records_are_not_chosen_by():
    features, losses = records(300, 7)
    assert scorers.choose(features, NAMES, losses) == scorers.choose(features, NAMES, losses)
    few = scorers.choose(features[:20], NAMES, losses[:20])
    assert few.kind == "logistic" and few.names == NAMES[:5]
    losses[::7] = np.nan
    kept = np.isfinite(losses)
    assert scorers.choose(features, NAMES, losses) == scorers.choose(features[kept], NAMES, losses[kept])


def test_kinds_of_third_parties_are_found_again(monkeypatch):
    monkeypatch.setattr(registry, "_MAKERS", dict(registry._MAKERS))

    class Ours(scorers.LinearScorer):
        kind = "ours"

    scorers.register("ours", Ours.from_data)
    scorer = Ours(("margin",), [1], [1.0], [0.0], [0.0], 0.0)
    assert "ours" in scorers.kinds()
    assert type(scorers.from_data(scorer.as_data())) is Ours


def test_errors_name_the_thing():
    with pytest.raises(StateError, match=r"(?s)kind 'nothing'.*logistic"):
        scorers.from_data({"kind": "nothing"})
    with pytest.raises(StateError, match="kind 'logistic' does not make one"):
        scorers.from_data({"kind": "logistic"})
    with pytest.raises(StateError, match="finite"):
        scorers.from_data({**scorers.MarginScorer.of(NAMES).as_data(), "bias": float("nan")})
    with pytest.raises(OptionError, match=r"(?s)no feature 'depth'.*one of confidence"):
        scorers.LogisticScorer.fit(*records(9, 0)[:1], NAMES, np.zeros(9), use=("depth",))
    with pytest.raises(OptionError, match="not of the same records"):
        scorers.LogisticScorer.fit(records(9, 0)[0], NAMES, np.zeros(8))


@given(score=st.lists(st.integers(0, 5), min_size=2, max_size=30), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_auroc_is_the_share_of_pairs_in_order(score, seed):
    losses = (np.random.default_rng(seed).uniform(size=len(score)) < 0.4).astype(np.float64)
    pairs = [(r > w) + 0.5 * (r == w) for r, a in zip(score, losses, strict=True) if a == 0
             for w, b in zip(score, losses, strict=True) if b == 1]  # fmt: skip
    found = scorers.auroc(np.array(score, np.float64), losses)
    assert found == pytest.approx(np.mean(pairs) if pairs else 0.5)
