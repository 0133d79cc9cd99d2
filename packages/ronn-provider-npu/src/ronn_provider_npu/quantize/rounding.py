"""Weights rounded one input after another, each making up for the errors of those before it.

E. Frantar et al. 2022, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers": what goes
into a layer says, by its second moments, how the error of one weight is made good by the others of its row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ronn.ir.graph import IRModel
from ronn.numerics.walk import traced
from ronn.passes.edit import attr
from ronn_provider_npu.quantize.observe import Tell
from ronn_provider_npu.quantize.steps import Analysis, Step

Array = np.ndarray
PLACES = 1 << 13
"""Of a layer's inputs that are looked at, over all data: rows, or windows of a convolution."""
_LARGEST = 2304
"""Inputs of a row of weights, beyond which the work is not worth while: rows are rounded to the nearest."""
_DAMPED = 0.01
"""Of the mean of the diagonal: it is added to the diagonal, so that what no data show stays near."""


def moments(
    model: IRModel, analysis: Analysis, feeds: Sequence[Mapping[str, Any]], tell: Tell,
    providers: Sequence[Any] | None = None,
) -> dict[str, Array]:  # fmt: skip
    """By the name of each layer's output, the second moments f64[groups, K, K] of what its rows of weights multiply."""
    steps = [s for s in analysis.steps.values() if s.kind in ("conv", "gemm") and _fits(s)]
    found: dict[str, Array] = {}
    values = list(dict.fromkeys(s.inputs[0] for s in steps))
    r = np.random.default_rng(0)
    each = max(PLACES // max(len(feeds), 1), 1)
    for number, arrays in enumerate(traced(model, values, feeds, providers)):
        tell("what layers are given", number / len(feeds))
        given = dict(zip(values, arrays, strict=True))
        for step in steps:
            rows = _rows(step, given[step.inputs[0]], each, r).astype(np.float64)
            product = np.matmul(rows.transpose(0, 2, 1), rows)
            name = step.outputs[0].name
            found[name] = found[name] + product if name in found else product
    return found


def _fits(step: Step) -> bool:
    return step.weights is not None and 1 < step.weights[0].size <= _LARGEST and _known_window(step)


def _known_window(step: Step) -> bool:
    """Whether a convolution is of two axes, with pads that are written out."""
    if step.kind == "gemm":
        return True
    padding = attr(step.node, "auto_pad", "NOTSET")
    return step.weights is not None and step.weights.ndim == 4 and padding in ("NOTSET", "VALID")


def _rows(step: Step, x: Array, count: int, r: np.random.Generator) -> Array:
    """f32[groups, n, K]: some of what rows of weights multiply, n of ``count`` at most."""
    assert step.weights is not None
    if step.kind == "gemm":
        rows = x.reshape(-1, x.shape[-1])
        return (rows if len(rows) <= count else rows[r.integers(0, len(rows), count)])[None]
    node, (_, per_group, height, width) = step.node, step.weights.shape
    groups = int(attr(node, "group", 1))
    top, left, bottom, right = attr(node, "pads", [0] * 4)
    (down, across), (dy, dx) = attr(node, "strides", [1, 1]), attr(node, "dilations", [1, 1])
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    tall = (padded.shape[2] - (height - 1) * dy - 1) // down + 1
    wide = (padded.shape[3] - (width - 1) * dx - 1) // across + 1
    if tall < 1 or wide < 1:
        return np.zeros((groups, 0, per_group * height * width), np.float32)
    images, ys, xs = (r.integers(0, n, count) for n in (len(x), tall, wide))
    rows = (ys * down)[:, None, None] + (np.arange(height) * dy)[None, :, None]
    columns = (xs * across)[:, None, None] + (np.arange(width) * dx)[None, None, :]
    windows = padded[images[:, None, None], :, rows, columns]  # [n, height, width, channels]
    split = windows.transpose(0, 3, 1, 2).reshape(count, groups, -1)
    return split.transpose(1, 0, 2)


def rounded(w: Array, scale: Array, moment: Array) -> Array:
    """i8[out, ...]: codes in -127 to 127 of w f32[out, ...] by ``scale`` f32[out] or f32[1]."""
    groups, k = moment.shape[:2]
    rows = w.reshape(groups, -1, k).astype(np.float64)
    steps = np.broadcast_to(scale, len(w)).astype(np.float64).reshape(groups, -1)
    found = [_rounded(a, s, m) for a, s, m in zip(rows, steps, moment, strict=True)]
    return np.concatenate(found).reshape(w.shape).astype(np.int8)


def _rounded(w: Array, scale: Array, moment: Array) -> Array:
    """Codes f64[rows, K] of w f64[rows, K]."""
    k = w.shape[1]
    diagonal = np.arange(k)
    damped = moment.copy()
    mean = float(np.trace(moment)) / k
    damped[diagonal, diagonal] += _DAMPED * mean if mean > 0 else 1.0
    order = np.argsort(-np.diagonal(damped), kind="stable")  # what matters most first
    back = np.argsort(order)
    inverse = np.linalg.inv(damped[np.ix_(order, order)])
    upper = np.linalg.cholesky((inverse + inverse.T) / 2).T
    left, codes = w[:, order].copy(), np.empty_like(w)
    for i in range(k):
        codes[:, i] = np.clip(np.rint(left[:, i] / scale), -127, 127)
        error = (left[:, i] - codes[:, i] * scale) / upper[i, i]
        left[:, i + 1 :] -= error[:, None] * upper[i, i + 1 :]
    return codes[:, back]
