"""MatMulNBits: float32 rows by block-quantised weights of 4 or 8 bits."""

from __future__ import annotations

from ronn_codegen.lower._nbits import multiply
from ronn_codegen.templates.nbits_pack import panel_columns
from ronn_provider_cpu.lowering import Lowering, lower


@lower("MatMulNBits", domain="com.microsoft")
def matmul_nbits(c: Lowering) -> None:
    """MatMulNBits."""
    multiply(c, panel_columns(c.machine.target), "nbits{bits}_f32")
