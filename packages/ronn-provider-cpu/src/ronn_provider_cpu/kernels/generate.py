"""Operators that make tensors: constants, ranges, random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ronn.ir.graph import Node
from ronn.ir.types import DType
from ronn.provider.kernels import KernelContext, kernel
from ronn_provider_cpu.kernels._numeric import is_float, kernels, store, widen, wider

_CONSTANT_DTYPES = {
    "value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64,
    "value_string": object, "value_strings": object,
}  # fmt: skip


def _dense(node: Node) -> bool | str:
    return "sparse_value" not in node.attributes or "sparse constants are not supported"


@kernel("Constant", prepare=True, when=_dense)
def constant(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """Constant, from any of its dense attributes."""
    attributes = ctx.node.attributes
    if "value" in attributes:
        value = np.asarray(attributes["value"])
    else:
        name = next(n for n in _CONSTANT_DTYPES if n in attributes)
        value = np.array(_text(attributes[name]), dtype=_CONSTANT_DTYPES[name])
    return lambda: value.copy()


def _text(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_text(v) for v in value]
    return value.decode() if isinstance(value, bytes) else value


@kernel("ConstantOfShape", prepare=True)
def constant_of_shape(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """ConstantOfShape: float32 zeros unless ``value`` says otherwise."""
    value = ctx.attr("value")
    fill = np.zeros(1, np.float32) if value is None else np.asarray(value).reshape(-1)

    def call(shape: np.ndarray) -> np.ndarray:
        out = np.empty(tuple(shape.tolist()), fill.dtype)
        out[...] = fill[0]
        return out

    return call


@kernels(["Range"], rounded=True)
def arange(ctx: KernelContext, start: np.ndarray, limit: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Range: start + i delta, below (or above) the limit."""
    dtype = start.dtype
    first, end, step = (a.reshape(-1)[0] for a in (start, limit, delta))
    if step == 0:
        raise ValueError("the delta of Range is 0")
    if dtype.kind in "iu":
        n = max(0, -(-(int(end) - int(first)) // int(step)))
        return np.arange(n, dtype=np.int64).astype(dtype) * dtype.type(step) + dtype.type(first)
    n = max(0, math.ceil((float(end) - float(first)) / float(step)))
    compute = wider(dtype)
    return (np.arange(n, dtype=compute) * compute.type(step) + compute.type(first)).astype(dtype, copy=False)


@kernel("EyeLike", prepare=True)
def eye_like(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """EyeLike: ones on the k-th diagonal."""
    given, k = ctx.attr("dtype"), ctx.attr("k", 0)
    dtype = ctx.dtype() if given is None else DType.from_code(given).numpy
    return lambda x: np.eye(x.shape[0], x.shape[1], k, wider(dtype)).astype(dtype, copy=False)


def _generator(ctx: KernelContext) -> np.random.RandomState:
    """A generator for one run: the same numbers each time where the node has a seed."""
    seed = ctx.attr("seed")
    # RandomState, because its stream is fixed for all versions of NumPy, as Generator's is not.
    return np.random.RandomState(None if seed is None or math.isnan(seed) else int(seed) % 2**32)


def _random_dtype(ctx: KernelContext, like: np.ndarray | None) -> np.dtype:
    given = ctx.attr("dtype") if like is None else ctx.node.attributes.get("dtype")
    if given is not None:
        return DType.from_code(given).numpy
    return like.dtype if like is not None else np.dtype(np.float32)


@kernel("RandomNormal")
@kernel("RandomNormalLike")
def random_normal(ctx: KernelContext, like: np.ndarray | None = None, *, mean: float, scale: float) -> np.ndarray:
    """RandomNormal and RandomNormalLike."""
    shape = ctx.attr("shape") if like is None else like.shape
    return np.asarray(_generator(ctx).normal(mean, scale, tuple(shape))).astype(_random_dtype(ctx, like))


@kernel("RandomUniform")
@kernel("RandomUniformLike")
def random_uniform(ctx: KernelContext, like: np.ndarray | None = None, *, low: float, high: float) -> np.ndarray:
    """RandomUniform and RandomUniformLike."""
    shape = ctx.attr("shape") if like is None else like.shape
    return np.asarray(_generator(ctx).uniform(low, high, tuple(shape))).astype(_random_dtype(ctx, like))


@kernel("Bernoulli")
def bernoulli(ctx: KernelContext, x: np.ndarray) -> np.ndarray:
    """Bernoulli: 1 with the probability that the input gives."""
    drawn = _generator(ctx).uniform(size=x.shape) < widen(x)
    return np.asarray(drawn).astype(_random_dtype(ctx, x))


@kernel("Multinomial")
def multinomial(ctx: KernelContext, x: np.ndarray, *, sample_size: int) -> np.ndarray:
    """Multinomial: ``[batch, sample_size]`` classes, drawn by unnormalised log-probabilities ``[batch, classes]``."""
    log = widen(x).astype(np.float64)
    cumulative = np.cumsum(np.exp(log - log.max(axis=1, keepdims=True)), axis=1)
    drawn = _generator(ctx).uniform(size=(x.shape[0], sample_size)) * cumulative[:, -1:]
    classes = (drawn[:, :, None] >= cumulative[:, None, :]).sum(axis=2)
    return np.minimum(classes, x.shape[1] - 1).astype(DType.from_code(ctx.attr("dtype", 6)).numpy)


def _mask(ctx: KernelContext, x: np.ndarray, kept: np.ndarray | None) -> np.ndarray | None:
    """The second output of Dropout: bool since opset 10, of the type of ``x`` before."""
    if ctx.n_outputs < 2 or not ctx.wanted[1]:
        return None
    dtype = np.dtype(bool) if ctx.since >= 10 else x.dtype
    return np.ones(x.shape, dtype) if kept is None else kept.astype(dtype)


@kernel("Dropout", view=0)
def dropout(
    ctx: KernelContext, x: np.ndarray, ratio: np.ndarray | None = None, training: np.ndarray | None = None
) -> Any:
    """Dropout: the identity, but in training mode (opset 12 and later)."""
    rate = 0.5 if ratio is None else float(ratio.reshape(-1)[0])
    if training is None or not training.reshape(-1)[0] or rate == 0:
        return x if ctx.n_outputs < 2 else (x, _mask(ctx, x, None))
    kept = _generator(ctx).uniform(0, 1, x.shape) >= rate
    y = store(widen(x) * kept * (1 / (1 - rate)), x.dtype, None)
    return y if ctx.n_outputs < 2 else (y, _mask(ctx, x, kept))


def _is_float_input(node: Node) -> bool | str:
    first = node.input(0)
    return first is None or first.dtype is None or is_float(first.dtype.numpy) or "input 0 is not a float"


@kernels(["Det"], rounded=True, when=_is_float_input)
def det(ctx: KernelContext, x: np.ndarray) -> np.ndarray:
    """Det of the last two dims."""
    with np.errstate(all="ignore"):
        return store(np.linalg.det(widen(x)), x.dtype, None)
