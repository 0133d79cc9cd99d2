"""Linear models, support vector machines, Scaler, Normalizer and CDist, in float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from ronn_codegen.templates.ml_layout import KERNELS, NORMS, POSTS, ROWS, pack_columns, svm_scratch_bytes
from ronn_provider_cpu.kernels._scores import as_array
from ronn_provider_cpu.lower._scores import ML_MODULE, finish, labels_of, post_of, rows_and_width
from ronn_provider_cpu.lowering import F32, Lowering, Operand, Temporary, lower

ML = "ai.onnx.ml"


def _io(c: Lowering) -> tuple[Operand, Operand]:
    """The first input and the first output."""
    x, y = c.inputs[0], c.outputs[0]
    assert x is not None and y is not None
    c.require(x.dtype == F32, f"only float32, not {x.dtype}")
    return x, y


def _linear(
    c: Lowering, x: Operand, weights: np.ndarray, intercepts: np.ndarray, y: Operand | Temporary
) -> tuple[int, int]:
    """The call of y[rows, k] = x @ weights + intercepts; gives rows and k."""
    rows, width = rows_and_width(x)
    k = weights.shape[1]
    c.require(weights.shape[0] == width and intercepts.size in (0, k), "coefficients that do not fit the features")
    lanes = c.machine.target.lanes(32)
    bias = np.zeros(-(-k // lanes) * lanes, np.float32)
    bias[: intercepts.size] = intercepts
    c.call(
        ML_MODULE, "linear_f32", x=x, rows=rows, width=width, weights=pack_columns(weights, lanes), bias=bias, k=k, y=y,
        chunks=-(-rows // ROWS), cost=rows * width * -(-k // lanes) * 0.3, flops=2 * rows * width * k,
    )  # fmt: skip
    return rows, k


@lower("LinearRegressor", domain=ML)
def linear_regressor(c: Lowering) -> None:
    """LinearRegressor."""
    x, y = _io(c)
    post = post_of(c)
    coefficients, targets = as_array(c.attr("coefficients"), np.float32), c.attr("targets", 1)
    c.require(coefficients.size % targets == 0, "coefficients that are not as many for each target")
    rows, k = _linear(c, x, coefficients.reshape(targets, -1).T, as_array(c.attr("intercepts"), np.float32), y)
    if post:
        finish(c, y, rows, k, post=post, y=y)


@lower("LinearClassifier", domain=ML)
def linear_classifier(c: Lowering) -> None:
    """LinearClassifier with int64 labels."""
    x, _ = _io(c)
    labels, post = labels_of(c, "classlabels_ints"), post_of(c)
    intercepts = as_array(c.attr("intercepts"), np.float32)
    coefficients = as_array(c.attr("coefficients"), np.float32)
    k = intercepts.size if intercepts.size else max(1, labels.size)
    c.require(coefficients.size % k == 0, "coefficients that are not as many for each score")
    c.require(k == 1 or labels.size >= k, "scores that have no label")
    raw = c.temp(4 * rows_and_width(x)[0] * k)
    rows, _ = _linear(c, x, coefficients.reshape(k, -1).T, intercepts, raw)
    both = int(k == 1 and labels.size >= 2)
    finish(
        c, raw, rows, k, column=0 if k == 1 else -1, labels=labels if k > 1 or labels.size >= 2 else None,
        label=c.outputs[0], both=both, post=post if not both or POSTS[post] == "LOGISTIC" else 0, y=c.outputs[1],
    )  # fmt: skip


def _svm(c: Lowering, x: Operand, vectors: np.ndarray, coefficients: np.ndarray, classes: dict[str, Any]) -> None:
    """The call of ``svm_f32``; ``classes`` are its arguments that regression has otherwise."""
    rows, width = rows_and_width(x)
    n = vectors.shape[0]
    c.require(vectors.shape[1] == width, "support vectors that do not fit the features")
    kind = c.attr("kernel_type", "LINEAR")
    c.require(kind in KERNELS, f"kernel {kind}")
    params = (*as_array(c.attr("kernel_params"), np.float32).tolist(), 0.0, 0.0, 0.0)
    gamma, coef0, degree = params[:3]
    c.require(kind != "POLY" or (degree == int(degree) and 1 <= degree <= 16), f"degree {degree}")
    lanes = c.machine.target.lanes(32)
    padded = -(-n // lanes) * lanes
    norms = np.zeros(padded, np.float32)
    norms[:n] = np.square(vectors).sum(axis=1)
    chunks = min(-(-rows // ROWS), 16)
    count = int(classes["classes"])
    size = -(-svm_scratch_bytes(n, count, lanes) // 64) * 64
    c.call(
        ML_MODULE, "svm_f32", x=x, rows=rows, width=width, vectors=pack_columns(vectors.T, lanes), norms=norms,
        zeros=np.zeros(padded, np.float32), n=n, kind=KERNELS.index(kind), gamma=gamma, coef0=coef0, degree=int(degree),
        coefficients=coefficients, rho=as_array(c.attr("rho"), np.float32), scratch=c.temp(size * chunks), apart=size,
        **classes, chunks=chunks, cost=rows * n * (width * 0.05 + 1.0), flops=2 * rows * n * width,
    )  # fmt: skip


@lower("SVMRegressor", domain=ML)
def svm_regressor(c: Lowering) -> None:
    """SVMRegressor with support vectors."""
    x, y = _io(c)
    n, post = c.attr("n_supports", 0), post_of(c)
    c.require(n > 0, "a linear model without support vectors")
    c.require(not c.attr("one_class", 0), "one_class")
    coefficients = as_array(c.attr("coefficients"), np.float32)
    c.require(coefficients.size == n, "coefficients that are not one a vector")
    vectors = as_array(c.attr("support_vectors"), np.float32).reshape(n, -1)
    zeros = np.zeros(1, np.int64)
    _svm(c, x, vectors, coefficients, {"classes": 0, "ends": zeros, "labels": zeros, "label": 0, "y": y})
    if post:
        finish(c, y, y.shape[0], 1, post=post, y=y)


@lower("SVMClassifier", domain=ML)
def svm_classifier(c: Lowering) -> None:
    """SVMClassifier of int64 labels with support vectors and without probabilities."""
    x, label = _io(c)
    labels, post = labels_of(c, "classlabels_ints"), post_of(c)
    sizes = as_array(c.attr("vectors_per_class"), np.int64)
    n, k = int(sizes.sum()), labels.size
    c.require(n > 0 and k > 1, "a linear model, or fewer than two labels")
    c.require(bool((sizes > 0).all()), "a class without support vectors")
    c.require(not c.attr("prob_a"), "probabilities of pairs")
    weights = as_array(c.attr("coefficients"), np.float32).reshape(-1, n)
    c.require(weights.shape[0] == k - 1 and sizes.size == k, "coefficients that are not one a pair of classes")
    c.require(as_array(c.attr("rho"), np.float32).size == k * (k - 1) // 2, "not one rho a pair of classes")
    c.require(k > 2 or not bool((weights >= 0).all()), "two classes without a negative coefficient")
    lanes = c.machine.target.lanes(32)
    coefficients = np.zeros((n, -(-(k - 1) // lanes) * lanes), np.float32)
    coefficients[:, : k - 1] = weights.T
    vectors = as_array(c.attr("support_vectors"), np.float32).reshape(n, -1)
    rows, pairs = rows_and_width(x)[0], k * (k - 1) // 2
    margins = c.temp(4 * rows * pairs)
    _svm(c, x, vectors, coefficients, {
        "classes": k, "ends": np.cumsum(sizes), "labels": labels, "label": label, "y": margins,
    })  # fmt: skip
    both = int(pairs == 1)
    finish(c, margins, rows, pairs, column=0 if both else -1, both=both, post=post, y=c.outputs[1])


@lower("Scaler", domain=ML)
def scaler(c: Lowering) -> None:
    """Scaler."""
    x, y = _io(c)
    width = x.shape[-1] if x.rank else 1
    offset, scale = (
        np.asarray(default if c.attr(name) is None else c.attr(name), np.float32).reshape(-1)
        for name, default in (("offset", 0), ("scale", 1))
    )
    c.require(offset.size in (1, width) and scale.size in (1, width), "not one number a column")
    wide = [np.ascontiguousarray(np.broadcast_to(v, (width,))) for v in (offset, scale)]
    rows = x.size // width
    c.call(
        ML_MODULE, "scaler_f32", x=x, rows=rows, width=width, offset=wide[0], scale=wide[1], y=y, chunks=rows,
        cost=rows * (3 + width * 0.3), bytes=2 * x.nbytes,
    )  # fmt: skip
    c.inplace(0)


@lower("Normalizer", domain=ML)
def normalizer(c: Lowering) -> None:
    """Normalizer."""
    x, y = _io(c)
    norm = c.attr("norm", "MAX")
    c.require(norm in NORMS, f"norm {norm}")
    width = x.shape[-1] if x.rank else 1
    rows = x.size // width
    c.call(
        ML_MODULE, "normalizer_f32", x=x, rows=rows, width=width, norm=NORMS.index(norm), y=y, chunks=rows,
        cost=rows * (10 + width * 0.4), bytes=2 * x.nbytes,
    )  # fmt: skip
    c.inplace(0)


@lower("CDist", domain="com.microsoft")
def cdist(c: Lowering) -> None:
    """CDist to constant points."""
    x, y = _io(c)
    points = c.inputs[1]
    assert points is not None
    metric = c.attr("metric")
    c.require(metric in ("euclidean", "sqeuclidean"), f"metric {metric}")
    lanes = c.machine.target.lanes(32)
    packed = c.packed(points, ("columns", lanes), lambda data: pack_columns(data.T, lanes))
    c.require(x.rank == points.rank == 2 and x.shape[1] == points.shape[1], "points of other widths")
    rows, width = x.shape
    n = points.shape[0]
    c.call(
        ML_MODULE, "distances_f32", x=x, rows=rows, width=width, points=packed, n=n, root=int(metric == "euclidean"),
        y=y, chunks=rows, cost=rows * n * width * 0.03, flops=3 * rows * n * width,
    )  # fmt: skip
