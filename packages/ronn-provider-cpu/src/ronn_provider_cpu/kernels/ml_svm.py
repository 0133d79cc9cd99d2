"""ai.onnx.ml: SVMClassifier and SVMRegressor."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_provider_cpu.kernels._scores import as_array, both_classes, class_labels, logistic, rows_of, transform

ML = "ai.onnx.ml"


def kernel_matrix(ctx: KernelContext, vectors: np.ndarray, linear: bool) -> Callable[[np.ndarray], np.ndarray]:
    """``call(rows)``: the kernel function of all rows with all vectors, ``[rows, vectors]``, float32."""
    kind = "LINEAR" if linear else ctx.attr("kernel_type", "LINEAR")
    gamma, coef0, degree = (*as_array(ctx.attr("kernel_params"), np.float32), *np.zeros(3, np.float32))[:3]
    norms = np.square(vectors).sum(axis=1)

    def call(x: np.ndarray) -> np.ndarray:
        dots = x @ vectors.T
        if kind == "RBF":
            squares = np.square(x).sum(axis=1)[:, None] + norms - 2 * dots
            return np.exp(-gamma * np.maximum(squares, 0))
        if kind == "POLY":
            return np.power(gamma * dots + coef0, degree)
        return np.tanh(gamma * dots + coef0) if kind == "SIGMOID" else dots

    return call


@kernel("SVMRegressor", domain=ML, prepare=True)
def svm_regressor(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """SVMRegressor: float32 ``[rows, 1]``; for one_class the sign."""
    n = ctx.attr("n_supports", 0)
    coefficients = as_array(ctx.attr("coefficients"), np.float32)
    vectors = as_array(ctx.attr("support_vectors"), np.float32).reshape(n, -1) if n else coefficients.reshape(1, -1)
    dots = kernel_matrix(ctx, vectors, linear=n == 0)
    rho = as_array(ctx.attr("rho"), np.float32)[0]
    one_class, post = bool(ctx.attr("one_class", 0)), ctx.attr("post_transform", "NONE")

    def call(x: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            found = dots(rows_of(x).astype(np.float32, copy=False))
            score = (found @ coefficients if n else found[:, 0]) + rho
            if one_class:
                return np.where(score > 0, 1, -1).astype(np.float32)[:, None]
            return transform(score[:, None], post)

    return call


def pairwise_probabilities(r: np.ndarray) -> np.ndarray:
    """Class probabilities ``[rows, k]`` from pairwise ones ``[rows, k, k]`` (Wu, Lin and Weng 2004, method 2)."""
    k = r.shape[1]
    q = -np.swapaxes(r, 1, 2) * r
    diagonal = np.square(r).sum(axis=1)
    q[:, range(k), range(k)] = diagonal
    p = np.full(r.shape[:2], 1 / k, r.dtype)
    active = np.arange(r.shape[0])
    for _ in range(max(100, k)):
        qa, pa = q[active], p[active]
        qp = np.einsum("nij,nj->ni", qa, pa)
        pqp = (pa * qp).sum(axis=1)
        moving = np.abs(qp - pqp[:, None]).max(axis=1) >= 0.005 / k
        active, qa, pa, qp, pqp = active[moving], qa[moving], pa[moving], qp[moving], pqp[moving]
        if active.size == 0:
            break
        for t in range(k):
            step = (pqp - qp[:, t]) / qa[:, t, t]
            pa[:, t] += step
            pqp = (pqp + step * (step * qa[:, t, t] + 2 * qp[:, t])) / (1 + step) ** 2
            qp = (qp + step[:, None] * qa[:, t]) / (1 + step)[:, None]
            pa /= (1 + step)[:, None]
        p[active] = pa
    return p


@kernel("SVMClassifier", domain=ML, prepare=True)
def svm_classifier(ctx: KernelContext) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """SVMClassifier: labels ``[rows]`` and float32 scores: probabilities where prob_a is given, else margins."""
    labels = class_labels(ctx, "classlabels_ints")
    sizes = as_array(ctx.attr("vectors_per_class"), np.int64)
    n, k = int(sizes.sum()), max(1, labels.size)
    linear = n == 0
    coefficients = as_array(ctx.attr("coefficients"), np.float32)
    weights = coefficients.reshape(k, -1) if linear else coefficients.reshape(-1, n)
    vectors = weights if linear else as_array(ctx.attr("support_vectors"), np.float32).reshape(n, -1)
    dots = kernel_matrix(ctx, vectors, linear)
    rho = as_array(ctx.attr("rho"), np.float32)
    prob_a, prob_b = as_array(ctx.attr("prob_a"), np.float32), as_array(ctx.attr("prob_b"), np.float32)
    post = ctx.attr("post_transform", "NONE")
    positive = bool((coefficients >= 0).all())
    pairs = list(itertools.combinations(range(k), 2))
    stops = np.cumsum(sizes)
    spans = [slice(b - s, b) for s, b in zip(sizes.tolist(), stops.tolist())]

    def margins(found: np.ndarray) -> np.ndarray:
        columns = [
            found[:, spans[i]] @ weights[j - 1, spans[i]] + found[:, spans[j]] @ weights[i, spans[j]] + rho[at]
            for at, (i, j) in enumerate(pairs)
        ]
        return np.stack(columns, axis=1)

    def probabilities(scores: np.ndarray) -> np.ndarray:
        r = np.zeros((scores.shape[0], k, k), np.float32)
        for at, (i, j) in enumerate(pairs):
            p = np.clip(1 - logistic(scores[:, at] * prob_a[at] + prob_b[at]), 1e-7, 1 - 1e-7)
            r[:, i, j], r[:, j, i] = p, 1 - p
        return pairwise_probabilities(r)

    def call(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(all="ignore"):
            found = dots(rows_of(x).astype(np.float32, copy=False))
            if linear:
                scores = found + rho[0]
                best, weight = np.argmax(scores, axis=1), scores.max(axis=1)
            else:
                scores = margins(found)
                votes = np.zeros((x.shape[0], k), np.float32)
                for at, (i, j) in enumerate(pairs):
                    won = scores[:, at] > 0
                    votes[:, i] += won
                    votes[:, j] += ~won
                if prob_a.size:
                    scores = probabilities(scores)
                best, weight = np.argmax(votes, axis=1), votes.max(axis=1)
            return _label(best, weight), _finish(scores)

    def _label(best: np.ndarray, weight: np.ndarray) -> np.ndarray:
        if rho.size == 1 and labels.size == 2 and not prob_a.size and positive:
            best = np.where(weight >= 0.5, 1, best)
        if rho.size == 1 and labels.size < 2:
            return np.where(weight > 0, labels[0] if labels.size else 1, 0).astype(labels.dtype)
        return labels[best]

    def _finish(scores: np.ndarray) -> np.ndarray:
        if scores.shape[1] == 1 and labels.size == 2:
            return transform(both_classes(scores[:, 0], "NONE", False), post)
        return transform(scores, post)

    return call
