"""Convolutions as products: the windows that a convolution's weights are multiplied with, as rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ronn.ir.graph import Node
from ronn.passes.edit import attr
from ronn.records import dataclass

Array = np.ndarray
_ELEMENTS = 1 << 23
"""Of windows that are made at once."""


@dataclass(frozen=True, slots=True)
class Window:
    """kernel, strides, dilations: of each spatial axis; pads: begins, then ends, or how they are found (auto_pad)."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...] | str


def window_of(node: Node, kernel: Sequence[int]) -> Window:
    """What a Conv node looks through at its input."""
    axes = len(kernel)

    def each(name: str, default: list[int]) -> tuple[int, ...]:
        return tuple(int(i) for i in attr(node, name, default))

    auto = attr(node, "auto_pad", "NOTSET")
    auto = auto.decode() if isinstance(auto, bytes) else str(auto)
    pads: tuple[int, ...] | str = auto if auto.startswith("SAME") else each("pads", [0] * 2 * axes)
    if auto == "VALID":
        pads = (0,) * (2 * axes)
    return Window(tuple(kernel), each("strides", [1] * axes), each("dilations", [1] * axes), pads)


def windows(x: Array, window: Window) -> Iterator[Array]:
    """The rows [M, C * kernel] of x[batch, C, ...], some at a time."""
    padded = np.pad(x, [(0, 0), (0, 0), *_pads(x.shape[2:], window)])
    axes = tuple(range(2, x.ndim))
    spans = [(k - 1) * d + 1 for k, d in zip(window.kernel, window.dilations, strict=True)]
    view = sliding_window_view(padded, spans, axis=axes)
    places = tuple(slice(None, None, s) for s in window.strides)
    inner = tuple(slice(None, None, d) for d in window.dilations)
    view = view[(slice(None), slice(None), *places, *inner)]
    count = len(axes)
    order = (0, *range(2, 2 + count), 1, *range(2 + count, 2 + 2 * count))
    rows = view.transpose(order)
    k = x.shape[1] * math.prod(window.kernel)
    step = max(1, _ELEMENTS // max(1, rows[0].size if len(rows) else 1))
    for start in range(0, len(rows), step):
        yield rows[start : start + step].reshape(-1, k)


def _pads(sizes: Sequence[int], window: Window) -> list[tuple[int, int]]:
    axes = len(window.kernel)
    if not isinstance(window.pads, str):
        return [(window.pads[i], window.pads[axes + i]) for i in range(axes)]
    found = []
    for size, k, s, d in zip(sizes, window.kernel, window.strides, window.dilations, strict=True):
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        small = total // 2
        found.append((small, total - small) if window.pads == "SAME_UPPER" else (total - small, small))
    return found
