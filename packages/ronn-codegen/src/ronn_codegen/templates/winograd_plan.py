"""Winograd's convolution F(4x4, 3x3): which convolutions it pays for, and how they are cut.

An output tile of 4x4 pixels comes from 36 products of transformed inputs with transformed weights, where the definition
needs 144. Transformed inputs are ``[36, C/L, T, L]`` for T tiles, weights ``[group, 36, C, blocks, L]``, products
``[36, blocks, T, L]``: 36 pointwise convolutions, done with the register tiles of ``conv``.

The points of the transforms are 0, ±sqrt(1/2), ±sqrt(2) and infinity, whose rounding errors are small.
"""

from __future__ import annotations

import math

import numpy as np

from ronn.cached import cached_property
from ronn.records import dataclass
from ronn_codegen.templates.conv_plan import ConvPlan, ConvShape, ceil_div
from ronn_codegen.tuned import tuned

OUT, IN = 4, 6  # pixels of a tile along an axis
POINTS = IN * IN
A, B = math.sqrt(0.5), math.sqrt(2.0)
WORDS = {
    name: i for i, name in enumerate((
        "images", "tile_rows", "tile_columns", "tiles", "block", "blocks", "fused",
        "in_high", "in_wide", "top", "left", "high", "wide", "x_image", "x_plane", "x_row",
        "y_image", "y_plane", "y_row", "channel_blocks", "last_lanes", "groups", "out_blocks",
        "out_last_lanes", "u_group",
    ))
}  # fmt: skip

_SHARES = 8  # at most
_MOST_WEIGHTS = 16 << 20  # bytes of transformed weights
_BYTES_PER_CYCLE = 5.0  # of weights, from memory
_TRANSFORM = 220.0  # cycles for one vector of a tile, one way
_REGISTER_TILE = 100.0  # cycles for one register tile beyond its products


def weight_transform() -> np.ndarray:
    """``f64[6, 3]``: G, applied to both axes of the weights."""
    squares = A * A, B * B
    rows = [[1 / (squares[0] * squares[1]), 0.0, 0.0]]
    for point, square, other in ((A, squares[0], squares[1]), (B, squares[1], squares[0])):
        scale = 1 / (2 * square * (square - other))
        rows += [[scale, scale * p, scale * square] for p in (point, -point)]
    rows.append([0.0, 0.0, 1.0])
    return np.array(rows)


@dataclass(frozen=True)
class WinogradPlan:
    """A convolution of 3x3 taps, stride 1, cut for vectors of ``lanes``."""

    shape: ConvShape
    lanes: int
    pixels: int

    @cached_property
    def tile_grid(self) -> tuple[int, int]:
        """Rows and columns of tiles of an image."""
        _, high, wide = self.shape.out
        return ceil_div(high, OUT), ceil_div(wide, OUT)

    @property
    def tiles(self) -> int:
        return self.tile_grid[0] * self.tile_grid[1]

    @property
    def fused(self) -> bool:
        """Whether every block goes through all stages by itself: there is more transformed input than caches hold."""
        transformed = 4 * POINTS * self.shape.n * self.tiles * ceil_div(self.shape.c, self.lanes) * self.lanes
        return transformed > tuned("winograd_fused_bytes", 32 * self.lanes)

    @cached_property
    def block(self) -> int:
        """Tiles of a block."""
        blocks = ceil_div(self.tiles, tuned("winograd_tiles", 32 * self.lanes))
        if self.fused and blocks % 2:
            blocks += 1  # an even split over two threads
        return ceil_div(self.tiles, blocks)

    @cached_property
    def blocks(self) -> int:
        return ceil_div(self.tiles, self.block)

    @cached_property
    def products(self) -> ConvPlan:
        """The pointwise convolution of one of the 36 points, over a block of tiles."""
        shape = self.shape
        return ConvPlan(ConvShape(1, shape.c, shape.k, (1, 1, self.block), (1, 1, 1)), self.lanes, self.pixels)

    @property
    def units(self) -> int:
        """Pieces of work that can be handed to different threads."""
        return self.shape.n * self.blocks * (1 if self.fused else len(self.products.groups))

    @property
    def input_units(self) -> int:
        """Pieces of the transformation of the input, where it goes before the rest."""
        return self.shape.n * self.blocks * self.products.channel_blocks

    @cached_property
    def input_floats(self) -> int:
        """Elements of the transformed input of one block of tiles."""
        return POINTS * self.products.channel_blocks * self.block * self.lanes

    @property
    def shares(self) -> int:
        """Into how many shares the work may be cut: each has scratch of its own."""
        return min(self.units, _SHARES)

    @property
    def cycles(self) -> float:
        """An estimate, for one core that does a multiply-add of vectors each cycle."""
        shape = self.shape
        tiles = shape.n * self.tiles
        return (
            1.1 * POINTS * tiles * shape.c * shape.k / self.lanes
            + POINTS * shape.n * self.blocks * _register_tiles(self.products) * _REGISTER_TILE
            + tiles * _TRANSFORM * (self.products.channel_blocks + self.products.out_blocks)
            + 4 * self.packed_size / _BYTES_PER_CYCLE
        )

    @cached_property
    def product_floats(self) -> int:
        """Elements of the products of one block of tiles with one group of output blocks."""
        return POINTS * 2 * self.block * self.lanes

    @property
    def packed_size(self) -> int:
        """Elements of the transformed weights."""
        return POINTS * self.products.packed_size

    @cached_property
    def words(self) -> np.ndarray:
        """The plan as the kernels read it (int64), the words of ``products`` behind its own."""
        shape, products = self.shape, self.products
        _, high, wide = shape.out
        pixel = 4 * self.lanes
        y_plane = pixel * high * wide
        x_plane = pixel * shape.size[1] * shape.size[2]
        groups = products.groups
        values = {
            "images": shape.n,
            "tile_rows": self.tile_grid[0],
            "tile_columns": self.tile_grid[1],
            "tiles": self.tiles,
            "block": self.block,
            "blocks": self.blocks,
            "fused": int(self.fused),
            "in_high": shape.size[1],
            "in_wide": shape.size[2],
            "top": shape.pads[1],
            "left": shape.pads[2],
            "high": high,
            "wide": wide,
            "x_image": x_plane * products.channel_blocks,
            "x_plane": x_plane,
            "x_row": pixel * shape.size[2],
            "y_image": y_plane * products.out_blocks,
            "y_plane": y_plane,
            "y_row": pixel * wide,
            "channel_blocks": products.channel_blocks,
            "last_lanes": shape.c - (products.channel_blocks - 1) * self.lanes,
            "groups": len(groups),
            "out_blocks": products.out_blocks,
            "out_last_lanes": shape.k - (products.out_blocks - 1) * self.lanes,
            "u_group": 4 * POINTS * (groups[1].weights if len(groups) > 1 else products.packed_size),
        }
        return np.concatenate([np.array([values[name] for name in WORDS], np.int64), products.words])


def winograd(plan: ConvPlan) -> WinogradPlan | None:
    """The plan of Winograd's algorithm where it is worth it, else None."""
    shape = plan.shape
    if shape.kernel != (1, 3, 3) or shape.strides != (1, 1, 1) or shape.dilations != (1, 1, 1) or shape.group != 1:
        return None
    if plan.plain or any(plan.y_steps) or shape.size[0] != 1 or min(shape.pads) < 0 or max(shape.pads) > 2:
        return None
    if shape.pads[0] or shape.pads[3]:
        return None
    made = WinogradPlan(shape, plan.lanes, plan.pixels)
    weights = 4 * made.packed_size
    if weights > _MOST_WEIGHTS:
        return None
    products = shape.n * shape.out[1] * shape.out[2] * 9 * shape.c * shape.k / plan.lanes
    direct = products + weights / 4 / _BYTES_PER_CYCLE + shape.n * _register_tiles(plan) * _REGISTER_TILE
    return made if made.cycles < 0.8 * direct else None


def _register_tiles(plan: ConvPlan) -> int:
    """Those of one image, for each group of output blocks."""
    _, high, wide = plan.shape.out
    return high * ceil_div(wide, plan.pixels) * len(plan.groups)


def pack_winograd(plan: WinogradPlan, weights: np.ndarray) -> np.ndarray:
    """``weights[K, C, 3, 3]`` transformed, in the order of ``plan``: what ``winograd_pack`` does many times as fast."""
    g = weight_transform()
    shape, lanes, products = plan.shape, plan.lanes, plan.products
    transformed = np.einsum("ir,kcrs,js->ijkc", g, weights.reshape(shape.k, shape.c, 3, 3).astype(np.float64), g)
    transformed = transformed.reshape(POINTS, shape.k, shape.c)
    channels = products.channel_blocks * lanes
    out = []
    for group in products.groups:
        width = group.blocks * lanes
        first = group.first_block * lanes
        last = min(first + width, shape.k)
        part = np.zeros((POINTS, channels, width), np.float32)
        part[:, : shape.c, : last - first] = transformed[:, first:last].swapaxes(1, 2)
        out.append(part.reshape(-1))
    return np.concatenate(out)
