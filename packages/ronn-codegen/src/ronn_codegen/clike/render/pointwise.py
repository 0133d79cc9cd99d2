"""Pointwise loops: a work-item for each element. Work-items side by side lie along the vector axis."""

from __future__ import annotations

import math

from ronn_codegen.clike.kernel import Grid, Sizes, Target
from ronn_codegen.clike.render import space
from ronn_codegen.clike.render.statements import statements
from ronn_codegen.loops.language import Array, Loop

MOST_GROUPS = 32768  # along the second axis: devices take 65535


def body(loop: Loop) -> list[str]:
    """What one work-item does. There are no loops: compilers for processors then make vectors of work-items."""
    vector, rest = loop.vector_axis, space.rest_axes(loop)
    at = space.index(vector)
    lines = [f"const i64 {at} = GLOBAL_ID(0);"]
    if rest:
        lines.append("const i64 row = GLOBAL_ID(2) * GLOBAL_SIZE(1) + GLOBAL_ID(1);")
        lines += space.unflatten("row", rest)
    lines += [f"if ({space.beyond([*rest, vector])})", "    return;"]
    elements = {a.name: _element(a, loop) for a in loop.arrays}
    leaves: dict[object, str] = {k: space.index(k) for k in range(loop.rank)}
    leaves["count"] = space.product(range(loop.outer, loop.rank))
    inner = range(loop.outer, loop.rank)
    leaves["position"] = position(list(inner))
    made, _ = statements((i for s in loop.sections for i in s.instrs), elements, elements, leaves=leaves)
    return lines + made


def _element(array: Array, loop: Loop) -> str:
    vector = loop.vector_axis
    terms = [] if array.is_scalar else space.offset(array, space.rest_axes(loop))
    return space.element(array, *terms, space.along(array, vector, space.index(vector)))


def position(inner: list[int]) -> str:
    """The index over ``inner`` axes as one."""
    told = ""
    for k in inner:
        told = space.index(k) if not told else f"({told} * d{k} + {space.index(k)})"
    return told if told else "0"


def grid(loop: Loop, sizes: Sizes, target: Target) -> Grid:
    """Groups of as many work-items as the target has, along the vector axis first."""
    rows = math.prod(int(sizes[f"d{k}"]) for k in space.rest_axes(loop))
    along = int(sizes[f"d{loop.vector_axis}"])
    x = few(along + along // 4, target.group)
    y = few(rows, target.group // x)
    return Grid((max(-(-along // x), 1), *folded(-(-rows // y))), (x, y, 1))


def few(wanted: int, most: int) -> int:
    """At most ``wanted`` work-items along an axis of a group, ``most`` or an eighth of it or 1: devices may compile a
    kernel for each size of group."""
    return next((n for n in (most, most // 8) if 0 < n <= wanted), 1)


def folded(groups: int) -> tuple[int, int]:
    """So many groups at least along the second and third axes."""
    z = max(-(-groups // MOST_GROUPS), 1)
    return max(-(-groups // z), 1), z
