"""Finds the quantiser of activations that exporters write out for BitNet's layers.

    s = 127 / max(max(|x|, axes), least);  q(x) = clip(round(x * s), -128, 127) / s

The axes are the last one for products, all but the first (or all) for convolutions.
``x`` may be multiplied with ``s`` or divided by its inverse, and the other way round at the end.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ronn.ir.graph import Node, Value
from ronn.passes.edit import const, ints


class Quantised(NamedTuple):
    """``source`` is what is quantised, ``nodes`` those of the quantiser, last first; the largest value is one over
    ``axes``, which are kept (``keepdims``) or not."""

    source: Value
    least: float
    nodes: tuple[Node, ...]
    axes: tuple[int, ...]
    keepdims: bool


def quantised(value: Value) -> Quantised | None:
    """The quantiser that made ``value``; None where something else did."""
    last = value.producer
    if last is None or last.domain != "" or last.op not in ("Div", "Mul"):
        return None
    clipped, factor = last.inputs
    if clipped is None or factor is None:
        return None
    clip = clipped.producer
    if clip is None or clip.op != "Clip" or not _limits(clip):
        return None
    rounded = None if clip.inputs[0] is None else clip.inputs[0].producer
    if rounded is None or rounded.op != "Round" or rounded.inputs[0] is None:
        return None
    scaled = rounded.inputs[0].producer
    if scaled is None or scaled.op != ("Mul" if last.op == "Div" else "Div"):
        return None
    x, same = scaled.inputs
    if same is not factor and scaled.op == "Mul" and x is factor:
        x, same = same, x
    if x is None or same is not factor:
        return None
    found = _scale(factor, x, inverse=last.op == "Mul")
    if found is None:
        return None
    least, nodes = found
    reduced = reduced_axes(nodes[-2], x)
    if reduced is None:
        return None
    return Quantised(x, least, (last, clip, rounded, scaled, *nodes), *reduced)


def taken(x: Value, planes: int, least: float) -> tuple[Value, int, float, list[Node]]:
    """What a product of ``x`` quantises: the source of a quantiser that is there already, with one plane and its
    ``least``, and its nodes; else ``x`` itself with what is given."""
    found = quantised(x)
    if found is None or found.axes != ((x.tensor.rank or 0) - 1,) or not found.keepdims:
        return x, planes, least, []
    return found.source, 1, found.least, list(found.nodes)


class Images(NamedTuple):
    """What a convolution quantises: ``source`` to ``planes`` bytes with a scale for each image, or one for all of them
    ``together``; ``nodes`` are those of a quantiser that is there already."""

    source: Value
    planes: int
    least: float
    together: bool
    nodes: tuple[Node, ...]


def taken_images(x: Value, least: float) -> Images:
    """The same for images, whose largest value is over all axes but the first, or over all."""
    found, rank = quantised(x), x.tensor.rank
    if found is not None and rank is not None:
        over_all = found.axes == tuple(range(rank))
        if over_all or (found.axes == tuple(range(1, rank)) and found.keepdims):
            return Images(found.source, 1, found.least, over_all, found.nodes)
    return Images(x, 2, least, False, ())


def _limits(clip: Node) -> bool:
    low, high = (_number(clip.input(i)) for i in (1, 2))
    return low == -128.0 and high == 127.0


def _number(value: Value | None) -> float | None:
    data = const(value)
    return None if data is None or data.size != 1 else float(data.reshape(-1)[0])


def _scale(factor: Value, x: Value, inverse: bool) -> tuple[float, list[Node]] | None:
    """``least`` and the nodes of ``127 / max(max(|x|), least)``, or of its inverse."""
    divide = factor.producer
    if divide is None or divide.op != "Div" or divide.domain != "":
        return None
    over, under = divide.inputs
    if inverse:
        over, under = under, over
    if _number(over) != 127.0 or under is None:
        return None
    limited = under.producer
    if limited is None or limited.op not in ("Clip", "Max") or limited.inputs[0] is None:
        return None
    if limited.op == "Clip":
        if limited.input(2) is not None:
            return None
        peak, least = limited.inputs[0], _number(limited.input(1))
    else:
        if len(limited.inputs) != 2:
            return None
        peak, least = limited.inputs[0], _number(limited.inputs[1])
    if least is None or least <= 0 or np.float32(least) == np.inf:
        return None
    reduce = peak.producer
    if reduce is None or reduce.op != "ReduceMax" or reduce.inputs[0] is None:
        return None
    absolute = reduce.inputs[0].producer
    if absolute is None or absolute.op != "Abs" or absolute.inputs[0] is not x:
        return None
    return least, [divide, limited, reduce, absolute]


def reduced_axes(reduce: Node, x: Value) -> tuple[tuple[int, ...], bool] | None:
    """The axes of a reduction in order, and whether they are kept; None where they are not known."""
    rank = x.tensor.rank
    if rank is None:
        return None
    given = reduce.attributes.get("axes")
    axes = list(given) if given is not None else ints(reduce.input(1))
    if axes is None and reduce.input(1) is not None:
        return None
    keeps = int(reduce.attributes.get("keepdims", 1)) == 1
    if not axes:
        if int(reduce.attributes.get("noop_with_empty_axes", 0)):
            return None
        axes = list(range(rank))
    return tuple(sorted(a % rank for a in axes)), keeps
