"""Adapters: the correction is the best one, and says nothing by dims that say nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ronn_hrm.sleep.adapter import fit_adapter, fit_ridge
from ronn_hrm.sleep.student import softmax, targets_of


def problem(count: int, dims: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    embedding = (random.normal(size=(count, dims)) * random.uniform(0.1, 30, dims) + 5).astype(np.float32)
    base = random.normal(size=(count, classes)).astype(np.float32)
    goal = base + (embedding - 5) / 30 @ random.normal(size=(dims, classes)) * 3 + random.normal(size=classes)
    return base, embedding, goal.astype(np.float32)


def loss_of(weight: np.ndarray, bias: np.ndarray, case: tuple[np.ndarray, ...], weights: np.ndarray) -> float:
    """What is to be least: the mean cross-entropy and the ridge on standardised embeddings."""
    base, embedding, targets = case
    logits = base + embedding @ weight.T.astype(np.float64) + bias
    ends = logits - logits.max(axis=1, keepdims=True)
    entropy = (np.log(np.exp(ends).sum(axis=1)) - (targets * ends).sum(axis=1)) * weights
    mean = np.average(embedding.astype(np.float64), axis=0, weights=weights)
    spread = np.sqrt(np.average((embedding - mean) ** 2, axis=0, weights=weights))
    return float(entropy.mean() + 0.5e-3 * ((weight * spread) ** 2).sum())


@given(dims=st.integers(1, 6), classes=st.integers(2, 5), seed=st.integers(0, 50), weighed=st.booleans())
@settings(max_examples=25, deadline=None)
def test_nothing_near_it_is_better(dims, classes, seed, weighed):
    base, embedding, goal = problem(200, dims, classes, seed)
    random = np.random.default_rng(seed)
    weights = random.uniform(0.2, 3, 200) if weighed else np.ones(200)
    weights = (weights / weights.mean()).astype(np.float32)
    case = (base, embedding, targets_of(goal, 0.3))
    made = fit_adapter(*case, weights=weights, ridge=1e-3)
    assert made.weight.shape == (classes, dims) and made.weight.dtype == made.bias.dtype == np.float32
    found = loss_of(made.weight, made.bias, case, weights)
    for _ in range(10):
        away = random.normal(size=made.weight.shape) * 0.05 / embedding.std(axis=0)
        assert found <= loss_of(made.weight + away, made.bias - away @ embedding.mean(axis=0), case, weights) + 1e-4


def test_it_makes_the_cheap_model_agree():
    base, embedding, goal = problem(2000, 12, 5, 1)
    made = fit_adapter(base[:1500], embedding[:1500], targets_of(goal[:1500], 0.5))
    after = np.stack([made(base[i : i + 1], embedding[i])[0] for i in range(1500, 2000)])
    wanted = goal[1500:].argmax(1)
    assert (base[1500:].argmax(1) == wanted).mean() < 0.75
    assert (after.argmax(1) == wanted).mean() > 0.95


def test_dims_that_never_change_get_no_weight():
    base, embedding, goal = problem(100, 3, 4, 2)
    embedding[:, 1] = 7.0
    for made in (fit_adapter(base, embedding, softmax(goal)), fit_ridge(base, embedding, goal)):
        assert (made.weight[:, 1] == 0).all() and np.isfinite(made.weight).all() and np.isfinite(made.bias).all()


def test_numbers_are_corrected_by_least_squares():
    base, embedding, goal = problem(300, 4, 3, 3)
    made = fit_ridge(base, embedding, goal, ridge=0.0)
    design = np.hstack([np.ones((300, 1)), embedding.astype(np.float64)])
    expected = np.linalg.lstsq(design, goal - base.astype(np.float64), rcond=None)[0]
    np.testing.assert_allclose(made.bias, expected[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(made.weight, expected[1:].T, rtol=1e-3, atol=1e-5)


def test_it_stops_when_told():
    base, embedding, goal = problem(100, 3, 4, 4)

    def check() -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        fit_adapter(base, embedding, softmax(goal), check=check)
