"""Convolution on blocked channels with bfloat16 operands and float32 sums; see ``ronn_codegen.templates.conv``.

Input and weights are 32-bit words of two neighbouring channels (``ronn_codegen.templates.bf16`` makes them): a channel
block has half as many steps, each of which adds two products.
"""

from __future__ import annotations

from collections.abc import Callable

from ronn_codegen.native.declare import native
from ronn_codegen.simd.dot import bf16_terms
from ronn_codegen.simd.target import Target
from ronn_codegen.templates.conv import convolution


@native("conv_bf16(plan, x, w, bias, residual, y, residual_last, mode, p0: f32, p1: f32)")
def conv_bf16(target: Target) -> Callable[..., None]:
    """As ``conv_f32``, with a ``PairPlan``; x and w hold words, all else is float32."""
    return convolution(target, bf16_terms(target), target.lanes(32) // 2)
