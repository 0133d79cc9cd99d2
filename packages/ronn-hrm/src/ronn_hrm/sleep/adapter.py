"""Adapters: a linear correction of the cheap model's scores by the embedding, fitted to what the expensive one said."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ronn_hrm.state import Correction

STEPS = 60


def fit_adapter(
    scores: np.ndarray,
    embedding: np.ndarray,
    targets: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    ridge: float = 1e-3,
    check: Callable[[], None] | None = None,
) -> Correction:
    """The correction with which softmax of the scores comes nearest to the targets, by cross-entropy.

    scores: logits of the cheap model [N, C]; embedding: [N, D]; targets: class probabilities [N, C]; weights: of the
    records, [N] with a mean of 1. ridge: of the squared weights on standardised embeddings, against the mean loss.
    check: called once a step. Steps go along the fixed upper bound of the curvature (Böhning 1992), with momentum that
    starts anew where it overshoots (arXiv 1204.3982).
    """
    count, dims = embedding.shape
    each = np.full(count, 1.0 / count) if weights is None else np.asarray(weights, np.float64) / count
    middle, spread = _moments(embedding, each)
    x = np.hstack([np.ones((count, 1)), (embedding - middle) / spread]).astype(np.float32)
    base, goal = np.asarray(scores, np.float32), np.asarray(targets, np.float32)
    share = each.astype(np.float32)[:, None]
    penalty = np.full(dims + 1, ridge)
    penalty[0] = 1e-6
    curvature = 0.5 * (x * share).T.astype(np.float64) @ x + np.diag(penalty)
    inverse = np.linalg.inv(curvature)

    beta = ahead = np.zeros((dims + 1, base.shape[1]))
    momentum, last = 1.0, np.inf
    for _ in range(STEPS):
        if check is not None:
            check()
        logits = base + x @ ahead.astype(np.float32)
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        total = odds.sum(axis=1, keepdims=True)
        loss = float((share * (np.log(total) - (goal * logits).sum(axis=1, keepdims=True))).sum())
        loss += 0.5 * float((penalty[:, None] * ahead**2).sum())
        gradient = x.T @ ((odds / total - goal) * share) + penalty[:, None] * ahead
        step = ahead - inverse @ gradient
        if loss > last:
            momentum = 1.0
        after = (1.0 + np.sqrt(1.0 + 4.0 * momentum**2)) / 2.0
        moved = step - beta
        beta, ahead, momentum = step, step + (momentum - 1.0) / after * moved, after
        if abs(last - loss) < 1e-7 * max(abs(loss), 1e-3):
            break
        last = loss
    return _correction(beta[1:] / spread[:, None], beta[0], middle)


def fit_ridge(
    answers: np.ndarray,
    embedding: np.ndarray,
    targets: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    ridge: float = 1e-3,
) -> Correction:
    """The same for numbers instead of classes: answers and targets [N, C], by least squares with a ridge."""
    count, dims = embedding.shape
    each = np.full(count, 1.0 / count) if weights is None else np.asarray(weights, np.float64) / count
    middle, spread = _moments(embedding, each)
    x = np.hstack([np.ones((count, 1)), (embedding - middle) / spread])
    penalty = np.full(dims + 1, ridge)
    penalty[0] = 0.0
    weighed = (x * each[:, None]).T
    beta = np.linalg.solve(weighed @ x + np.diag(penalty), weighed @ (np.asarray(targets, np.float64) - answers))
    return _correction(beta[1:] / spread[:, None], beta[0], middle)


def _moments(embedding: np.ndarray, each: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and standard deviation [D]; dims that never change get an infinite one, and so no weight."""
    rows = np.asarray(embedding, np.float64)
    middle = each @ rows / each.sum()
    spread = np.sqrt(each @ (rows - middle) ** 2 / each.sum())
    return middle, np.where(spread > 1e-6, spread, np.inf)


def _correction(weight: np.ndarray, bias: np.ndarray, middle: np.ndarray) -> Correction:
    return Correction(
        np.ascontiguousarray(weight.T, np.float32), np.asarray(bias - middle @ weight, np.float32)
    )  # fmt: skip
