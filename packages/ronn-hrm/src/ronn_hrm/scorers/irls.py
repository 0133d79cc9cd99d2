"""Penalised logistic regression by iteratively reweighted least squares."""

from __future__ import annotations

import numpy as np

STEPS = 50
FLAT = 1e-9


def logistic(x: np.ndarray, y: np.ndarray, penalty: np.ndarray, expected: np.ndarray) -> tuple[float, np.ndarray]:
    """Intercept and weights [P] that minimise the log loss of ``y`` plus ``d' penalty d / 2``, ``d = w - expected``.

    x: [N, P]; y: [N] in [0, 1]; penalty: [P, P], positive semidefinite; the intercept is drawn only a little to 0, as
    by one record of each outcome. Newton's method with halved steps (Hastie, Tibshirani and Friedman, 4.4.1).
    """
    count, width = x.shape
    design = np.hstack([np.ones((count, 1)), x])
    ridge = np.zeros((width + 1, width + 1))
    ridge[1:, 1:] = penalty
    start = np.concatenate([[0.0], expected])
    beta = start.copy()
    beta[0] = np.log((y.sum() + 1.0) / (count - y.sum() + 1.0))
    loss = _loss(design, y, ridge, start, beta)
    for _ in range(STEPS):
        p = _sigmoid(design @ beta)
        half = _sigmoid(beta[:1])[0]
        gradient = design.T @ (p - y) + ridge @ (beta - start)
        gradient[0] += 2.0 * half - 1.0
        hessian = (design * (p * (1.0 - p))[:, None]).T @ design + ridge
        hessian[0, 0] += 2.0 * half * (1.0 - half)
        hessian[np.diag_indices_from(hessian)] += FLAT
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-6:
            tried = beta - size * step
            found = _loss(design, y, ridge, start, tried)
            if found <= loss:
                break
            size /= 2.0
        else:
            break
        done = loss - found < 1e-7 * (1.0 + abs(loss))
        beta, loss = tried, found
        if done:
            break
    return float(beta[0]), beta[1:]


def _sigmoid(t: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * t)))


def _loss(design: np.ndarray, y: np.ndarray, ridge: np.ndarray, start: np.ndarray, beta: np.ndarray) -> float:
    t = design @ beta
    away = beta - start
    prior = 2.0 * np.logaddexp(0.0, beta[0]) - beta[0]
    return float((np.logaddexp(0.0, t) - y * t).sum() + prior + 0.5 * away @ ridge @ away)
