"""NonZero, Compress, Unique, NonMaxSuppression: kernels find out how large the outputs are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ronn_codegen.lower._copies import axis_of, item, wanted
from ronn_codegen.lowering import BOOL, F32, I64, Lowering, Operand, Temporary
from ronn_codegen.table import lower
from ronn_codegen.templates.jobs import COUNTED_BLOCK

_COUNTED = "ronn_codegen.templates.counted"
_SUPPRESS = "ronn_codegen.templates.suppress"
_INFINITY = {"float32": 0x7F80_0000, "float64": 0x7FF0_0000_0000_0000, "float16": 0x7C00, "bfloat16": 0x7F80}
_SHARES = 16


def _listed(c: Lowering, x: Operand, shape: tuple[int, ...]) -> tuple[Temporary, Temporary]:
    """Where the elements of x, seen as of ``shape``, that are not zero stand, and how many they are."""
    bits = 8 * item(x)
    keep = -1 if x.dtype.kind in "iub" else 2 ** (bits - 1) - 1  # both zeros of a float are zero
    blocks = -(-x.size // COUNTED_BLOCK)
    counts, total = c.temp(8 * blocks), c.temp(8)
    places = c.temp(8 * len(shape) * x.size)
    of_x: dict[str, Any] = {
        "x": x,
        "counts": counts,
        "n": x.size,
        "size": item(x),
        "keep": keep,
        "chunks": max(blocks, 1),
    }
    c.call(_COUNTED, "count", **of_x, cost=x.nbytes * 0.05, bytes=x.nbytes)
    c.call(
        _COUNTED, "nonzero", **of_x, y=places, total=total, shape=np.array(shape, np.int64), rank=len(shape),
        cost=x.size * (0.5 + len(shape)), bytes=x.nbytes + places.nbytes // 2,
    )  # fmt: skip
    return places, total


@lower("NonZero", empty=True, counted=True)
def nonzero(c: Lowering) -> None:
    """NonZero."""
    x = wanted(c.inputs[0])
    c.require(x.rank > 0, "of rank 0")
    c.require(x.dtype.kind in "iub" or x.dtype.name in _INFINITY, f"elements of {x.dtype}")
    places, total = _listed(c, x, x.shape)
    c.counted(0, places, (x.rank, None), total)


def _along(c: Lowering, x: Operand) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
    """The dims before the axis, its size, and the dims behind it; without an axis x is a vector."""
    if c.node.attributes.get("axis") is None:
        return (), x.size, ()
    axis = axis_of(c, x.rank)
    return x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]


@lower("Compress", empty=True, counted=True)
def compress(c: Lowering) -> None:
    """Compress."""
    x, condition = wanted(c.inputs[0]), wanted(c.inputs[1])
    c.require(condition.dtype == BOOL, "a condition of another type")
    before, n, behind = _along(c, x)
    c.require(condition.size <= n, "a condition longer than the axis")
    places, total = _listed(c, condition, (condition.size,))
    outer, inner = math.prod(before), math.prod(behind)
    y = c.temp(outer * condition.size * inner * item(x))
    c.call(
        _COUNTED, "compress", x=x, places=places, total=total, y=y, outer=outer, n=n, inner=inner * item(x),
        chunks=max(outer * condition.size, 1), cost=outer * condition.size * (1 + inner * item(x) * 0.05),
        bytes=x.nbytes,
    )  # fmt: skip
    c.counted(0, y, (*before, None, *behind), total)


@lower("Unique", empty=True, counted=True)
def unique(c: Lowering) -> None:
    """Unique of elements, or of slices along an axis."""
    x = wanted(c.inputs[0])
    infinity = _INFINITY.get(x.dtype.name, 0)
    c.require(x.dtype.kind in "iub" or infinity, f"the order of {x.dtype}")
    before, n, behind = _along(c, x)
    y, total = c.temp(x.nbytes), c.temp(8)
    firsts, inverse, counts = (c.temp(8 * n) for _ in range(3))
    c.call(
        "ronn_codegen.templates.unique", "unique", x=x, y=y, firsts=firsts, inverse=inverse, counts=counts,
        total=total, room=c.temp(32 * n + 2048), size=item(x), infinity=infinity,
        plain=int(x.dtype.kind in "ub"), sorted=int(c.attr("sorted", 1)), outer=math.prod(before), n=n,
        inner=math.prod(behind), cost=x.size * 20.0, bytes=2 * x.nbytes,
    )  # fmt: skip
    c.counted(0, y, (*before, None, *behind), total)
    for out, place, shape in ((1, firsts, (None,)), (2, inverse, (n,)), (3, counts, (None,))):
        if out < len(c.node.outputs):
            c.counted(out, place, shape, total)


@lower("NonMaxSuppression", empty=True, counted=True)
def non_max_suppression(c: Lowering) -> None:
    """NonMaxSuppression: each class of each image is work for one share."""
    boxes, scores, most = wanted(c.inputs[0]), wanted(c.inputs[1]), c.input(2)
    c.require(boxes.dtype == scores.dtype == F32, "only float32")
    batches, classes, n = scores.shape
    c.require(boxes.shape == (batches, n, 4), f"boxes {list(boxes.shape)} for scores {list(scores.shape)}")
    c.require(n < 2**31, "2**31 boxes")
    nothing = np.zeros(1, np.int64)
    bound = n
    if most is None:
        bound = 0
    elif most.data is not None:
        bound = min(max(int(most.data.reshape(-1)[0]), 0), n)
    c.require(most is None or most.dtype == I64, "a limit of another type")
    iou, least = c.input(3), c.input(4)
    groups = batches * classes
    shares = max(min(groups, _SHARES), 1)
    found, kept, total = c.temp(8 * groups * bound), c.temp(8 * groups), c.temp(8)
    c.call(
        _SUPPRESS, "suppress", boxes=boxes, scores=scores, found=found, kept=kept,
        limit=nothing if most is None else most, iou=nothing if iou is None else iou,
        least=0 if least is None else least, room=c.temp(shares * (16 * n + 20 * (bound + 64) + 8192 + 2048)),
        groups=groups, classes=classes, n=n, bound=bound, centred=int(c.attr("center_point_box", 0)), chunks=shares,
        cost=scores.size * (0.3 if least is not None else 8.0), bytes=scores.nbytes + boxes.nbytes,
    )  # fmt: skip
    y = c.temp(24 * groups * bound)
    c.call(
        _SUPPRESS, "listed", found=found, kept=kept, y=y, total=total, groups=groups, classes=classes, bound=bound,
    )  # fmt: skip
    c.counted(0, y, (None, 3), total)
