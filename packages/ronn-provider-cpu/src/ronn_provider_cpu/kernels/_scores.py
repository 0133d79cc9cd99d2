"""What the classifiers of ai.onnx.ml share: post transforms, labels, and the two scores of a binary classifier."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext
from ronn_provider_cpu.kernels.strings import objects


def logistic(x: np.ndarray) -> np.ndarray:
    """The logistic function, without overflow."""
    tail = np.exp(-np.abs(x))
    return np.where(x < 0, tail / (1 + tail), 1 / (1 + tail)).astype(x.dtype)


def softmax(x: np.ndarray) -> np.ndarray:
    """Softmax of the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_zero(x: np.ndarray) -> np.ndarray:
    """Softmax of the last axis that keeps scores of about zero at about zero."""
    peak = x.max(axis=-1, keepdims=True)
    e = np.where(np.abs(x) > 1e-7, np.exp(x - peak), x * np.exp(-peak))
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total == 0, 1, total)


def probit(x: np.ndarray) -> np.ndarray:
    """sqrt(2) erfinv(2 x - 1), by Winitzki's approximation of erfinv."""
    y = 2 * x - 1
    log = np.log((1 - y) * (1 + y))
    a = 0.147
    v = 2 / (math.pi * a) + 0.5 * log
    return (math.sqrt(2) * np.sign(y) * np.sqrt(np.sqrt(v * v - log / a) - v)).astype(x.dtype)


TRANSFORMS = {"NONE": None, "LOGISTIC": logistic, "SOFTMAX": softmax, "SOFTMAX_ZERO": softmax_zero, "PROBIT": probit}


def transform(scores: np.ndarray, name: str) -> np.ndarray:
    """``scores`` ``[rows, classes]`` after the post transform ``name``."""
    fn = TRANSFORMS[name]
    if fn is None or scores.size == 0:
        return scores
    with np.errstate(all="ignore"):
        return fn(scores)


def class_labels(ctx: KernelContext, integers: str, strings: str = "classlabels_strings") -> np.ndarray:
    """The labels: an object array of str, or int64."""
    given = ctx.attr(strings)
    if given:
        return objects(given, (len(given),))
    return np.array(ctx.attr(integers, ()), np.int64)


def both_classes(score: np.ndarray, name: str, complement: bool) -> np.ndarray:
    """``[rows, 2]`` from the one score of the positive class ``[rows]``, after the post transform ``name``.

    ``complement``: the score is a probability, the other is 1 - score; else it is a margin, the other is -score.
    Softmax is not applied: it would take the made-up score for a real one.
    """
    if name == "LOGISTIC":
        return np.stack([logistic(-score), logistic(score)], axis=1)
    if name == "PROBIT":
        score, complement = transform(score, name), False
    return np.stack([1 - score if complement else -score, score], axis=1)


def rows_of(x: np.ndarray) -> np.ndarray:
    """``x`` as rows of features: a vector is one row."""
    return x.reshape(1, -1) if x.ndim == 1 else x.reshape(x.shape[0], -1)


def as_array(value: Any, dtype: Any) -> np.ndarray:
    """An attribute (list, tensor or None) as a flat array."""
    return np.asarray(() if value is None else value, dtype).reshape(-1)
