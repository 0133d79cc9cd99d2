"""Convolutions with few output channels, on the plain layout: how they are cut, and what they cost.

Vectors run along rows of output: a tile is some output channels by some vectors of a row. The input is read in place
where there is no padding and a stride of one; otherwise from a copy ``[planes][rows][phase][columns]`` that carries the
padding, in which columns that are a stride apart lie side by side.

Nothing here needs a compiler.
"""

from __future__ import annotations

import numpy as np

from ronn.records import dataclass, replace
from ronn_codegen.simd.target import Target

MOST_CHANNELS = 8  # of output
PLAIN_CHANNELS = 4  # of input that the blocked convolution reads where they are
_FLOPS_PER_LANE_NS = 7.0  # of a tile at full speed
_SPEED = {8: 0.85, 4: 0.85, 2: 0.7, 1: 0.45}  # of tiles, by channels
_BLOCKED_SPEED = 0.9
_COPY_BYTES_PER_NS = 10.0
_REORDER_BYTES_PER_NS = 20.0
_CALL = 25.0  # of a tile


def tiles_of(target: Target) -> tuple[tuple[int, int], ...]:
    """The tiles there are: (output channels, vectors), those with most vectors of a number of channels first."""
    if target.registers >= 32:
        return (8, 3), (8, 2), (8, 1), (4, 6), (4, 3), (4, 1), (2, 10), (2, 5), (2, 2), (1, 14), (1, 7), (1, 3), (1, 1)
    return (8, 1), (4, 3), (4, 1), (2, 5), (2, 2), (1, 7), (1, 3), (1, 1)


@dataclass(frozen=True)
class NarrowShape:
    """Sizes of one convolution. ``pads``: top, left, bottom, right."""

    n: int
    c: int
    k: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)

    @property
    def out(self) -> tuple[int, int]:
        """Height and width of the output."""
        h, w = (
            (self.size[i] + self.pads[i] + self.pads[i + 2] - self.dilations[i] * (self.kernel[i] - 1) - 1)
            // self.strides[i]
            + 1
            for i in range(2)
        )
        return h, w

    @property
    def flops(self) -> int:
        """A multiply-add counted as two."""
        return 2 * self.n * self.c * self.k * self.out[0] * self.out[1] * self.kernel[0] * self.kernel[1]


def channel_groups(k: int) -> list[int]:
    """The output channels in groups of tiles, the largest first."""
    groups = []
    for size in (8, 4, 2, 1):
        while k >= size:
            groups.append(size)
            k -= size
    return groups


def upsampling(
    n: int, c: int, k: int, size: tuple[int, int], kernel: tuple[int, int], strides: tuple[int, int],
    dilations: tuple[int, int], begins: tuple[int, int], out: tuple[int, int], group: int,
) -> NarrowShape | None:  # fmt: skip
    """A transposed convolution whose windows do not overlap, as a pointwise one with ``k * R * S`` output channels that
    are then put side by side; None for any other."""
    if group != 1 or kernel != strides or dilations != (1, 1) or begins != (0, 0):
        return None
    if out != (size[0] * strides[0], size[1] * strides[1]):
        return None
    return NarrowShape(n, c, k * kernel[0] * kernel[1], size, (1, 1))


def upsampling_time(shape: NarrowShape, lanes: int) -> float:
    """Nanoseconds of it, and of putting the outputs in place."""
    outputs = shape.n * shape.k * shape.size[0] * shape.size[1]
    return narrow_time(shape, lanes) + 8 * outputs / _COPY_BYTES_PER_NS


def upsampling_in_blocks(shape: NarrowShape, k: int, lanes: int) -> float:
    """Nanoseconds of the same transposed convolution, of ``k`` output channels, in blocks."""
    return blocked_time(replace(shape, k=1), lanes) / lanes * (shape.k // k) * (-(-k // lanes) * lanes)


def narrow_time(shape: NarrowShape, lanes: int) -> float:
    """Nanoseconds on one core, estimated; infinite for a convolution that is not for these tiles."""
    wide = shape.out[1]
    if shape.k > min(MOST_CHANNELS, lanes // 2) or wide < lanes:
        return float("inf")
    each = shape.flops / shape.k / (_FLOPS_PER_LANE_NS * lanes)
    groups = channel_groups(shape.k)
    vectors = -(-wide // lanes)
    calls = shape.n * shape.out[0] * len(groups) * -(-vectors // 4) * _CALL
    return calls + vectors * lanes / wide * each * sum(g / _SPEED[g] for g in groups) + copy_time(shape)


def copy_time(shape: NarrowShape) -> float:
    """Of making the padded copy."""
    if not any(shape.pads) and shape.strides[1] == 1:
        return 0.0
    slow = 1 if shape.strides[1] == 1 else 4
    return 4 * shape.n * shape.c * shape.size[0] * shape.size[1] * slow / _COPY_BYTES_PER_NS


def blocked_time(shape: NarrowShape, lanes: int) -> float:
    """Nanoseconds of the same convolution on blocked channels, reorderings left out."""
    return shape.flops / shape.k * (-(-shape.k // lanes) * lanes) / (_FLOPS_PER_LANE_NS * lanes * _BLOCKED_SPEED)


def border_time(shape: NarrowShape, lanes: int) -> float:
    """Nanoseconds of reordering input and output of the blocked convolution."""
    out, size = shape.n * shape.out[0] * shape.out[1], shape.n * shape.size[0] * shape.size[1]
    elements = out * (shape.k + -(-shape.k // lanes) * lanes)
    if shape.c > PLAIN_CHANNELS:
        elements += size * (shape.c + -(-shape.c // lanes) * lanes)
    return 4 * elements / _REORDER_BYTES_PER_NS


def prefers_narrow(shape: NarrowShape, lanes: int) -> bool:
    """Whether a convolution from and to the plain layout is better done here."""
    return narrow_time(shape, lanes) < blocked_time(shape, lanes) + border_time(shape, lanes)


@dataclass(frozen=True)
class NarrowPlan:
    """How one convolution is run on ``target``."""

    shape: NarrowShape
    target: Target

    @property
    def lanes(self) -> int:
        return self.target.lanes(32)

    @property
    def groups(self) -> list[tuple[int, int]]:
        """Of each group of output channels: its number of channels, and the number of its tile."""
        tiles = tiles_of(self.target)
        vectors = -(-self.shape.out[1] // self.lanes)
        found = []
        for size in channel_groups(self.shape.k):
            known = [i for i, (channels, _) in enumerate(tiles) if channels == size]
            found.append((size, next((i for i in known if tiles[i][1] <= vectors), known[-1])))
        return found

    @property
    def widest(self) -> int:
        """The most columns of a tile."""
        tiles = tiles_of(self.target)
        return max(tiles[tile][1] for _, tile in self.groups) * self.lanes

    @property
    def in_place(self) -> bool:
        """Whether the input is read where it is. Tiles reach beyond the end of a row that is no whole vectors wide."""
        s = self.shape
        return not any(s.pads) and s.strides[1] == 1 and s.out[1] >= self.widest

    @property
    def rows(self) -> int:
        """Rows of a plane of the copy."""
        top, _, bottom, _ = self.shape.pads
        return self.shape.size[0] + top + bottom

    @property
    def columns(self) -> int:
        """Columns of a phase of the copy: what tiles of whole vectors may read."""
        s = self.shape
        reach = (s.kernel[1] - 1) * s.dilations[1] // s.strides[1] + 1
        outputs = max(-(-s.out[1] // self.lanes) * self.lanes, self.widest)
        columns = max(outputs + reach, -(-(s.size[1] + s.pads[1]) // s.strides[1]))
        return -(-columns // self.lanes) * self.lanes

    @property
    def row(self) -> int:
        """Elements from one row that is read to the next."""
        return self.shape.size[1] if self.in_place else self.columns * self.shape.strides[1]

    @property
    def plane(self) -> int:
        """Elements from one channel that is read to the next."""
        return self.row * (self.shape.size[0] if self.in_place else self.rows)

    @property
    def taps(self) -> np.ndarray:
        """``int64[R * S]``: where each tap lies, in bytes from the place of the first one."""
        s = self.shape
        found = []
        for i in range(s.kernel[0]):
            for j in range(s.kernel[1]):
                quotient, phase = divmod(j * s.dilations[1], s.strides[1])
                found.append(4 * (i * s.dilations[0] * self.row + phase * self.columns + quotient))
        return np.array(found, np.int64)

    @property
    def table(self) -> np.ndarray:
        """``int64[groups, 4]``: of each group its tile, first channel, number of channels, columns of a tile."""
        tiles = tiles_of(self.target)
        rows, first = [], 0
        for size, tile in self.groups:
            rows.append((tile, first, size, tiles[tile][1] * self.lanes))
            first += size
        return np.array(rows, np.int64)

    def pack(self, weights: np.ndarray) -> np.ndarray:
        """``weights[K, C, R, S]`` as ``[group][C][R * S][channel of the group]``, flat."""
        s = self.shape
        flat = weights.reshape(s.k, s.c, -1)
        parts, first = [], 0
        for size, _ in self.groups:
            parts.append(flat[first : first + size].transpose(1, 2, 0).reshape(-1))
            first += size
        return np.ascontiguousarray(np.concatenate(parts), np.float32)
