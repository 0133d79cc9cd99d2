"""Einsum that is a matrix product of its operands as they lie: ``bij,bjk->bik``, ``bhid,bhjd->bhij``."""

from __future__ import annotations

import math

from ronn_provider_cpu.lower._products import Epilogue, Matrix, product
from ronn_provider_cpu.lowering import Lowering, Operand, lower


@lower("Einsum", empty=True)
def einsum(c: Lowering) -> None:
    """Einsum."""
    text = str(c.attr("equation")).replace(" ", "")
    c.require(len(c.inputs) == 2 and "->" in text and "." not in text, "no plain product of two operands")
    left, right = c.inputs
    y = c.outputs[0]
    assert left is not None and right is not None and y is not None
    c.require(left.dtype == right.dtype == y.dtype, "operands of several types")
    terms, _, result = text.partition("->")
    one, two = terms.split(",")
    c.require(all(len(set(t)) == len(t) for t in (one, two, result)), "a repeated index")
    made = _matrices(left, one, right, two, result)
    if made is None:
        made = _matrices(right, two, left, one, result)
    if made is None:
        c.refuse("operands would have to be transposed")
    product(c, *made, y, Epilogue())


def _matrices(a: Operand, of_a: str, b: Operand, of_b: str, result: str) -> tuple[Matrix, Matrix] | None:
    """The operands as matrices, if the result's rows are indices of ``a`` and its columns of ``b``; else None."""
    sizes = {**dict(zip(of_a, a.shape, strict=True)), **dict(zip(of_b, b.shape, strict=True))}
    batch = "".join(i for i in result if i in of_a and i in of_b)
    rows = "".join(i for i in result if i in of_a and i not in of_b)
    columns = "".join(i for i in result if i in of_b and i not in of_a)
    steps = "".join(i for i in of_a if i in of_b and i not in result)
    if result != batch + rows + columns:
        return None
    shape = tuple(sizes[i] for i in batch)

    def matrix(operand: Operand, order: str, high: str, wide: str) -> Matrix | None:
        m, n = (math.prod(sizes[i] for i in group) for group in (high, wide))
        if order == batch + high + wide:
            return Matrix(operand, m, n, n, 1, shape)
        if order == batch + wide + high:
            return Matrix(operand, m, n, 1, m, shape)
        return None

    found = matrix(a, of_a, rows, steps), matrix(b, of_b, steps, columns)
    return None if found[0] is None or found[1] is None else (found[0], found[1])
