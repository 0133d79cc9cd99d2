"""MatMul, Gemm and their fused forms, of any numbers."""

from __future__ import annotations

from ronn_codegen.clike.lower._products import Matrix, Source, epilogue, matrix, product, source
from ronn_codegen.clike.table import lower
from ronn_codegen.lowering import Lowering, Operand


def _operands(c: Lowering) -> tuple[Operand, Operand, Operand]:
    a, b, y = c.inputs[0], c.inputs[1], c.outputs[0]
    assert a is not None and b is not None and y is not None
    c.require(a.dtype == b.dtype == y.dtype, "operands of several types")
    return a, b, y


def _right(b: Operand, *, transposed: bool = False) -> Matrix:
    """The right operand; a vector is a column."""
    return matrix(b, transposed=transposed or b.rank == 1)


def _bias(c: Lowering, a: Operand, b: Operand, x: Operand | None) -> Source | None:
    """A vector that is added to the last dim."""
    if x is None:
        return None
    c.require(x.rank <= 1, "a bias of several dims")
    c.require(a.rank > 1 and b.rank > 1, "a bias of a product of vectors")
    return source(x)


@lower("MatMul", empty=True, alike=True)
def matmul(c: Lowering) -> None:
    """MatMul."""
    a, b, y = _operands(c)
    product(c, matrix(a), _right(b), y, epilogue(c, None))


@lower("FusedMatMul", domain="ronn", empty=True, alike=True)
def fused_matmul(c: Lowering) -> None:
    """MatMul, bias and activation."""
    a, b, y = _operands(c)
    product(c, matrix(a), _right(b), y, epilogue(c, _bias(c, a, b, c.input(2))))


@lower("FusedMatMul", domain="com.microsoft", empty=True, alike=True)
def fused_matmul_transposed(c: Lowering) -> None:
    """alpha * A' @ B' with transposes of the last two dims."""
    a, b, y = _operands(c)
    c.require(not any(c.attr(name, 0) for name in ("transBatchA", "transBatchB")), "transposed batches")
    left = matrix(a, transposed=a.rank > 1 and bool(c.attr("transA", 0)))
    right = _right(b, transposed=bool(c.attr("transB", 0)))
    product(c, left, right, y, epilogue(c, None, c.attr("alpha", 1.0)))


@lower("Gemm", since=7, empty=True, alike=True)
@lower("FusedGemm", domain="ronn", empty=True, alike=True)
@lower("FusedGemm", domain="com.microsoft", empty=True, alike=True)
def gemm(c: Lowering) -> None:
    """alpha * A' @ B' + beta * C and, fused, an activation."""
    a, b, y = _operands(c)
    given = c.input(2)
    if given is not None:
        c.require(given.rank <= 2, "C of more than two dims")
    made = epilogue(c, None if given is None else source(given), c.attr("alpha", 1.0), c.attr("beta", 1.0))
    left = matrix(a, transposed=bool(c.attr("transA", 0)))
    right = matrix(b, transposed=bool(c.attr("transB", 0)))
    product(c, left, right, y, made)
