"""DeformConv: columns at moved positions, then a matrix product."""

from __future__ import annotations

from ronn_codegen.clike.lower._products import Matrix, Source, epilogue, product
from ronn_codegen.clike.table import lower
from ronn_codegen.lower._deform import columns
from ronn_codegen.lowering import Lowering


@lower("DeformConv")
def deform_conv(c: Lowering) -> None:
    """DeformConv of two spatial dims."""
    found = columns(c)
    k, positions, each = found.k, found.positions, found.rows * found.k
    left = Matrix(found.weights, found.rows, k, k, 1, (found.groups,), (each,))
    area = k * positions
    right = Matrix(
        found.columns, k, positions, positions, 1, (found.images, found.groups), (found.groups * area, area), kind="f32"
    )
    product(c, left, right, found.result, epilogue(c, None if found.bias is None else Source(found.bias, 1, 0)))
