"""Matrix products of bfloat16 operands with float32 sums; see ``ronn_codegen.templates.gemm``.

Both operands are 32-bit words of two neighbours along k (``ronn_codegen.templates.bf16`` makes them), so that the
kernel is that of float32 with half as many steps, each of which adds two products.
"""

from __future__ import annotations

from collections.abc import Callable

from ronn_codegen.native.declare import native
from ronn_codegen.simd.activation import activate
from ronn_codegen.simd.dot import bf16_terms
from ronn_codegen.simd.target import Target
from ronn_codegen.templates.gemm import product


@native(
    "gemm_bf16(m, n, k, kc, batch, offsets, a, a_row, a_step, b, b_step, b_last, b_panel, tail, c, c_row,"
    " source, source_row, source_kind, alpha: f32, beta: f32, mode, p0: f32, p1: f32)"
)
def gemm_bf16(target: Target) -> Callable[..., None]:
    """As ``gemm_f32``; ``k``, ``kc`` and the strides of A and B count words."""
    return product(target, "f32", activate(target.lanes(32)), bf16_terms(target))
