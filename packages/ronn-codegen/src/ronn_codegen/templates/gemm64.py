"""Matrix products in float64, without activations; see ``ronn_codegen.templates.gemm``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd.target import Target
from ronn_codegen.templates.gemm import product


@native(
    "gemm_f64(m, n, k, kc, batch, offsets, a, a_row, a_step, b, b_step, b_last, b_panel, tail, c, c_row,"
    " source, source_row, source_kind, alpha: f64, beta: f64, mode, p0: f64, p1: f64)"
)
def gemm_f64(target: Target) -> Callable[..., None]:
    """As ``gemm_f32``; ``mode`` is 0 or, where alpha and beta are 1, CLAMP."""

    @njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
    def finish(mode: int, c: int, c_row: int, rows: int, columns: int, p0: Any, p1: Any) -> None:
        pass

    return product(target, "f64", finish)
