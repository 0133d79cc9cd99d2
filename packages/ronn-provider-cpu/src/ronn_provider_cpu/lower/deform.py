"""DeformConv: columns at moved positions, then a matrix product."""

from __future__ import annotations

from ronn_codegen.lower._deform import columns
from ronn_provider_cpu.lower._products import Epilogue, Matrix, Source, product
from ronn_provider_cpu.lowering import Lowering, lower


@lower("DeformConv")
def deform_conv(c: Lowering) -> None:
    """DeformConv of two spatial dims."""
    found = columns(c)
    left = Matrix(found.weights, found.rows, found.k, found.k, 1, (found.groups,))
    right = Matrix(found.columns, found.k, found.positions, found.positions, 1, (found.images, found.groups))
    bias = found.bias
    product(c, left, right, found.result, Epilogue(source=None if bias is None else Source(bias, 1, 0)))
