"""NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss."""

from __future__ import annotations

from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext
from ronn_provider_cpu.kernels._common import float_kernel

Array = np.ndarray


def _nll(log_prob: Array, target: Array, weight: Array | None, ignore: int | None, reduction: str) -> Array:
    """log_prob (N, C, D...), target (N, D...) -> the reduced loss."""
    ignored = np.zeros(target.shape, np.bool_) if ignore is None else target == ignore
    classes = log_prob.shape[1]
    real = target[~ignored]
    if real.size and (real.min() < 0 or real.max() >= classes):
        raise IndexError(f"a target lies outside 0..{classes - 1}")
    at = np.where(ignored, 0, target).astype(np.int64)
    loss = -np.take_along_axis(log_prob, at[:, None], axis=1)[:, 0]
    factor = np.ones(target.shape, log_prob.dtype) if weight is None else weight[at]
    factor = np.where(ignored, log_prob.dtype.type(0), factor)
    loss = loss * factor
    if reduction == "none":
        return loss
    total = loss.sum()
    return np.asarray(total if reduction == "sum" else total / factor.sum())


@float_kernel("NegativeLogLikelihoodLoss")
def negative_log_likelihood_loss(
    ctx: KernelContext, x: Array, target: Array, weight: Array | None = None, *, ignore_index: Any, reduction: str
) -> Array:
    return _nll(x, target, weight, ignore_index, reduction)


@float_kernel("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy_loss(
    ctx: KernelContext, x: Array, labels: Array, weight: Array | None = None, *, ignore_index: Any, reduction: str
) -> Any:
    shifted = x - x.max(axis=1, keepdims=True)
    log_prob = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = _nll(log_prob, labels, weight, ignore_index, reduction)
    return (loss, log_prob) if ctx.n_outputs > 1 else loss
