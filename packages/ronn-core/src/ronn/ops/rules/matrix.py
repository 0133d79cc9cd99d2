"""Matrix products and Einsum."""

from __future__ import annotations

from ronn.ir.dims import Dim, Shape
from ronn.ir.types import DType
from ronn.ops.infer import InferContext, rule
from ronn.ops.rules.common import broadcast, unify


def matmul_shape(c: InferContext, a: Shape | None, b: Shape | None) -> Shape | None:
    """The shape of NumPy's ``a @ b``. ModelError when the inner dims differ."""
    if a is None or b is None:
        return None
    if not a or not b:
        raise c.fail("a matrix product takes no scalars")
    inner = b[-2] if len(b) > 1 else b[0]
    unify(c, a[-1], inner, "the inner dims of the product")
    batch = broadcast(c, a[:-2], b[:-2])
    if batch is None:
        return None
    rows = a[-2:-1] if len(a) > 1 else ()
    columns = b[-1:] if len(b) > 1 else ()
    return (*batch, *rows, *columns)


@rule("MatMul")
def matmul(c: InferContext) -> None:
    c.set(0, c.dtype(0), matmul_shape(c, c.shape(0), c.shape(1)))


@rule("MatMulInteger")
def matmul_integer(c: InferContext) -> None:
    c.set(0, DType.INT32, matmul_shape(c, c.shape(0), c.shape(1)))


@rule("QLinearMatMul")
def qlinear_matmul(c: InferContext) -> None:
    c.set(0, c.dtype(7), matmul_shape(c, c.shape(0), c.shape(3)))


@rule("Gemm")
def gemm(c: InferContext) -> None:
    a, b = c.shape(0), c.shape(1)
    for shape in (a, b):
        if shape is not None and len(shape) != 2:
            raise c.fail(f"Gemm takes matrices, not rank {len(shape)}")
    if a is not None and c.attr("transA", 0):
        a = a[::-1]
    if b is not None and c.attr("transB", 0):
        b = b[::-1]
    if a is not None and b is not None:
        unify(c, a[1], b[0], "the inner dims of the product")
    c.set(0, c.dtype(0), (None if a is None else a[0], None if b is None else b[1]))


@rule("Det")
def det(c: InferContext) -> None:
    shape = c.shape(0)
    c.set(0, c.dtype(0), None if shape is None else shape[:-2])


@rule("Einsum")
def einsum(c: InferContext) -> None:
    c.set(0, c.dtype(0), _einsum_shape(c, str(c.attr("equation", "")).replace(" ", "")))


def _einsum_shape(c: InferContext, equation: str) -> Shape | None:
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(c.node.inputs):
        raise c.fail(f"the equation {equation!r} has {len(terms)} terms for {len(c.node.inputs)} inputs")
    sizes: dict[str, Dim | None] = {}
    batch: Shape | None = ()
    for i, term in enumerate(terms):
        shape = c.shape(i)
        if shape is None:
            batch = None if "..." in term else batch
            sizes.update({letter: None for letter in term.replace("...", "") if letter not in sizes})
            continue
        head, dots, tail = term.partition("...")
        spread = len(shape) - len(head) - len(tail)
        if spread < 0 or (spread and not dots):
            raise c.fail(f"term {term!r} of the equation does not fit rank {len(shape)}")
        batch = broadcast(c, batch, shape[len(head) : len(head) + spread])
        for letter, d in zip(head + tail, (*shape[: len(head)], *shape[len(head) + spread :]), strict=True):
            known = sizes.get(letter)
            if known is None or known == 1:
                sizes[letter] = d
            elif d != 1:
                sizes[letter] = unify(c, known, d, f"dims {letter!r}")
    if not arrow:
        letters = left.replace(",", "").replace("...", "")
        right = ("..." if "..." in left else "") + "".join(sorted(x for x in sizes if letters.count(x) == 1))
    head, dots, tail = right.partition("...")
    if any(letter not in sizes for letter in head + tail):
        raise c.fail(f"the equation {equation!r} makes a dim that no term has")
    if dots and batch is None:
        return None
    return (*(sizes[x] for x in head), *(batch if dots and batch is not None else ()), *(sizes[x] for x in tail))
