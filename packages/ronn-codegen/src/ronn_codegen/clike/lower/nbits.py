"""MatMulNBits: float32 rows by block-quantised weights of 4 or 8 bits."""

from __future__ import annotations

import math

from ronn_codegen.clike.table import lower
from ronn_codegen.clike.templates.nbits import columns_of
from ronn_codegen.lower._nbits import multiply
from ronn_codegen.lowering import Lowering


@lower("MatMulNBits", domain="com.microsoft")
def matmul_nbits(c: Lowering) -> None:
    """MatMulNBits."""
    a = c.input(0)
    assert a is not None
    one = math.prod(a.shape[:-1]) == 1
    multiply(c, columns_of(c.machine), "nbits{bits}_one_f32" if one else "nbits{bits}_f32")
