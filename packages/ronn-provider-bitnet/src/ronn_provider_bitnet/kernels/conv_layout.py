"""Windows and tiles of ``kernels.convolutions``, and where what they read lies. Imports no compiler."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np

from ronn.ir.graph import Node
from ronn.records import dataclass
from ronn_codegen.simd.target import Target
from ronn_codegen.templates.int8_pack import rows_table
from ronn_codegen.windows import resolve_pads
from ronn_provider_bitnet.kernels.layout import padded

Array = np.ndarray


@cache
def widths(target: Target) -> tuple[int, ...]:
    """Vectors of output channels that a panel may have, which is as wide as a tile; the widest first."""
    return (4, 2, 1) if target.registers >= 32 else (2,)


@cache
def tile_heights(target: Target, planes: int, vectors: int) -> tuple[int, int]:
    """Rows of the tiles: one, and as many as registers hold the sums and the places of."""
    many = {4: (5, 2), 2: (8, 4), 1: (9, 4)} if target.registers >= 32 else {2: (2, 1)}
    return 1, many[vectors][planes - 1]


@cache
def panels(filters: int, target: Target) -> tuple[tuple[int, int, int], ...]:
    """Filters by the width of their panels: (first filter, how many, vectors). As few vectors as hold them all."""
    lanes, found, first = target.lanes(32), [], 0
    for vectors in widths(target):
        left = -(-(filters - first) // lanes)
        blocks = left // vectors * vectors
        if vectors == widths(target)[-1] or left - blocks == 3:
            blocks = left  # three of four do as well as two and one
        if blocks:
            count = min(blocks * lanes, filters - first)
            found.append((first, count, vectors))
            first += count
    return tuple(found)


@dataclass(frozen=True)
class Window:
    """A convolution in two dims of ``n`` images; pads are (top, left, bottom, right)."""

    n: int
    channels: int
    filters: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]
    group: int

    @property
    def padded(self) -> tuple[int, int]:
        return self.size[0] + self.pads[0] + self.pads[2], self.size[1] + self.pads[1] + self.pads[3]

    @property
    def out(self) -> tuple[int, int]:
        rows, columns = (
            (size - d * (k - 1) - 1) // s + 1
            for size, k, s, d in zip(self.padded, self.kernel, self.strides, self.dilations, strict=True)
        )
        return rows, columns

    @property
    def pitch(self) -> int:
        """Bytes of a pixel."""
        return -(-self.channels // 4) * 4


def window_of(node: Node, x: Sequence[int], w: Sequence[int]) -> Window:
    """The window of a node with the attributes of Conv, in two dims (of one, the rows are 1); ``x`` and ``w`` are the
    shapes of images and weights."""
    rank = len(x) - 2
    given = node.attributes
    strides, dilations = (list(given.get(name) or [1] * rank) for name in ("strides", "dilations"))
    pads = resolve_pads(given.get("auto_pad"), given.get("pads"), x[2:], w[2:], strides, dilations)
    one = [1] * (2 - rank)
    (top, bottom), (left, right) = [*[(0, 0)] * len(one), *pads]
    return Window(
        x[0], x[1], w[0], two([*one, *x[2:]]), two([*one, *w[2:]]), two([*one, *strides]), two([*one, *dilations]),
        (top, left, bottom, right), int(given.get("group") or 1),
    )  # fmt: skip


def two(values: Sequence[int]) -> tuple[int, int]:
    """Two values as such."""
    first, second = (int(v) for v in values)
    return first, second


@dataclass(frozen=True)
class Segments:
    """What of a window lies together: ``count`` runs of ``codes`` bytes (whole words) in each of ``groups`` groups of
    one scale; ``offsets`` i64[groups, count] in bytes, and ``taps`` i64[groups, pixels of a window] in the sums of
    pixels. ``folded``: runs are whole rows of a window."""

    groups: int
    count: int
    codes: int
    folded: bool
    offsets: Array
    taps: Array


@lru_cache(maxsize=256)
def starts(window: Window) -> Array:
    """Where in an image the windows begin: i32[pixels], in bytes."""
    (_, wide), (rows, columns) = window.padded, window.out
    y, x = np.ogrid[:rows, :columns]
    return rows_table((y * window.strides[0] * wide + x * window.strides[1]) * window.pitch)


@lru_cache(maxsize=256)
def segments(window: Window, g: int, channel_group: int, by_tap: bool, bits: int) -> Segments:
    """Of the group ``g`` of channels of a convolution."""
    (high, wide), (r, s), (dr, ds) = window.padded, window.kernel, window.dilations
    each = window.channels // window.group
    groups = each // channel_group
    ty, tx = np.mgrid[:r, :s]
    taps = ((ty * dr) * wide + tx * ds).reshape(-1)
    parts = np.arange(groups) + g * groups
    in_sums = taps[None] + parts[:, None] * (window.n * high * wide)
    offsets = taps[None] * window.pitch + parts[:, None] * channel_group
    if by_tap:
        count, codes, folded = 1, padded(channel_group, bits), False
        offsets, in_sums = offsets.reshape(-1, 1), in_sums.reshape(-1, 1)
    elif groups == window.group == 1 and (ds == 1 or s == 1):
        count, codes, folded = r, padded((s - 1) * window.pitch + channel_group, bits), True
        offsets = offsets.reshape(1, r, s)[:, :, 0]
    else:
        count, codes, folded = r * s, padded(channel_group, bits), False
    return Segments(
        len(offsets), count, codes, folded, np.ascontiguousarray(offsets, np.int64),
        np.ascontiguousarray(in_sums, np.int64),
    )  # fmt: skip
