"""Slice, Split and Pad: in each the numbers were attributes once and are inputs now."""

from __future__ import annotations

from ronn.ir.dims import Dim, ceildiv, dim_max, dim_min, floordiv, is_nonnegative
from ronn.ops.infer import InferContext, rule
from ronn.ops.rules.common import BIG, attr_or_input, axes_of, axis_of, checked, compare, length, replaced, unknown


@rule("Slice")
def slice_(c: InferContext) -> None:
    shape = c.shape(0)
    if shape is None:
        c.set(0, c.dtype(0), None)
        return
    starts, ends = attr_or_input(c, "starts", 1), attr_or_input(c, "ends", 2)
    axes, steps = attr_or_input(c, "axes", 3), attr_or_input(c, "steps", 4)
    count = next((len(p) for p in (starts, ends, axes, steps) if p is not None), length(c, 1))
    if axes is None and not c.has(3) and count is not None:
        axes = tuple(range(count))
    if steps is None and not c.has(4) and count is not None:
        steps = (1,) * count
    if axes is None or any(not isinstance(a, int) for a in axes) or count is None:
        c.set(0, c.dtype(0), unknown(len(shape)))
        return
    if any(p is not None and len(p) != len(axes) for p in (starts, ends, steps)):
        raise c.fail("starts, ends, axes and steps differ in length")
    out = list(shape)
    where = axes_of(c, [a for a in axes if isinstance(a, int)], len(shape))
    for i, axis in enumerate(where):
        start, end, step = (None if p is None else p[i] for p in (starts, ends, steps))
        if step == 0:
            raise c.fail("a step of 0")
        out[axis] = sliced(shape[axis], start, end, step)
    c.set(0, c.dtype(0), out)
    known = c.dims(0)
    if known is not None and len(shape) == 1 and len(where) == 1:
        parts = [None if p is None else p[0] for p in (starts, ends, steps)]
        if all(isinstance(p, int) for p in parts):
            c.set_dims(0, known[slice(*_python_slice(len(known), *parts))])  # type: ignore[arg-type]


def _python_slice(size: int, start: int, end: int, step: int) -> tuple[int, int | None, int]:
    if step > 0:
        return start, end, step
    # Below the front, Python would count from the back again.
    return start, None if end < -size else end, step


def sliced(size: Dim | None, start: Dim | None, end: Dim | None, step: Dim | None) -> Dim | None:
    """The number of elements of ``x[start:end:step]`` along an axis of ``size``."""
    if size is None or start is None or end is None or not isinstance(step, int):
        return None
    if isinstance(size, int) and isinstance(start, int) and isinstance(end, int):
        return len(range(*slice(*_python_slice(size, start, end, step)).indices(size)))
    if step < 0:
        whole = isinstance(start, int) and isinstance(end, int) and (start == -1 or start >= BIG) and end <= -BIG
        return ceildiv(size, -step) if whole else None
    first, last = _position(start, size), _position(end, size)
    if first is None or last is None:
        return None
    span = last - first
    found = ceildiv(span, step)
    return found if is_nonnegative(span) else dim_max(found, 0)


def _position(at: Dim, size: Dim) -> Dim | None:
    """Where a start or end lies, in [0, size], for a positive step."""
    if isinstance(at, int) and at >= BIG:
        return size
    if isinstance(at, int) and at < 0:
        return 0 if at <= -BIG else dim_max(size + at, 0)
    if at == 0 or at == size:
        return at
    order = compare(at, size)
    if not is_nonnegative(at):
        return None
    return size if order == 1 else at if order == -1 else dim_min(at, size)


@rule("Split")
def split(c: InferContext) -> None:
    shape, n = c.shape(0), len(c.node.outputs)
    if shape is None:
        for i in range(n):
            c.set(i, c.dtype(0), None)
        return
    axis = axis_of(c, c.attr("axis", 0), len(shape))
    size = shape[axis]
    sizes: list[Dim | None]
    given = attr_or_input(c, "split", 1)
    if given is not None:
        if len(given) != n:
            raise c.fail(f"{len(given)} sizes for {n} outputs")
        if isinstance(size, int) and all(isinstance(g, int) for g in given):
            total = sum(g for g in given if isinstance(g, int))
            if total != size:
                raise c.fail(f"sizes {list(given)} do not add up to {size}")
        sizes = list(given)
    elif (lengths := c.shape(1)) and isinstance(lengths[0], int) and lengths[0] != n:
        raise c.fail(f"{lengths[0]} sizes for {n} outputs")
    elif c.has(1) or size is None:
        sizes = [None] * n
    elif isinstance(size, int) and size % n and c.since < 18:
        raise c.fail(f"axis {axis} of size {size} cannot be split into {n} equal parts")
    else:
        chunk = ceildiv(size, n) if c.since >= 18 else floordiv(size, n)
        sizes = [chunk] * n
        if c.since >= 18:
            sizes[-1] = size - chunk * (n - 1)
        if isinstance(size, int) and isinstance(sizes[-1], int) and sizes[-1] < 0:
            raise c.fail(f"axis {axis} of size {size} is too short for {n} parts")
    known = c.dims(0)
    at = 0
    for i, d in enumerate(sizes):
        c.set(i, c.dtype(0), replaced(shape, axis, d))
        if known is not None and len(shape) == 1 and at >= 0:
            if isinstance(d, int):
                c.set_dims(i, known[at : at + d])
                at += d
            else:
                at = -1


@rule("Pad")
def pad(c: InferContext) -> None:
    shape = c.shape(0)
    pads = attr_or_input(c, "paddings" if "paddings" in c.node.attributes else "pads", 1)
    if shape is None:
        c.set(0, c.dtype(0), None)
        return
    axes = tuple(range(len(shape)))
    if c.has(3):
        given = c.dims(3)
        if given is None or any(not isinstance(a, int) for a in given):
            c.set(0, c.dtype(0), unknown(len(shape)))
            return
        axes = tuple(axes_of(c, [a for a in given if isinstance(a, int)], len(shape)))
    if pads is None:
        touched = set(axes)
        c.set(0, c.dtype(0), [None if i in touched else d for i, d in enumerate(shape)])
        return
    if len(pads) != 2 * len(axes):
        raise c.fail(f"{len(pads)} pads for {len(axes)} axes")
    out = list(shape)
    for i, axis in enumerate(axes):
        d, before, after = shape[axis], pads[i], pads[i + len(axes)]
        out[axis] = None if d is None or before is None or after is None else checked(d + before + after)
        new = out[axis]
        if isinstance(new, int) and new < 0:
            raise c.fail(f"axis {axis} of size {d} cannot be cropped by {before} and {after}")
    c.set(0, c.dtype(0), out)
