"""Reference kernels: integer matrix products and the dynamically quantised LSTM."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ronn.ir.graph import Node
from ronn.ops.contrib.dense import MS, wide
from ronn.provider import KernelContext, kernel


def quantise_dynamic(x: np.ndarray) -> tuple[np.ndarray, np.float32, int]:
    """``x`` as uint8 with the scale and zero point of its range, which is made to hold 0 (as DynamicQuantizeLinear)."""
    low = min(float(x.min(initial=0)), 0.0)
    high = max(float(x.max(initial=0)), 0.0)
    scale = np.float32(1) if low == high else (np.float32(high) - np.float32(low)) / np.float32(255)
    zero = int(np.clip(np.rint(-np.float32(low) / scale), 0, 255))
    return np.clip(np.rint(x / scale) + zero, 0, 255).astype(np.uint8), scale, zero


def integer_product(a: np.ndarray, b: np.ndarray, a_zero: Any, b_zero: Any) -> np.ndarray:
    """(a - a_zero) @ (b - b_zero) in int32; ``b_zero`` may be one per column, ``a_zero`` one per row."""
    left = a.astype(np.int32) - np.asarray(a_zero, np.int32)
    right = b.astype(np.int32) - np.asarray(b_zero, np.int32)
    # float64 holds every sum exactly, and has a fast matrix product.
    return np.matmul(left.astype(np.float64), right.astype(np.float64)).astype(np.int64).astype(np.int32)


def _per_row(zero: np.ndarray | None) -> Any:
    if zero is None:
        return 0
    return zero.reshape(-1, 1) if zero.ndim == 1 and zero.size > 1 else zero


def _per_column(x: np.ndarray | None) -> Any:
    if x is None:
        return 0
    return x if x.ndim != 2 or x.shape[0] == 1 else x[:, None, :]


@kernel("DynamicQuantizeMatMul", domain=MS)
def dynamic_quantize_matmul(
    ctx: KernelContext,
    a: np.ndarray,
    b: np.ndarray,
    b_scale: np.ndarray,
    b_zero: np.ndarray | None = None,
    bias: np.ndarray | None = None,
) -> np.ndarray:
    q, scale, zero = quantise_dynamic(a)
    out = integer_product(q, b, zero, _per_column(b_zero)).astype(np.float32) * (scale * _per_column(b_scale))
    return out if bias is None else out + bias


@kernel("MatMulIntegerToFloat", domain=MS)
def matmul_integer_to_float(
    ctx: KernelContext,
    a: np.ndarray,
    b: np.ndarray,
    a_scale: np.ndarray,
    b_scale: np.ndarray,
    a_zero: np.ndarray | None = None,
    b_zero: np.ndarray | None = None,
    bias: np.ndarray | None = None,
) -> np.ndarray:
    product = integer_product(a, b, _per_row(a_zero), _per_column(b_zero)).astype(np.float32)
    out = product * (_per_row(wide(a_scale)) * _per_column(wide(b_scale)))
    return (out if bias is None else out + wide(bias)).astype(a_scale.dtype)


@kernel("QGemm", domain=MS)
def qgemm(
    ctx: KernelContext,
    a: np.ndarray,
    a_scale: np.ndarray,
    a_zero: np.ndarray,
    b: np.ndarray,
    b_scale: np.ndarray,
    b_zero: np.ndarray,
    c: np.ndarray | None = None,
    y_scale: np.ndarray | None = None,
    y_zero: np.ndarray | None = None,
    *,
    alpha: float,
    transA: int,
    transB: int,
) -> np.ndarray:
    left, right = (a.T if transA else a), (b.T if transB else b)
    total = integer_product(left, right, a_zero, b_zero)
    if c is not None:
        total = total + c
    out = total.astype(np.float32) * (np.float32(alpha) * a_scale * b_scale)
    if y_scale is None or y_zero is None:
        return out
    info = np.iinfo(y_zero.dtype)
    return np.clip(np.rint(out / y_scale) + y_zero.astype(np.int32), info.min, info.max).astype(y_zero.dtype)


def known_bits(node: Node) -> bool | str:
    """Whether the weights of a MatMulNBits have as many bits as bytes can be cut into."""
    bits = int(node.attributes.get("bits", 4))
    return True if bits in (2, 4, 8) else f"weights of {bits} bits: 2, 4 and 8 are known"


@kernel("MatMulNBits", domain=MS, prepare=True, when=known_bits)
def matmul_nbits(ctx: KernelContext, *, K: int, N: int, bits: int, block_size: int) -> Any:
    def run(
        a: np.ndarray,
        b: np.ndarray,
        scales: np.ndarray,
        zeros: np.ndarray | None = None,
        groups: np.ndarray | None = None,
        bias: np.ndarray | None = None,
    ) -> np.ndarray:
        weights = dequantise_blocks(b, scales, zeros, groups, K, N, bits, block_size)
        out = wide(a) @ weights.T
        return (out if bias is None else out + wide(bias)).astype(a.dtype)

    return run


def unpack_bits(packed: np.ndarray, bits: int) -> np.ndarray:
    """uint8 [..., bytes] -> uint8 [..., bytes * 8 / bits]; the lowest bits hold the first element."""
    if bits == 8:
        return packed
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    spread = (packed[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return spread.reshape(*packed.shape[:-1], -1)


def dequantise_blocks(
    b: np.ndarray,
    scales: np.ndarray,
    zeros: np.ndarray | None,
    groups: np.ndarray | None,
    k: int,
    n: int,
    bits: int,
    block_size: int,
) -> np.ndarray:
    """Block-quantised weights as float32 [n, k]; without zero points, the middle of the range stands for 0."""
    blocks = -(-k // block_size)
    q = unpack_bits(b.reshape(n, -1), bits)[:, : blocks * block_size].astype(np.float32)
    scale = wide(scales.reshape(n, blocks))
    if zeros is None:
        zero = np.full((n, blocks), 1 << (bits - 1), np.float32)
    elif zeros.dtype == np.uint8:
        zero = unpack_bits(zeros.reshape(n, -1), bits)[:, :blocks].astype(np.float32)
    else:
        zero = wide(zeros.reshape(n, blocks))
    at = np.arange(k) // block_size if groups is None else groups[:k].astype(np.int64)
    return (q[:, :k] - zero[:, at]) * scale[:, at]


@kernel("DynamicQuantizeLSTM", domain=MS)
def dynamic_quantize_lstm(
    ctx: KernelContext,
    x: np.ndarray,
    w: np.ndarray,
    r: np.ndarray,
    b: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
    h0: np.ndarray | None = None,
    c0: np.ndarray | None = None,
    p: np.ndarray | None = None,
    w_scale: np.ndarray | None = None,
    w_zero: np.ndarray | None = None,
    r_scale: np.ndarray | None = None,
    r_zero: np.ndarray | None = None,
    *,
    direction: str,
    activations: Sequence[str] | None,
    activation_alpha: Sequence[float] | None,
    activation_beta: Sequence[float] | None,
    clip: float | None,
    input_forget: int,
) -> Any:
    """W [D, I, 4H] and R [D, H, 4H] are 8-bit; the input as a whole, and the hidden state of each step, are quantised
    to uint8 before their products."""
    from ronn.providers.reference_ops.recurrent import recurrent

    def product(kind: str, d: int) -> Any:
        q, scale, zero = (w, w_scale, w_zero) if kind == "w" else (r, r_scale, r_zero)
        assert scale is not None and zero is not None

        def run(left: np.ndarray) -> np.ndarray:
            quantised, a_scale, a_zero = quantise_dynamic(left)
            total = integer_product(quantised, q[d], a_zero, zero[d])
            return total.astype(np.float32) * (a_scale * scale[d])

        return run

    out = recurrent(
        "LSTM", x, w.swapaxes(1, 2), r.swapaxes(1, 2), b, lengths, h0, c0, p,
        direction=direction, activations=activations, activation_alpha=activation_alpha,
        activation_beta=activation_beta, clip=clip, input_forget=input_forget, product=product,
    )  # fmt: skip
    return out[0] if ctx.n_outputs == 1 else out[: ctx.n_outputs]
