"""Resize and Upsample as steps of two neighbouring axes, by tables of taps and weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ronn.records import dataclass
from ronn_codegen.lower._copies import emit, item, known, runs
from ronn_codegen.lowering import Argument, Lowering, Operand
from ronn_codegen.resizing import Settings, nearest, output_sizes, places, weighted_taps
from ronn_codegen.templates.jobs import Copies, Side, contiguous


@dataclass(frozen=True, slots=True)
class Axis:
    """Where the elements of an output axis come from: ``at[taps, out]`` and the weights of the taps. ``outside``: the
    elements that come from nowhere."""

    size: int
    out: int
    at: np.ndarray
    weights: np.ndarray
    outside: np.ndarray | None = None

    @property
    def taps(self) -> int:
        return len(self.at)


Step = Callable[[Argument, Argument, int, Axis, Axis, int], None]
"""Resizes x[planes, h, w, inner] to y: x, y, planes, the two axes, inner."""


def resize(c: Lowering, size: int, step: Step) -> None:
    """Calls ``step`` for each two neighbouring axes of a node; results on the way are of ``size`` bytes an element."""
    x, y = c.inputs[0], c.outputs[0]
    assert x is not None and y is not None
    axes = _axes(c, x, y)
    moved = [i for i, axis in enumerate(axes) if axis is not None]
    # Each call resizes an axis and its right neighbour, where that is resized too.
    steps: list[tuple[int, int]] = []
    while moved:
        first = moved.pop(0)
        steps.append((first, first + 1 if moved and moved[0] == first + 1 else first))
        if steps[-1][0] != steps[-1][1]:
            moved.pop(0)
    if not steps:
        c.alias(0, 0)
        return
    shape = list(x.shape)
    source: Argument = x
    for i, (first, last) in enumerate(steps):
        done = list(shape)
        for a in range(first, last + 1):
            done[a] = y.shape[a]
        target = y if i == len(steps) - 1 else c.temp(size * math.prod(done))
        h, w = (axes[first], axes[last]) if first != last else (_still(1), axes[first])
        assert h is not None and w is not None
        planes, inner = math.prod(shape[:first]), math.prod(shape[last + 1 :])
        step(source, target, planes, h, w, inner)
        shape, source = done, target
    _fill_outside(c, y, axes)


def _fill_outside(c: Lowering, y: Operand, axes: list[Axis | None]) -> None:
    """The value of what lies outside of the part that is resized (tf_crop_and_resize)."""
    copies, strides = Copies(), contiguous(y.shape, item(y))
    for a, axis in enumerate(axes):
        for _, count, at, step in [] if axis is None or axis.outside is None else runs(axis.outside):
            shape = (math.prod(y.shape[:a]), count, math.prod(y.shape[a + 1 :]))
            to = (strides[a] * y.shape[a], strides[a] * step, item(y))
            copies.add(shape, item(y), Side(0, 0, (0, 0, 0)), Side(1, strides[a] * at, to))
    if copies.rows:
        emit(c, copies, [np.full(1, Settings(c).outside, y.dtype), y])


def _still(size: int) -> Axis:
    return Axis(size, size, np.arange(size)[None], np.ones((1, size)))


def _axes(c: Lowering, x: Operand, y: Operand) -> list[Axis | None]:
    """The axes that are resized; None for one that is not."""
    settings = Settings(c)
    crop = settings.coordinates == "tf_crop_and_resize"
    roi = known(c, 1, "the part that is resized") if crop else None
    c.require(not crop or roi is not None, "the part that is resized is missing")
    rank = len(x.shape)
    given = list(range(rank)) if settings.axes is None else [int(a) % rank for a in settings.axes]
    scales, sizes = _scales_and_sizes(c)
    c.require(scales is not None or sizes is not None, "the scales are not constant")
    counts, ratios = output_sizes(x.shape, given, sizes, scales, settings.policy)
    found: list[Axis | None] = [None] * rank
    for i, (axis, count, ratio) in enumerate(zip(given, counts, ratios, strict=True)):
        size = x.shape[axis]
        start, end = (0.0, 1.0) if roi is None else (float(roi[i]), float(roi[len(given) + i]))
        c.require(count == y.shape[axis], "the output has another size than the scales say")
        if count == size and ratio == 1.0 and (start, end) == (0.0, 1.0):
            continue
        place = places(settings.coordinates, count, size, ratio, start, end)
        outside = np.flatnonzero((place < 0) | (place > size - 1)) if crop else None
        if settings.mode == "nearest":
            at = np.clip(nearest(place, settings.nearest, ratio < 1), 0, size - 1).astype(np.int64)[None]
            weights = np.ones(at.shape)
        else:
            where, by = weighted_taps(
                place, size, settings.mode, ratio, settings.antialias, settings.cubic_a, settings.exclude_outside
            )
            used = [t for t in range(by.shape[1]) if by[:, t].any()] or [0]
            at, weights = where[:, used].T, by[:, used].T
            if len(at) == 1 and not (weights == 1).all():  # the weight of a single tap is not read
                at, weights = np.concatenate([at, at]), np.concatenate([weights, np.zeros(weights.shape)])
        found[axis] = Axis(size, count, at, weights, outside)
    return found


def _scales_and_sizes(c: Lowering) -> tuple[np.ndarray | list[float] | None, np.ndarray | None]:
    def constant(index: int) -> np.ndarray | None:
        value = c.input(index)
        c.require(value is None or value.data is not None, "scales or sizes are not constant")
        return None if value is None or value.data is None or value.size == 0 else value.data

    if c.node.op == "Resize" and c.since >= 11:
        return constant(2), constant(3)
    if c.node.op == "Resize" or c.since >= 9:
        return constant(1), None
    fixed = c.attr("scales")
    return ([1.0, 1.0, float(c.attr("height_scale")), float(c.attr("width_scale"))] if fixed is None else fixed), None
