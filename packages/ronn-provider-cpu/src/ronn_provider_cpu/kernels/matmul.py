"""MatMul, Gemm, their fused forms, and Einsum."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ronn.ir.graph import Node
from ronn.provider.kernels import KernelContext, kernel
from ronn_codegen.windows import is_set
from ronn_provider_cpu.kernels._activations import activate, activation, known
from ronn_provider_cpu.kernels._common import float_kernel, own

_INTS = "int32 int64 uint32 uint64"


def _known_activation(node: Node) -> bool | str:
    name = node.attributes.get("activation")
    return True if known(name) else f"activation {name!r} is not known"


@kernel("MatMul", dtypes=_INTS)
@float_kernel("MatMul")
def matmul(ctx: KernelContext, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.ndim > 2 and b.ndim == 2:
        # One large product instead of many small ones.
        rows = math.prod(a.shape[:-1])
        return np.matmul(a.reshape(rows, a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[1])
    return np.asarray(np.matmul(a, b))


def _gemm(alpha: Any, beta: Any, trans_a: Any, trans_b: Any) -> Callable[..., np.ndarray]:
    scale = 1.0 if alpha is None else float(alpha)
    weight = 1.0 if beta is None else float(beta)
    flip_a, flip_b = is_set(trans_a), is_set(trans_b)

    def run(a: np.ndarray, b: np.ndarray, c: np.ndarray | None = None) -> np.ndarray:
        y = np.matmul(a.T if flip_a else a, b.T if flip_b else b)
        if scale != 1.0:
            y = (y * scale).astype(a.dtype, copy=False)
        if c is not None and weight != 0.0:
            y += c if weight == 1.0 else (c * weight).astype(a.dtype, copy=False)
        return y

    return run


@kernel("Gemm", dtypes=_INTS, prepare=True)
@float_kernel("Gemm", prepare=True)
def gemm(ctx: KernelContext, *, alpha: Any, beta: Any, transA: Any, transB: Any) -> Callable[..., np.ndarray]:
    inner = _gemm(alpha, beta, transA, transB)
    if ctx.since >= 7:
        return inner

    def flat(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
        # Before opset 7 a C that is not of the output's shape needed ``broadcast``; leading axes of A are rows.
        return inner(a.reshape(a.shape[0], -1) if a.ndim > 2 else a, b, c)

    return flat


@float_kernel("FusedGemm", domain="ronn", prepare=True, when=_known_activation)
@float_kernel("FusedGemm", domain="com.microsoft", prepare=True, when=_known_activation)
def fused_gemm(
    ctx: KernelContext, *, alpha: Any, beta: Any, transA: Any, transB: Any, activation_params: Any
) -> Callable[..., np.ndarray]:
    inner = _gemm(alpha, beta, transA, transB)
    params = activation_params
    if params is None:
        params = [v for v in (ctx.attr("activation_alpha"), ctx.attr("activation_beta")) if v is not None]
    act = activation(ctx.attr("activation"), params)
    if act is None:
        return inner
    return lambda *inputs: activate(inner(*inputs), act)


@float_kernel("FusedMatMul", domain="ronn", prepare=True, when=_known_activation)
@float_kernel("FusedMatMul", domain="com.microsoft", prepare=True, when=_known_activation)
def fused_matmul(
    ctx: KernelContext,
    *,
    alpha: Any,
    transA: Any,
    transB: Any,
    transBatchA: Any,
    transBatchB: Any,
    activation_params: Any,
) -> Callable[..., np.ndarray]:
    """alpha * A' @ B' (+ bias), with transposes of the last two axes, or of the batch axes behind the rows."""
    act = activation(ctx.attr("activation"), () if activation_params is None else activation_params)

    def arrange(x: np.ndarray, flip: bool, batch: bool) -> np.ndarray:
        if x.ndim < 2:
            return x
        if batch:
            # (rows, batch..., columns) -> (batch..., rows, columns)
            x = np.moveaxis(x, 0, -2)
        return x.swapaxes(-1, -2) if flip else x

    def run(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
        a = arrange(a, is_set(transA), is_set(transBatchA))
        b = arrange(b, is_set(transB), is_set(transBatchB))
        y = np.asarray(matmul(ctx, a, b))
        if alpha is not None and alpha != 1.0:
            y *= a.dtype.type(alpha)
        if bias is not None:
            y += bias
        return activate(y, act)

    return run


@kernel("Einsum", dtypes="int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool")
@float_kernel("Einsum")
def einsum(ctx: KernelContext, *inputs: np.ndarray, equation: str) -> np.ndarray:
    text = equation.replace(" ", "")
    y = np.asarray(np.einsum(text, *inputs, optimize=len(inputs) > 1))
    return own(y.astype(inputs[0].dtype, copy=False), *inputs)
