"""Integer products of com.microsoft: dynamically quantised MatMul and LSTM, QGemm, weights of a few bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ronn.ops.contrib.integer import known_bits
from ronn.provider.kernels import KernelContext, kernel
from ronn_codegen.templates.nbits_pack import unpack
from ronn_codegen.windows import is_set
from ronn_provider_cpu.kernels._common import float_kernel, wide
from ronn_provider_cpu.kernels._quant import saturate
from ronn_provider_cpu.kernels.integer import RightHand, product, shift
from ronn_provider_cpu.kernels.quantize import quantize_dynamically
from ronn_provider_cpu.kernels.recurrent import (
    activations_of,
    clipper,
    directions_of,
    lstm_step,
    outputs,
    run_directions,
)

Array = np.ndarray
MS = "com.microsoft"
_BYTES = "int8 uint8"


def _per_row(p: Array | None) -> Any:
    return p[:, None] if p is not None and p.ndim == 1 and p.size > 1 else p


def _per_column(p: Array | None) -> Any:
    """Scales and zero points of B: a scalar, one per column, or (..., N) of a batch."""
    return p[..., None, :] if p is not None and p.ndim > 1 and p.shape[-2] != 1 else p


@kernel("DynamicQuantizeMatMul", domain=MS, dtypes={"F": "float32", "T": _BYTES}, prepare=True)
def dynamic_quantize_matmul(ctx: KernelContext) -> Callable[..., Array]:
    right = RightHand(ctx, 1, 3)

    def run(a: Array, b: Array, b_scale: Array, b_zero: Array | None = None, bias: Array | None = None) -> Array:
        shifted, bound = right(b, b_zero)
        q, scale, zero = quantize_dynamically(a)
        y = product(shift(q, np.asarray(zero)), shifted, bound).astype(np.float32)
        y *= scale * _per_column(b_scale)
        return y if bias is None else y + bias

    return run


@kernel("MatMulIntegerToFloat", domain=MS, dtypes={"A": _BYTES, "B": _BYTES, "F": "float32 float16"}, prepare=True)
def matmul_integer_to_float(ctx: KernelContext) -> Callable[..., Array]:
    right = RightHand(ctx, 1, 5)

    def run(
        a: Array,
        b: Array,
        a_scale: Array,
        b_scale: Array,
        a_zero: Array | None = None,
        b_zero: Array | None = None,
        bias: Array | None = None,
    ) -> Array:
        shifted, bound = right(b, b_zero)
        y = product(shift(a, _per_row(a_zero)), shifted, bound).astype(np.float32)
        y = y * (_per_row(wide(a_scale)) * _per_column(wide(b_scale)))
        return np.asarray(y if bias is None else y + wide(bias)).astype(a_scale.dtype, copy=False)

    return run


@kernel("QGemm", domain=MS, dtypes={"A": _BYTES, "B": _BYTES}, prepare=True)
def qgemm(ctx: KernelContext, *, alpha: Any, transA: Any, transB: Any) -> Callable[..., Array]:
    def run(
        a: Array,
        a_scale: Array,
        a_zero: Array,
        b: Array,
        b_scale: Array,
        b_zero: Array,
        c: Array | None = None,
        y_scale: Array | None = None,
        y_zero: Array | None = None,
    ) -> Array:
        shifted, bound = RightHand.make(b.T if is_set(transB) else b, b_zero)
        total = product(shift(a.T if is_set(transA) else a, a_zero), shifted, bound)
        if c is not None:
            total = total + c
        y = total.astype(np.float32) * (np.float32(1.0 if alpha is None else alpha) * a_scale * b_scale)
        if y_scale is None or y_zero is None:
            return y
        return saturate(y / y_scale, y_zero, y_zero.dtype)

    return run


def _weights(
    b: Array, scales: Array, zeros: Array | None, groups: Array | None, k: int, n: int, bits: int, block: int
) -> Array:
    """Block-quantised weights as float32 (K, N); without zero points the middle of the range stands for 0."""
    blocks = -(-k // block)
    q = unpack(b.view(np.uint8).reshape(n, -1), bits)[:, :k].astype(np.float32)
    scale = np.asarray(wide(scales)).reshape(n, blocks).astype(np.float32, copy=False)
    if zeros is None:
        zero = np.full((n, blocks), 1 << (bits - 1), np.float32)
    elif zeros.dtype == np.uint8:
        zero = unpack(zeros.reshape(n, -1), bits)[:, :blocks].astype(np.float32)
    else:
        zero = np.asarray(wide(zeros)).reshape(n, blocks).astype(np.float32, copy=False)
    at = np.arange(k) // block if groups is None else groups[:k].astype(np.int64)
    q -= zero[:, at]
    q *= scale[:, at]
    return np.ascontiguousarray(q.T)


@float_kernel("MatMulNBits", domain=MS, only="float16 bfloat16 float32", prepare=True, when=known_bits)
def matmul_nbits(ctx: KernelContext, *, K: int, N: int, bits: int, block_size: int) -> Callable[..., Array]:
    fixed = [ctx.const(i) for i in range(1, 5)]
    ready: Array | None = None
    if all(c is not None or ctx.node.input(i + 1) is None for i, c in enumerate(fixed)) and fixed[1] is not None:
        ready = _weights(fixed[0], fixed[1], fixed[2], fixed[3], K, N, bits, block_size)  # type: ignore[arg-type]

    def run(
        a: Array,
        b: Array,
        scales: Array,
        zeros: Array | None = None,
        groups: Array | None = None,
        bias: Array | None = None,
    ) -> Array:
        w = ready if ready is not None else _weights(b, scales, zeros, groups, K, N, bits, block_size)
        y = (a.reshape(-1, K) @ w).reshape(*a.shape[:-1], N)
        return y if bias is None else y + bias

    return run


@kernel("DynamicQuantizeLSTM", domain=MS, dtypes={"F": "float32", "T": _BYTES}, prepare=True)
def dynamic_quantize_lstm(ctx: KernelContext, *, clip: Any, input_forget: Any) -> Callable[..., Any]:
    """W (D, I, 4H) and R (D, H, 4H) are 8-bit; the whole input, and the hidden state of each step, are quantised."""
    backwards = directions_of(ctx)
    acts = activations_of(ctx, ("sigmoid", "tanh", "tanh"), len(backwards))
    limit = clipper(clip)
    fixed = [
        _directions(ctx.const(q), ctx.const(s), ctx.const(z), len(backwards)) for q, s, z in ((1, 8, 9), (2, 10, 11))
    ]

    def run(
        x: Array,
        w: Array,
        r: Array,
        b: Array | None,
        lengths: Array | None,
        initial_h: Array | None,
        initial_c: Array | None,
        p: Array | None,
        w_scale: Array,
        w_zero: Array,
        r_scale: Array,
        r_zero: Array,
    ) -> Any:
        hidden = r.shape[1]
        given = ((w, w_scale, w_zero), (r, r_scale, r_zero))
        project, recur = (
            f if f is not None else _directions(*g, len(backwards)) for f, g in zip(fixed, given, strict=True)
        )
        assert project is not None and recur is not None

        def step_of(d: int, xs: Array, batch: int) -> Callable[[int, list[Array]], list[Array]]:
            return lstm_step(
                project[d], None if b is None else b[d], None if p is None else p[d], recur[d], xs, hidden,
                acts[d], limit, is_set(input_forget),
            )  # fmt: skip

        y, last = run_directions(x, 0, lengths, [initial_h, initial_c], hidden, backwards, step_of)
        return outputs(ctx, y, last)

    return run


def _directions(
    weights: Array | None, scale: Array | None, zero: Array | None, count: int
) -> list[Callable[[Array], Array]] | None:
    """For each direction, the product of float rows with its weights; None while they are not all known."""
    if weights is None or scale is None or zero is None:
        return None
    return [_quantised_product(weights[d], scale[d], zero[d]) for d in range(count)]


def _quantised_product(weights: Array, scale: Array, zero: Array) -> Callable[[Array], Array]:
    shifted, bound = RightHand.make(weights, np.asarray(zero))

    def run(rows: Array) -> Array:
        q, a_scale, a_zero = quantize_dynamically(rows)
        y = product(shift(q, np.asarray(a_zero)), shifted, bound).astype(np.float32)
        y *= a_scale * scale
        return y

    return run
