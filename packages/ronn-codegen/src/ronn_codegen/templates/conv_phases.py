"""Transposed convolutions as convolutions: one for each phase of the stride.

Output ``s * q + phase`` of an axis sums the taps whose place is congruent to ``phase`` modulo the stride s, over inputs
next to q: a convolution of stride 1 with those taps, backwards. Its outputs lie s apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np

from ronn.records import dataclass, replace
from ronn_codegen.templates.conv_plan import ConvPlan, ConvShape, Three, WeightsOrder, ceil_div


@dataclass(frozen=True)
class Transposed:
    """Sizes of a transposed convolution; ``begins`` are the elements cut at the beginning of each axis."""

    n: int
    c: int
    k: int
    size: Three
    kernel: Three
    out: Three
    strides: Three = (1, 1, 1)
    begins: Three = (0, 0, 0)
    dilations: Three = (1, 1, 1)
    group: int = 1


@dataclass(frozen=True)
class Phase:
    """One convolution: its plan, the taps of each axis in its order, and where its first output lies (in pixels)."""

    plan: ConvPlan
    taps: tuple[tuple[int, ...], ...]
    first: int

    def order(self, kernel: Sequence[int]) -> WeightsOrder:
        """Where the weights lie in ``w[C, K/group, *kernel]``; three dims."""
        shape = self.plan.shape
        per, out_per = shape.c // shape.group, shape.k // shape.group
        size = kernel[0] * kernel[1] * kernel[2]
        offsets = tuple((d * kernel[1] + r) * kernel[2] + s for d, r, s in product(*self.taps))
        return WeightsOrder(per * out_per * size, size, out_per * size, offsets)

    def weights(self, w: np.ndarray, group: int) -> np.ndarray:
        """``w[C, K/group, ...]`` as weights of this convolution, ``[K, C/group, ...]``."""
        c, per, *kernel = w.shape
        whole = w.reshape(c, per, *[1] * (3 - len(kernel)), *kernel)
        chosen = whole[:, :, self.taps[0]][:, :, :, self.taps[1]][:, :, :, :, self.taps[2]]
        grouped = chosen.reshape(group, c // group, *chosen.shape[1:]).swapaxes(1, 2)
        return np.ascontiguousarray(grouped).reshape(group * per, c // group, *chosen.shape[2:])


@dataclass(frozen=True)
class _Axis:
    """A phase of one axis."""

    taps: tuple[int, ...]
    dilation: int
    before: int
    first: int
    count: int


def _axis(size: int, kernel: int, out: int, stride: int, begin: int, dilation: int) -> list[_Axis]:
    found = []
    common = math.gcd(stride, dilation)
    for phase in range(stride):
        low = ceil_div(begin - phase, stride)
        first = stride * low + phase - begin
        if first >= out:
            continue
        taps = [r for r in range(kernel) if r * dilation % stride == phase]
        step = dilation // common
        nearest = (taps[0] * dilation - phase) // stride if taps else 0
        before = nearest + max(len(taps) - 1, 0) * step - low
        found.append(_Axis(tuple(reversed(taps)), step, before, first, ceil_div(out - first, stride)))
    return found


def phases(shape: Transposed, lanes: int, pixels: int) -> list[Phase]:
    """The convolutions that together write every output once; ``pixels`` of a register tile."""
    axes = [
        _axis(*of) for of in zip(
            shape.size, shape.kernel, shape.out, shape.strides, shape.begins, shape.dilations, strict=True
        )
    ]  # fmt: skip
    deep, high, wide = shape.out
    pixel = 4 * lanes
    plane = pixel * deep * high * wide
    steps = (
        pixel * shape.strides[2], pixel * wide * shape.strides[1], pixel * wide * high * shape.strides[0], plane,
        plane * ceil_div(shape.k, lanes),
    )  # fmt: skip
    found = []
    for chosen in product(*axes):
        before = [a.before for a in chosen]
        after = [
            a.count - 1 - size - a.before + a.dilation * (len(a.taps) - 1) + 1
            for a, size in zip(chosen, shape.size, strict=True)
        ]
        one = ConvShape(
            shape.n, shape.c, shape.k, shape.size, _three([len(a.taps) for a in chosen]),
            pads=(*_three(before), *_three(after)), dilations=_three([a.dilation for a in chosen]), group=shape.group,
        )  # fmt: skip
        plan = replace(ConvPlan(one, lanes, pixels), y_steps=steps)
        first = (chosen[0].first * high + chosen[1].first) * wide + chosen[2].first
        found.append(Phase(plan, tuple(a.taps for a in chosen), first))
    return found


def _three(values: Sequence[int]) -> Three:
    return values[0], values[1], values[2]
