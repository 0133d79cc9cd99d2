"""Reference kernels: activations, fused products, normalisations. 16-bit floats are computed in float32."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ronn.provider import KernelContext, kernel

MS = "com.microsoft"


def wide(x: np.ndarray) -> np.ndarray:
    """``x`` in float32, or as it is when it is float64."""
    return x if x.dtype == np.float64 else x.astype(np.float32)


@functools.lru_cache(maxsize=1)
def _erf() -> Callable[[np.ndarray], np.ndarray]:
    return np.vectorize(math.erf, otypes=[np.float64])


def erf(x: np.ndarray) -> np.ndarray:
    """The error function, elementwise, in the dtype of ``x``."""
    return _erf()(x).astype(x.dtype) if x.size else x


def gelu(x: np.ndarray) -> np.ndarray:
    """x * Phi(x), with the exact error function."""
    v = wide(x)
    return (0.5 * v * (1 + erf(v / np.float32(math.sqrt(2))))).astype(x.dtype)


@kernel("Gelu", domain=MS)
def gelu_node(ctx: KernelContext, x: np.ndarray) -> np.ndarray:
    return gelu(x)


@kernel("BiasGelu", domain=MS)
def bias_gelu(ctx: KernelContext, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return gelu(wide(a) + wide(b)).astype(a.dtype)


@kernel("FastGelu", domain=MS)
def fast_gelu(ctx: KernelContext, x: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    v = wide(x) if bias is None else wide(x) + wide(bias)
    inner = np.float32(0.7978845608028654) * (v + np.float32(0.044715) * v * v * v)
    return (0.5 * v * (1 + np.tanh(inner))).astype(x.dtype)


@kernel("QuickGelu", domain=MS)
def quick_gelu(ctx: KernelContext, x: np.ndarray, *, alpha: float) -> np.ndarray:
    v = wide(x)
    return (v / (1 + np.exp(-v * np.float32(alpha)))).astype(x.dtype)


@kernel("BiasAdd", domain=MS)
def bias_add(ctx: KernelContext, x: np.ndarray, bias: np.ndarray, skip: np.ndarray) -> np.ndarray:
    return (wide(x) + wide(bias) + wide(skip)).astype(x.dtype)


@kernel("BiasSplitGelu", domain=MS)
def bias_split_gelu(ctx: KernelContext, x: np.ndarray, bias: np.ndarray) -> np.ndarray:
    left, right = np.split(wide(x) + wide(bias), 2, axis=-1)
    return (left * gelu(right)).astype(x.dtype)


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """Softmax along one axis, in the dtype of ``x``."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    out: np.ndarray = e / e.sum(axis=axis, keepdims=True)
    return out


@kernel("BiasSoftmax", domain=MS)
def bias_softmax(
    ctx: KernelContext, x: np.ndarray, bias: np.ndarray, *, axis: int, is_inner_broadcast: int
) -> np.ndarray:
    at = axis % x.ndim
    if bias.ndim == x.ndim or not is_inner_broadcast:
        summed = wide(x) + wide(bias)
    else:
        # The bias misses the axes in the middle: it is repeated within each of the outermost groups.
        summed = wide(x) + wide(bias.reshape(bias.shape[0], *(1,) * (x.ndim - bias.ndim), *bias.shape[1:]))
    rows = summed.reshape(int(np.prod(x.shape[:at])), -1)
    return softmax(rows).astype(x.dtype).reshape(x.shape)


@kernel("FusedMatMul", domain=MS)
@kernel("TransposeMatMul", domain=MS)
def fused_matmul(
    ctx: KernelContext, a: np.ndarray, b: np.ndarray, *, alpha: float, transA: int, transB: int
) -> np.ndarray:
    left = _operand(wide(a), transA, ctx.attr("transBatchA", 0))
    right = _operand(wide(b), transB, ctx.attr("transBatchB", 0))
    return (np.matmul(left, right) * left.dtype.type(alpha)).astype(a.dtype)


def _operand(x: np.ndarray, trans: int, batch: int) -> np.ndarray:
    if batch and x.ndim > 2:
        x = np.moveaxis(x, 0, -2)
    return x.swapaxes(-1, -2) if trans and x.ndim > 1 else x


def activate(x: np.ndarray, name: str | None, params: Sequence[float]) -> np.ndarray:
    """The activation of a fused operator. ``params`` in the order of the operator's attributes."""
    from ronn.providers.reference_ops.recurrent import activation_functions

    if not name:
        return x
    if name == "Clip":
        return np.clip(x, params[0], params[1])
    if name == "HardSwish":
        return x * np.clip(x / 6 + 0.5, 0, 1)
    (fn,) = activation_functions([name], params[:1], params[1:2])
    return fn(x)


@kernel("FusedGemm", domain=MS)
def fused_gemm(
    ctx: KernelContext,
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray | None = None,
    *,
    alpha: float,
    beta: float,
    transA: int,
    transB: int,
    activation: str | None,
) -> np.ndarray:
    out = _operand(wide(a), transA, 0) @ _operand(wide(b), transB, 0) * np.float32(alpha)
    if c is not None:
        out = out + wide(c) * np.float32(beta)
    names = ("activation_alpha", "activation_beta", "activation_gamma")
    return activate(out, activation, [p for p in (ctx.attr(n) for n in names) if p is not None]).astype(a.dtype)


@kernel("FusedConv", domain=MS)
def fused_conv(
    ctx: KernelContext,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    z: np.ndarray | None = None,
    *,
    activation: str | None,
    activation_params: Sequence[float] | None,
) -> np.ndarray:
    out = onnx_op(
        "Conv", wide(x), wide(w), None if b is None else wide(b), **attributes(ctx, "activation", "activation_params")
    )
    if z is not None:
        out = out + wide(z)
    return activate(out, activation, activation_params or ()).astype(x.dtype)


def attributes(ctx: KernelContext, *but: str) -> dict[str, Any]:
    """The attributes that the node itself gives, without those called ``but``."""
    return {k: v for k, v in ctx.node.attributes.items() if k not in but}


def onnx_op(op: str, *inputs: np.ndarray | None, **given: Any) -> np.ndarray:
    """The first output of an operator of ONNX's newest opset, by ``onnx.reference``."""
    from onnx.reference.ops import load_op

    result = load_op("", op).eval(*inputs, **given)
    return np.asarray(result[0] if isinstance(result, tuple) else result)


@kernel("SkipLayerNormalization", domain=MS)
def skip_layer_normalization(
    ctx: KernelContext,
    x: np.ndarray,
    skip: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    *,
    epsilon: float,
) -> Any:
    total = wide(x) + wide(skip) + (0 if bias is None else wide(bias))
    mean = total.mean(axis=-1, keepdims=True)
    inverse = 1 / np.sqrt(((total - mean) ** 2).mean(axis=-1, keepdims=True) + np.float32(epsilon))
    out = (total - mean) * inverse * wide(gamma)
    if beta is not None:
        out = out + wide(beta)
    return _normalised(ctx, x, out, mean, inverse, total)


@kernel("SkipSimplifiedLayerNormalization", domain=MS)
def skip_simplified_layer_normalization(
    ctx: KernelContext,
    x: np.ndarray,
    skip: np.ndarray,
    gamma: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    epsilon: float,
) -> Any:
    total = wide(x) + wide(skip) + (0 if bias is None else wide(bias))
    inverse = 1 / np.sqrt((total**2).mean(axis=-1, keepdims=True) + np.float32(epsilon))
    return _normalised(ctx, x, total * inverse * wide(gamma), np.zeros_like(inverse), inverse, total)


def _normalised(ctx: KernelContext, x: np.ndarray, *results: np.ndarray) -> Any:
    out, mean, inverse, total = results
    full = (out.astype(x.dtype), mean.astype(np.float32), inverse.astype(np.float32), total.astype(x.dtype))
    return full[0] if ctx.n_outputs == 1 else full[: ctx.n_outputs]


@kernel("SimplifiedLayerNormalization")
def simplified_layer_normalization(
    ctx: KernelContext, x: np.ndarray, scale: np.ndarray, *, axis: int, epsilon: float
) -> Any:
    v = wide(x)
    inverse = 1 / np.sqrt((v**2).mean(axis=tuple(range(axis % x.ndim, x.ndim)), keepdims=True) + np.float32(epsilon))
    out = (v * inverse * wide(scale)).astype(x.dtype)
    return out if ctx.n_outputs == 1 else (out, inverse.astype(np.float32))


@kernel("GroupNorm", domain=MS)
def group_norm(
    ctx: KernelContext,
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    *,
    activation: int,
    channels_last: int,
    epsilon: float,
    groups: int,
) -> np.ndarray:
    v = np.moveaxis(wide(x), -1, 1) if channels_last else wide(x)
    grouped = v.reshape(v.shape[0], groups, -1)
    mean = grouped.mean(axis=2, keepdims=True)
    variance = ((grouped - mean) ** 2).mean(axis=2, keepdims=True)
    shape = (1, -1, *(1,) * (v.ndim - 2))
    out = ((grouped - mean) / np.sqrt(variance + np.float32(epsilon))).reshape(v.shape)
    out = out * wide(gamma).reshape(shape) + wide(beta).reshape(shape)
    if activation == 1:
        out = out / (1 + np.exp(-out))
    return (np.moveaxis(out, 1, -1) if channels_last else out).astype(x.dtype)
