"""ai.onnx.ml: LinearClassifier and LinearRegressor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_provider_cpu.kernels._scores import as_array, both_classes, class_labels, rows_of, transform

ML = "ai.onnx.ml"


@kernel("LinearRegressor", domain=ML, prepare=True)
def linear_regressor(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """LinearRegressor: float32 ``[rows, targets]``."""
    targets = ctx.attr("targets", 1)
    weights = as_array(ctx.attr("coefficients"), np.float32).reshape(targets, -1).T
    intercepts = as_array(ctx.attr("intercepts"), np.float32)
    post = ctx.attr("post_transform", "NONE")

    def call(x: np.ndarray) -> np.ndarray:
        scores = rows_of(x).astype(np.float32, copy=False) @ weights
        if intercepts.size:
            scores += intercepts
        return transform(scores, post)

    return call


@kernel("LinearClassifier", domain=ML, prepare=True)
def linear_classifier(ctx: KernelContext) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """LinearClassifier: labels ``[rows]`` and float32 scores; one score for two labels stands for the second."""
    labels = class_labels(ctx, "classlabels_ints")
    intercepts = as_array(ctx.attr("intercepts"), np.float32)
    coefficients = as_array(ctx.attr("coefficients"), np.float32)
    n_scores = intercepts.size if intercepts.size else max(1, labels.size)
    weights = coefficients.reshape(n_scores, -1).T
    post = ctx.attr("post_transform", "NONE")

    def call(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores = rows_of(x).astype(np.float32, copy=False) @ weights
        if intercepts.size:
            scores += intercepts
        if n_scores == 1:
            score = scores[:, 0]
            if labels.size < 2:
                return _one_label(score, labels), transform(scores, post)
            return labels[(score > 0).astype(np.int64)], both_classes(score, post, False)
        return labels[np.argmax(scores, axis=1)], transform(scores, post)

    return call


def _one_label(score: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Where fewer than two labels are named, the others are 1 and 0, or the label and ""."""
    if labels.dtype.kind == "O":
        return np.where(score > 0, labels[0], "").astype(object)
    return (score > 0).astype(np.int64)
