"""Resize and Upsample in float32: two neighbouring axes at a time, by tables made at compile time."""

from __future__ import annotations

import math

import numpy as np

from ronn.records import dataclass
from ronn_codegen.lower._copies import emit, known, runs
from ronn_codegen.resizing import Settings, nearest, output_sizes, places, weighted_taps
from ronn_codegen.templates.jobs import Copies, Side, contiguous
from ronn_provider_cpu.lowering import F32, Argument, Lowering, Operand, lower

_MODULE = "ronn_codegen.templates.resize"
_SHARES = 32  # at most, of a kernel that needs scratch for each


@dataclass(frozen=True, slots=True)
class _Axis:
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

    def tables(self, lanes: int) -> tuple[np.ndarray, np.ndarray]:
        """``at`` and the weights, with room for a vector behind their ends."""
        flat = (self.at.astype(np.int64), self.weights.astype(np.float32))
        at, weights = (np.concatenate([a.reshape(-1), np.zeros(lanes, a.dtype)]) for a in flat)
        return at, weights


@lower("Resize")
@lower("Upsample")
def resize(c: Lowering) -> None:
    x, y = c.inputs[0], c.outputs[0]
    assert x is not None and y is not None
    c.require(x.dtype == F32, "only float32")
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
        target = y if i == len(steps) - 1 else c.temp(4 * math.prod(done))
        two = [axes[a] for a in (first, last)] if first != last else [_still(1), axes[first]]
        planes, inner = math.prod(shape[:first]), math.prod(shape[last + 1 :])
        _step(c, source, target, planes, two, inner)
        shape, source = done, target
    _fill_outside(c, y, axes)


def _fill_outside(c: Lowering, y: Operand, axes: list[_Axis | None]) -> None:
    """The value of what lies outside of the part that is resized (tf_crop_and_resize)."""
    copies, strides = Copies(), contiguous(y.shape, 4)
    for a, axis in enumerate(axes):
        for _, count, at, step in [] if axis is None or axis.outside is None else runs(axis.outside):
            shape = (math.prod(y.shape[:a]), count, math.prod(y.shape[a + 1 :]))
            to = (strides[a] * y.shape[a], strides[a] * step, 4)
            copies.add(shape, 4, Side(0, 0, (0, 0, 0)), Side(1, strides[a] * at, to))
    if copies.rows:
        emit(c, copies, [np.full(1, Settings(c).outside, np.float32), y])


def _still(size: int) -> _Axis:
    return _Axis(size, size, np.arange(size)[None], np.ones((1, size)))


def _axes(c: Lowering, x: Operand, y: Operand) -> list[_Axis | None]:
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
    found: list[_Axis | None] = [None] * rank
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
        found[axis] = _Axis(size, count, at, weights, outside)
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


def _step(c: Lowering, x: Argument, y: Argument, planes: int, axes: list[_Axis | None], inner: int) -> None:
    h, w = axes
    assert h is not None and w is not None
    lanes = c.machine.target.lanes(32)
    (at_y, by_y), (at_x, by_x) = h.tables(lanes), w.tables(lanes)
    rows, size = planes * h.out, 4 * planes * inner * (h.size * w.size + h.out * w.out)
    arguments = {
        "x": x, "y": y, "planes": planes, "h": h.size, "w": w.size, "oh": h.out, "ow": w.out,
        "tall": h.taps, "at_y": at_y, "by_y": by_y, "wide": w.taps, "at_x": at_x, "by_x": by_x,
    }  # fmt: skip
    if inner == 1:
        shares = min(rows, _SHARES)
        work = rows * (w.size * (h.taps if h.taps > 1 else 0) / 2 + 2 * w.out * w.taps)
        c.call(
            _MODULE, "resize_rows_f32", scratch=c.temp(4 * shares * w.size), chunks=shares, cost=100 + work / 4,
            flops=2 * rows * (w.size * h.taps + w.out * w.taps), bytes=size, **arguments,
        )  # fmt: skip
    else:
        pixels = rows * w.out
        work = pixels * -(-inner // lanes) * (1 + h.taps * w.taps)
        c.call(
            _MODULE, "resize_vectors_f32", inner=inner, chunks=rows, cost=100 + pixels + work / 2,
            flops=2 * pixels * inner * h.taps * w.taps, bytes=size, **arguments,
        )  # fmt: skip
