"""Loops whose sections share row values. How work-items share a row hangs on what the device is:

* where a work-item has vectors (``Target.width`` above 1), it does rows alone, so many elements at once (``strips``);
* elsewhere the work-items of a group may share a row and combine their parts in local memory (``lanes``).
"""

from __future__ import annotations

import math

from ronn_codegen.clike.kernel import Grid, Sizes, Target
from ronn_codegen.clike.render.lanes import Lanes, shared_by
from ronn_codegen.clike.render.pointwise import few, folded
from ronn_codegen.clike.render.strips import Strips, width_of
from ronn_codegen.loops.language import Loop

_LONG = 8  # elements that a lane takes at least, where a row has more lanes than one
_HEAVY = 256  # elements of a row that a group of its own pays for


def body(loop: Loop, target: Target) -> list[str]:
    """What one work-item does."""
    return (Strips if target.width > 1 else Lanes)(loop, target).write()


def grid(loop: Loop, sizes: Sizes, target: Target) -> Grid:
    """As many work-items for a row as it pays for, and rows beside it in the group."""
    dims = [int(sizes[f"d{k}"]) for k in range(loop.rank)]
    rows = math.prod(d for k, d in enumerate(dims[: loop.outer]) if k != loop.vector_axis)
    row = math.prod(dims[loop.outer :])
    last = dims[-1] if loop.inner else 1
    if target.width > 1:
        group = target.group if row < _HEAVY else 1
        if loop.vector == "inner":
            beside = few(rows // target.compute_units, group)
            return Grid((1, *folded(-(-rows // beside))), (1, beside, 1))
        strips = max(-(-dims[loop.outer - 1] // width_of(target)), 1)
        beside = few(strips // target.compute_units, group)
        return Grid((-(-strips // beside), *folded(rows)), (beside, 1, 1))
    most = shared_by(loop, target)
    if loop.vector == "inner":
        lanes = few(last // _LONG, most)
        beside = few(rows // target.compute_units, most // lanes)
        return Grid((1, *folded(-(-rows // beside))), (lanes, beside, 1))
    along = dims[loop.outer - 1]
    beside = few(along, most)
    lanes = few(last // _LONG, most // beside)
    return Grid((max(-(-along // beside), 1), *folded(rows)), (beside, lanes, 1))
