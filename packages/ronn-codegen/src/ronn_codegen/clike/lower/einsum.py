"""Einsum that is a matrix product of its operands as they lie; ``ronn_codegen.passes.expand_einsum`` makes other ones
out of such."""

from __future__ import annotations

import math
from itertools import pairwise

from ronn_codegen.clike.lower._products import Matrix, product
from ronn_codegen.clike.table import lower
from ronn_codegen.lowering import Lowering, Operand


@lower("Einsum")
def einsum(c: Lowering) -> None:
    """Einsum."""
    text = str(c.attr("equation")).replace(" ", "")
    c.require(len(c.inputs) == 2 and "->" in text and "." not in text, "no plain product of two operands")
    left, right, y = c.inputs[0], c.inputs[1], c.outputs[0]
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
    product(c, *made, y)


def _matrices(a: Operand, of_a: str, b: Operand, of_b: str, result: str) -> tuple[Matrix, Matrix] | None:
    """The operands as matrices, if the result's rows are indices of ``a`` and its columns of ``b``; else None."""
    sizes: dict[str, int] = {}
    for term, operand in ((of_a, a), (of_b, b)):
        for i, n in zip(term, operand.shape, strict=True):
            if sizes.setdefault(i, n) != n:
                return None
    batch = "".join(i for i in result if i in of_a and i in of_b)
    rows = "".join(i for i in result if i in of_a and i not in of_b)
    columns = "".join(i for i in result if i in of_b and i not in of_a)
    steps = "".join(i for i in of_a if i in of_b and i not in result)
    if result != batch + rows + columns or set(of_a + of_b) - set(result + steps):
        return None

    def matrix(operand: Operand, term: str, high: str, wide: str) -> Matrix | None:
        strides = dict(zip(term, operand.strides, strict=True))
        row, column = (_stride([(sizes[i], strides[i]) for i in group]) for group in (high, wide))
        if row is None or column is None:
            return None
        m, n = (math.prod(sizes[i] for i in group) for group in (high, wide))
        along = [(sizes[i], strides[i]) for i in batch]
        return Matrix(operand, m, n, row, column, tuple(n for n, _ in along), tuple(s for _, s in along))

    found = matrix(a, of_a, rows, steps), matrix(b, of_b, steps, columns)
    return None if found[0] is None or found[1] is None else (found[0], found[1])


def _stride(dims: list[tuple[int, int]]) -> int | None:
    """The stride of dims (size, stride) that are walked as one; None where they cannot be."""
    joined = all(s == m * t for (_, s), (m, t) in pairwise(dims))
    return None if not joined else dims[-1][1] if dims else 1
