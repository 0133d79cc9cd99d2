"""Operators that give the same elements another shape or order, and those that read shapes."""

from __future__ import annotations

from ronn.ir.dims import Dim, Shape, floordiv
from ronn.ir.types import DType
from ronn.ops.infer import InferContext, rule
from ronn.ops.rules.common import (
    attr_or_input,
    axes_of,
    axis_of,
    broadcast,
    ints,
    known_product,
    length,
    unify,
    unknown,
)


@rule("Shape")
def shape_of(c: InferContext) -> None:
    shape = c.shape(0)
    if shape is None:
        c.set(0, DType.INT64, (None,))
        return
    part = shape
    if "start" in c.node.attributes or "end" in c.node.attributes:
        part = shape[slice(c.attr("start", 0), c.attr("end", None))]
    c.set(0, DType.INT64, (len(part),))
    c.set_dims(0, part)


@rule("Size")
def size_of(c: InferContext) -> None:
    shape = c.shape(0)
    c.set(0, DType.INT64, ())
    total = None if shape is None else known_product(shape)
    if total is not None:
        c.set_dims(0, (total,))


@rule("Reshape")
def reshape(c: InferContext) -> None:
    shape = c.shape(0)
    target = attr_or_input(c, "shape", 1)
    if target is None:
        c.set(0, c.dtype(0), unknown(length(c, 1)))
        return
    c.set(0, c.dtype(0), _reshaped(c, shape, target, bool(c.attr("allowzero", 0))))
    known = c.dims(0)
    if known is not None and len(target) <= 1:
        c.set_dims(0, known)


def _reshaped(c: InferContext, shape: Shape | None, target: tuple[Dim | None, ...], allowzero: bool) -> Shape:
    out: list[Dim | None] = list(target)
    left = None if shape is None else list(shape)  # the input's dims that are not copied
    others: list[Dim | None] = []  # the output's dims that are neither copied nor to be found
    hole: int | None = None
    for i, d in enumerate(target):
        if d == 0 and not allowzero:
            if shape is None:
                out[i] = None
            elif i >= len(shape):
                raise c.fail(f"the new shape copies dim {i} of a tensor of rank {len(shape)}")
            else:
                out[i] = shape[i]
                assert left is not None
                left[i] = 1
        elif d == -1:
            if hole is not None:
                raise c.fail("the new shape has two -1")
            hole = i
        elif isinstance(d, int) and d < 0:
            raise c.fail(f"the new shape has the dim {d}")
        else:
            others.append(d)
    given = known_product(others)
    total = None if left is None else known_product(left)
    if hole is not None:
        out[hole] = _quotient(c, total, given)
        if out[hole] is None and left is not None:
            out[hole] = _cancelled(left, others)
    elif isinstance(total, int) and isinstance(given, int) and total != given:
        raise c.fail(f"{total} elements do not fit into {given}")
    return tuple(out)


def _quotient(c: InferContext, total: Dim | None, given: Dim | None) -> Dim | None:
    if total is None or given is None or given == 0:
        return None
    if isinstance(total, int) and isinstance(given, int) and total % given:
        raise c.fail(f"{total} elements cannot be spread over a multiple of {given}")
    return floordiv(total, given)


def _cancelled(left: list[Dim | None], others: list[Dim | None]) -> Dim | None:
    """The dim of -1 when the only unknown dim is left over once all equal ones are struck out: it is that one."""
    rest = [d for d in left if d != 1]
    for d in others:
        if d is not None and d in rest:
            rest.remove(d)
        elif d != 1:
            return None
    return rest[0] if len(rest) == 1 else None


@rule("Transpose")
def transpose(c: InferContext) -> None:
    shape = c.shape(0)
    if shape is None:
        perm = c.node.attributes.get("perm")
        c.set(0, c.dtype(0), None if perm is None else unknown(len(perm)))
        return
    perm = c.node.attributes.get("perm")
    if perm is None:
        c.set(0, c.dtype(0), shape[::-1])
        return
    if len(perm) != len(shape):
        raise c.fail(f"perm {list(perm)} does not permute the axes of rank {len(shape)}")
    order = axes_of(c, perm, len(shape))
    c.set(0, c.dtype(0), [shape[i] for i in order])


@rule("Squeeze")
def squeeze(c: InferContext) -> None:
    shape = c.shape(0)
    known = c.dims(0)
    if known is not None and len(known) == 1:
        c.set_dims(0, known)
    if shape is None:
        c.set(0, c.dtype(0), None)
        return
    axes = c.node.attributes.get("axes")
    if axes is None and c.has(1):
        axes = ints(c, 1)
        if axes is None:
            n = length(c, 1)
            c.set(0, c.dtype(0), None if n is None or n > len(shape) else unknown(len(shape) - n))
            return
    if axes is None:
        rest = None if any(not isinstance(d, int) for d in shape) else [d for d in shape if d != 1]
        c.set(0, c.dtype(0), rest)
        return
    gone = axes_of(c, axes, len(shape))
    for i in gone:
        d = shape[i]
        if isinstance(d, int) and d != 1:
            raise c.fail(f"axis {i} has size {d} and cannot be squeezed")
    c.set(0, c.dtype(0), [d for i, d in enumerate(shape) if i not in gone])


@rule("Unsqueeze")
def unsqueeze(c: InferContext) -> None:
    shape = c.shape(0)
    axes = c.node.attributes.get("axes")
    if axes is None:
        axes = ints(c, 1)
    if shape is None or axes is None:
        n = length(c, 1)
        c.set(0, c.dtype(0), None if shape is None or n is None else unknown(len(shape) + n))
        return
    rank = len(shape) + len(axes)
    new = set(axes_of(c, axes, rank))
    old = iter(shape)
    c.set(0, c.dtype(0), [1 if i in new else next(old) for i in range(rank)])
    known = c.dims(0)
    if known is not None and rank <= 1:
        c.set_dims(0, known)


@rule("Flatten")
def flatten(c: InferContext) -> None:
    shape = c.shape(0)
    if shape is None:
        c.set(0, c.dtype(0), (None, None))
        return
    axis = c.attr("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise c.fail(f"axis {axis} lies outside of rank {len(shape)}")
    axis = axis + len(shape) if axis < 0 else axis
    c.set(0, c.dtype(0), (known_product(shape[:axis]), known_product(shape[axis:])))


@rule("Expand")
def expand(c: InferContext) -> None:
    shape = c.shape(0)
    target = c.dims(1)
    if target is None:
        n = length(c, 1)
        target = None if n is None else (None,) * n
    if target is not None and any(isinstance(d, int) and d < 0 for d in target):
        raise c.fail(f"the new shape {list(target)} has a negative dim")
    c.set(0, c.dtype(0), broadcast(c, shape, target))
    known = c.dims(0)
    if known is not None and target is not None and len(known) == 1 and len(target) == 1 and isinstance(target[0], int):
        if 1 <= target[0] <= 64:
            c.set_dims(0, known * target[0])


@rule("Tile")
def tile(c: InferContext) -> None:
    shape, repeats = c.shape(0), c.dims(1)
    if c.since < 6 or shape is None or repeats is None:
        c.set(0, c.dtype(0), unknown(c.rank(0)))
        return
    if len(repeats) != len(shape):
        raise c.fail(f"{len(repeats)} repeats for rank {len(shape)}")
    c.set(0, c.dtype(0), [None if d is None or r is None else d * r for d, r in zip(shape, repeats, strict=True)])


@rule("Concat")
def concat(c: InferContext) -> None:
    n = len(c.node.inputs)
    shapes = [c.shape(i) for i in range(n)]
    known = [s for s in shapes if s is not None]
    dtype = next((t for i in range(n) if (t := c.dtype(i)) is not None), None)
    if not known:
        c.set(0, dtype, None)
        return
    rank = len(known[0])
    axis = axis_of(c, c.attr("axis", 1), rank)
    out: list[Dim | None] = list(known[0])
    for s in known[1:]:
        if len(s) != rank:
            raise c.fail(f"tensors of rank {rank} and {len(s)} cannot be joined")
        out = [d if i == axis else unify(c, d, s[i], f"sizes along axis {i}") for i, d in enumerate(out)]
    total: Dim | None = 0
    for shape in shapes:
        d = None if shape is None else shape[axis]
        total = None if total is None or d is None else total + d
    out[axis] = total
    c.set(0, dtype, out)
    if rank == 1 and dtype in (DType.INT64, DType.INT32):
        elements: list[Dim | None] = []
        for i in range(n):
            part = c.dims(i)
            if part is None:
                count = length(c, i)
                if count is None:
                    return
                part = (None,) * min(count, 65)
            elements.extend(part)
        c.set_dims(0, elements)


@rule("DepthToSpace")
def depth_to_space(c: InferContext) -> None:
    x, b = c.shape(0), c.attr("blocksize", 1)
    if x is None or len(x) != 4:
        c.set(0, c.dtype(0), unknown(4))
        return
    n, ch, h, w = x
    up = [None if d is None else d * b for d in (h, w)]
    c.set(0, c.dtype(0), (n, None if ch is None else floordiv(ch, b * b), *up))


@rule("SpaceToDepth")
def space_to_depth(c: InferContext) -> None:
    x, b = c.shape(0), c.attr("blocksize", 1)
    if x is None or len(x) != 4:
        c.set(0, c.dtype(0), unknown(4))
        return
    n, ch, h, w = x
    down = [None if d is None else floordiv(d, b) for d in (h, w)]
    c.set(0, c.dtype(0), (n, None if ch is None else ch * (b * b), *down))
