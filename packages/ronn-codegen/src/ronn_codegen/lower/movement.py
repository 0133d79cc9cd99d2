"""Operators that cut, join, repeat and pad: strided copies, or views where nothing needs to move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ronn_codegen.lower._copies import axis_of, emit, item, known, runs, steps, strided, wanted
from ronn_codegen.lowering import Lowering, Operand
from ronn_codegen.padding import pad_array
from ronn_codegen.table import lower
from ronn_codegen.templates.jobs import SLOTS, Copies, Side

_MOST_BOXES = 300  # a padding by more pieces is not worth a table


# --- cutting


@lower("Slice")
def slice_(c: Lowering) -> None:
    """Slice, by attributes or constant inputs."""
    x, y = wanted(c.inputs[0]), wanted(c.outputs[0])
    if c.since < 10:
        starts, axes, paces = c.attr("starts"), c.attr("axes"), None
    else:
        starts, axes, paces = (known(c, i, what) for i, what in ((1, "starts"), (3, "axes"), (4, "steps")))
    along = range(len(starts)) if axes is None else [int(a) for a in axes]
    strides, offset = list(steps(x)), 0
    for i, axis in enumerate(along):
        axis = axis + x.rank if axis < 0 else axis
        pace = 1 if paces is None else int(paces[i])
        size = x.shape[axis]
        start = int(starts[i]) + (size if starts[i] < 0 else 0)
        offset += min(max(start, 0), size if pace > 0 else size - 1) * strides[axis]
        strides[axis] *= pace
    strided(c, x, y.shape, strides, offset)


@lower("Split")
def split(c: Lowering) -> None:
    """Split: views where the parts lie one after another."""
    x = wanted(c.inputs[0])
    axis = axis_of(c, x.rank)
    sizes = _split_sizes(c, x.shape[axis])
    strides = steps(x)
    offsets = [int(n) * strides[axis] for n in np.cumsum([0, *sizes[:-1]])]
    parts = [(i, at, y) for i, (at, y) in enumerate(zip(offsets, c.outputs, strict=True)) if y is not None and y.size]
    if all(n == 1 for n in x.shape[:axis]):
        for i, at, _ in parts:
            c.alias(i, 0, at)
        return
    for first in range(0, len(parts), SLOTS - 1):
        copies, some = Copies(), parts[first : first + SLOTS - 1]
        for slot, (_, at, y) in enumerate(some):
            copies.add(y.shape, item(x), Side(SLOTS - 1, at, strides), Side(slot, 0, steps(y)))
        emit(c, copies, _slots([y for _, _, y in some], x))


def _split_sizes(c: Lowering, dim: int) -> list[int]:
    given = c.attr("split")
    if given is None:
        given = known(c, 1, "split")
    if given is not None:
        sizes = [int(n) for n in given]
        c.require(sum(sizes) == dim, f"split sizes {sizes} do not add up to {dim}")
        return sizes
    count = len(c.outputs)
    part = -(-dim // count)
    return [max(0, min(part, dim - i * part)) for i in range(count)]


def _slots(some: Sequence[Operand], last: Operand) -> list[Operand]:
    """``some`` from slot 0 on and ``last`` in the last slot; slots between are not used."""
    return [*some, *[last] * (SLOTS - len(some))]


# --- joining and repeating


@lower("Concat", empty=True)
def concat(c: Lowering) -> None:
    """Concat: one call for up to eight inputs."""
    y = wanted(c.outputs[0])
    axis = axis_of(c, y.rank, 1)
    strides, at = steps(y), 0
    whole = all(n == 1 for n in y.shape[:axis])
    parts = []
    for i, x in enumerate(c.inputs):
        x = wanted(x)
        if x.nbytes == y.nbytes:
            c.alias(0, i)
            return
        if x.size:
            parts.append((x, at))
            if whole:
                c.join(i, at)
        at += x.shape[axis] * strides[axis]
    for first in range(0, len(parts), SLOTS - 1):
        copies, some = Copies(), parts[first : first + SLOTS - 1]
        for slot, (x, offset) in enumerate(some):
            copies.add(x.shape, item(y), Side(slot, 0, steps(x)), Side(SLOTS - 1, offset, strides))
        emit(c, copies, _slots([x for x, _ in some], y))


@lower("Expand")
def expand(c: Lowering) -> None:
    """Expand: strides of 0."""
    x, y = wanted(c.inputs[0]), wanted(c.outputs[0])
    strides = [0 if n == 1 else s for n, s in zip(x.shape, steps(x), strict=True)]
    strided(c, x, y.shape, [0] * (y.rank - x.rank) + strides)


@lower("Tile")
def tile(c: Lowering) -> None:
    """Tile: each dim is a repetition, by a stride of 0, and itself."""
    x, y = wanted(c.inputs[0]), wanted(c.outputs[0])
    shape = [n for whole, part in zip(y.shape, x.shape, strict=True) for n in (whole // part, part)]
    strided(c, x, shape, [s for stride in steps(x) for s in (0, stride)])


# --- padding


@lower("Pad", empty=True)
def pad(c: Lowering) -> None:
    """Pad: boxes of the input, each with a step of 1, 0 or -1 along each axis, and boxes of the value."""
    x, y = wanted(c.inputs[0]), wanted(c.outputs[0])
    axes: Sequence[int] = range(x.rank)
    value: Operand | np.ndarray | None
    if c.since < 11:
        pads, value = c.attr("pads", c.attr("paddings")), np.array([c.attr("value", 0.0)]).astype(x.dtype)
    else:
        pads, given, value = known(c, 1, "pads"), known(c, 3, "axes"), c.input(2)
        axes = axes if given is None else [int(a) % x.rank for a in given]
    mode = c.attr("mode", "constant")
    c.require(mode == "constant" or x.size, f"mode {mode} of an axis without elements")
    amounts = {axis: (int(pads[i]), int(pads[i + len(axes)])) for i, axis in enumerate(axes)}
    _padded(c, x, y, [amounts.get(i, (0, 0)) for i in range(x.rank)], mode, value)


@lower("CenterCropPad", empty=True)
def center_crop_pad(c: Lowering) -> None:
    """CenterCropPad: what cannot be halved is padded behind, and cut behind too."""
    x, y = wanted(c.inputs[0]), wanted(c.outputs[0])
    amounts = []
    for have, want in zip(x.shape, y.shape, strict=True):
        missing = want - have
        before = missing // 2 if missing >= 0 else -(-missing // 2)
        amounts.append((before, missing - before))
    _padded(c, x, y, amounts, "constant", None)


def _padded(
    c: Lowering, x: Operand, y: Operand, amounts: Sequence[tuple[int, int]], mode: str,
    value: Operand | np.ndarray | None,
) -> None:  # fmt: skip
    if not any(b or a for b, a in amounts):
        c.alias(0, 0)
        return
    pieces = [runs(pad_array(np.arange(n), both, [0], mode, -1)) for n, both in zip(x.shape, amounts, strict=True)]
    copies, size = Copies(), item(x)
    source, to = steps(x), steps(y)

    def add(axis: int, shape: tuple[int, ...], strides: tuple[int, ...], at: int, start: int) -> None:
        """The boxes whose first ``axis`` axes are settled."""
        c.require(len(copies.rows) <= _MOST_BOXES, "too many pieces")
        if axis == x.rank:
            copies.add(shape, size, Side(0, start, strides), Side(2, at, to))
            return
        for first, length, position, step in pieces[axis]:
            here = at + first * to[axis]
            if position < 0:
                copies.add((*shape, length, *y.shape[axis + 1 :]), size, Side(1, 0, (0,) * x.rank), Side(2, here, to))
            else:
                began = start + position * source[axis]
                add(axis + 1, (*shape, length), (*strides, step * source[axis]), here, began)

    add(0, (), (), 0, 0)
    emit(c, copies, [x, np.zeros(1, x.dtype) if value is None else value, y])
