"""How a convolution is cut for the kernel ``conv_f32``: its plan of sizes, and the order of its packed weights.

Activations are ``[N, C/L, D, H, W, L]``, channels in blocks of L lanes (or plain ``[N, C, D, H, W]``), weights
``[K, C/group, D, R, S]``. The output's channel blocks are taken in *groups* of up to ``BLOCKS``; each reads a range of
the input's channel blocks. Packed weights hold, group by group, ``[channel block][d][r][s][lane][block][L]``, so that a
register tile reads them in one sweep. With grouped convolutions a range covers the channels of all lanes of the group,
with zeros where a lane takes no part. Depthwise convolutions work lane by lane: ``[block][d][r][s][L]``.

Nothing here needs a compiler: plans are made when a model is loaded.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ronn.cached import cached_property
from ronn.records import dataclass, replace
from ronn_codegen.aligned import aligned_zeros
from ronn_codegen.simd.target import Target
from ronn_codegen.tuned import tuned

BLOCKED, PLAIN, DEPTHWISE = KINDS = (0, 1, 2)  # inputs in blocks or plain; one channel in, one channel out
STRIP_KINDS = ((3, 1), (3, 2), (5, 1), (5, 2), (7, 1))  # depthwise: taps of a row, stride
BLOCKS = 2  # channel blocks of output in a register tile

# What one convolution hands to its register tiles, as 64-bit words; steps in bytes.
GEOMETRY = (
    "x_plane", "x_deep", "x_down", "x_tap", "x_step",  # between channel blocks, taps (slice, row, column), pixels
    "x_inner", "tap_steps",  # between steps of the innermost loop; steps of weights from column tap to column tap
    "wide", "stride", "dilation",  # columns of the input; from pixel to pixel and from tap to tap
    "deep_taps", "row_taps", "column_taps",
    "y_step", "y_block",  # between pixels, channel blocks
)  # fmt: skip
# The rest of the plan. Rows of output are counted through all slices; ``rows_first``: groups vary fastest.
# Tiles before ``lead`` and from ``trail`` on have at most ``edge`` pixels.
LOOPS = (
    "images", "groups", "rows", "rows_a_unit", "high", "out_wide", "last_wide", "rows_first", "pixels",
    "in_deep", "in_high", "front", "top", "left", "deep_stride", "high_stride", "deep_dilation", "high_dilation",
    "x_image", "x_slice", "x_row", "x_column", "y_image", "y_slice", "y_row",
    "lead", "trail", "edge", "chunk", "out_blocks", "out_last_lanes", "kind",
)  # fmt: skip
# Behind the loops, for each group: its range of input channel blocks, where its weights are, its output blocks.
# It ends behind some lanes of the last channel block.
GROUP = (
    "first_channel_block", "group_channel_blocks", "weights", "first_block", "blocks", "last_lanes",
)  # fmt: skip
WORDS = {name: i for i, name in enumerate((*GEOMETRY, *LOOPS))}

_UNITS = 16  # of work at least, where there are as many, for an even split

Three = tuple[int, int, int]


def pixels_of(target: Target) -> int:
    """The most pixels of a register tile: its sums, one step of weights and one broadcast fill the registers."""
    return 14 if target.registers >= 32 else 6


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(frozen=True)
class ConvShape:
    """Sizes of one convolution with three spatial dims (leading ones 1 where there are fewer). ``pads`` come before
    and after each dim; negative ones cut."""

    n: int
    c: int
    k: int
    size: Three
    kernel: Three
    strides: Three = (1, 1, 1)
    pads: tuple[int, int, int, int, int, int] = (0, 0, 0, 0, 0, 0)
    dilations: Three = (1, 1, 1)
    group: int = 1

    @cached_property
    def out(self) -> Three:
        """Spatial dims of the output."""
        size, kernel, pads = self.size, self.kernel, self.pads
        d, h, w = [
            (size[i] + pads[i] + pads[i + 3] - self.dilations[i] * (kernel[i] - 1) - 1) // self.strides[i] + 1
            for i in range(3)
        ]
        return d, h, w

    @property
    def flops(self) -> int:
        """Floating-point operations, a multiply-add counted as two."""
        taps = self.kernel[0] * self.kernel[1] * self.kernel[2]
        d, h, w = self.out
        return 2 * self.n * self.k * d * h * w * (self.c // self.group) * taps

    def on_its_side(self) -> ConvShape:
        """With rows and columns exchanged."""

        def turned(v: Three) -> Three:
            return v[0], v[2], v[1]

        front, top, left, back, bottom, right = self.pads
        return replace(
            self, size=turned(self.size), kernel=turned(self.kernel), strides=turned(self.strides),
            dilations=turned(self.dilations), pads=(front, left, top, back, right, bottom),
        )  # fmt: skip

    @cached_property
    def pointwise(self) -> bool:
        """Each pixel of the output depends on the one pixel at its place."""
        return self.kernel == (1, 1, 1) and self.strides == (1, 1, 1) and not any(self.pads)


@dataclass(frozen=True)
class Group:
    """Output channel blocks that are computed together; ``weights`` in elements of the packed weights."""

    first_channel_block: int
    channel_blocks: int
    weights: int
    first_block: int
    blocks: int
    last_lanes: int


@lru_cache(maxsize=1024)  # many sizes of image have the same channels
def _groups(c: int, k: int, group: int, lanes: int, deep: int, weights: int) -> tuple[Group, ...]:
    """``deep``: channels of a block of the input; ``weights``: elements of a channel block and an output block."""

    def reach(block: int) -> tuple[int, int]:
        """The range of input channels that an output channel block depends on."""
        per, out_per = c // group, k // group
        last = min((block + 1) * lanes, k) - 1
        return block * lanes // out_per * per, (last // out_per + 1) * per

    out_blocks = ceil_div(k, lanes)
    found: list[Group] = []
    at = first = 0
    while first < out_blocks:
        span = reach(first)
        blocks = 1
        while blocks < BLOCKS and first + blocks < out_blocks and reach(first + blocks) == span:
            blocks += 1
        low, high = span[0] // deep, ceil_div(span[1], deep)
        found.append(Group(low, high - low, at, first, blocks, span[1] - (high - 1) * deep))
        at += (high - low) * weights * blocks
        first += blocks
    return tuple(found)


@dataclass(frozen=True)
class ConvPlan:
    """A convolution cut for vectors of ``lanes`` and register tiles of up to ``pixels``. ``plain``: x is not blocked.

    ``y_steps`` places the output in a larger one, as transposed convolutions do: bytes from a pixel, a row, a slice, a
    channel block and an image to the next; all 0: densely.
    """

    shape: ConvShape
    lanes: int
    pixels: int
    plain: bool = False
    y_steps: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)

    @cached_property
    def kind(self) -> int:
        """One of ``KINDS``."""
        shape = self.shape
        return PLAIN if self.plain else DEPTHWISE if shape.group == shape.c == shape.k > 1 else BLOCKED

    @property
    def strip_kind(self) -> int | None:
        """Which of ``STRIP_KINDS`` a depthwise convolution is; None: none of them, or in other ways unusual."""
        shape = self.shape
        flat = shape.size[0] == shape.kernel[0] == shape.out[0] == 1 and shape.dilations == (1, 1, 1)
        window = (shape.kernel[2], shape.strides[2])
        if self.kind != DEPTHWISE or not flat or any(self.y_steps) or window not in STRIP_KINDS:
            return None
        return STRIP_KINDS.index(window)

    @property
    def inner(self) -> int:
        """Channels for which a tap has vectors of weights."""
        return self.lanes if self.kind == BLOCKED else 1

    @cached_property
    def channel_blocks(self) -> int:
        """Of the input: blocks of L, or with a plain input channels."""
        return self.shape.c if self.plain else ceil_div(self.shape.c, self.lanes)

    @cached_property
    def out_blocks(self) -> int:
        return ceil_div(self.shape.k, self.lanes)

    @cached_property
    def taps(self) -> int:
        d, r, s = self.shape.kernel
        return d * r * s

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The groups of output channel blocks, as even as their input ranges allow."""
        shape = self.shape
        deep = 1 if self.plain else self.lanes
        return _groups(shape.c, shape.k, shape.group, self.lanes, deep, self.taps * self.inner * self.lanes)

    @cached_property
    def packed_size(self) -> int:
        """Elements of the packed weights."""
        last = self.groups[-1]
        return last.weights + last.channel_blocks * self.taps * self.inner * last.blocks * self.lanes

    @cached_property
    def words(self) -> np.ndarray:
        """The plan as the kernel reads it (int64)."""
        words = self._sizes
        table = [
            [g.first_channel_block, g.channel_blocks, 4 * g.weights, g.first_block, g.blocks, g.last_lanes]
            for g in self.groups
        ]
        flat = [words[name] for name in WORDS] + [value for row in table for value in row]
        return np.array(flat, np.int64)

    @cached_property
    def units(self) -> int:
        """Pieces of work that can be handed to different threads."""
        words = self._sizes
        return words["images"] * words["groups"] * ceil_div(words["rows"], words["rows_a_unit"])

    @cached_property
    def _sizes(self) -> dict[str, int]:
        if not self._down():
            return self._geometry() | self._rows()
        # As if the input stood on its side, with the steps of where it really lies.
        shape, pixel = self.shape, 4 * self.lanes
        row = pixel * shape.size[2]
        side = replace(self, shape=shape.on_its_side())
        steps = {
            "x_down": shape.dilations[2] * pixel, "x_tap": shape.dilations[1] * row, "x_step": shape.strides[1] * row,
            "x_row": pixel, "x_column": row, "y_step": pixel * shape.out[2], "y_row": pixel,
        }  # fmt: skip
        return side._geometry() | side._rows() | steps

    def _down(self) -> bool:
        """Whether register tiles go down columns: then taps of a row that lie outside cost nothing."""
        shape = self.shape
        across = shape.kernel[1] == 1 < shape.kernel[2] and max(shape.pads[2], shape.pads[5]) > 0
        return across and self.kind == BLOCKED and not any(self.y_steps) and shape.out[1] >= self.pixels // 2

    def _flat(self) -> bool:
        return self.shape.pointwise and not self.plain and not any(self.y_steps)

    def _geometry(self) -> dict[str, int]:
        shape = self.shape
        pixel = 4 if self.plain else 4 * self.lanes
        row = shape.size[2] * pixel
        plane = shape.size[0] * shape.size[1] * row
        d, h, w = shape.out
        y_step, y_block = self.y_steps[0], self.y_steps[3]
        return {
            "x_plane": plane,
            "x_deep": shape.dilations[0] * shape.size[1] * row,
            "x_down": shape.dilations[1] * row,
            "x_tap": shape.dilations[2] * pixel,
            "x_step": shape.strides[2] * pixel,
            "x_inner": shape.dilations[2] * pixel if self.plain else 4,
            "tap_steps": self.inner,
            "wide": d * h * w if self._flat() else shape.size[2],
            "stride": shape.strides[2],
            "dilation": shape.dilations[2],
            "deep_taps": shape.kernel[0],
            "row_taps": shape.kernel[1],
            "column_taps": shape.kernel[2],
            "y_step": y_step if y_step else 4 * self.lanes,
            "y_block": y_block if y_block else 4 * self.lanes * d * h * w,
        }

    def _rows(self) -> dict[str, int]:
        shape, lanes = self.shape, self.lanes
        pixel = 4 if self.plain else 4 * lanes
        deep, high, wide = shape.out
        rows, last_wide, in_wide = deep * high, wide, shape.size[2]
        if self._flat():
            # All pixels are one row, cut where register tiles end.
            pixels = deep * high * wide
            tiles = ceil_div(pixels, self.pixels)
            wide = ceil_div(pixels, tiles) if tiles <= 2 * _UNITS else 4 * self.pixels
            high = rows = ceil_div(pixels, wide)
            deep, in_wide, last_wide = 1, wide, pixels - (rows - 1) * wide
        y = 4 * lanes
        steps = self.y_steps if any(self.y_steps) else (
            y, y * wide, y * wide * high, 0, 4 * lanes * self.out_blocks * shape.out[0] * shape.out[1] * shape.out[2]
        )  # fmt: skip
        lead, trail = self._interior()
        channel_blocks = max([g.channel_blocks for g in self.groups])
        panel = 4 * self.taps * self.inner * BLOCKS * lanes
        chunk = max(1, min(tuned("conv_panel_bytes", 32 * lanes) // max(panel, 1), channel_blocks))
        chunk = ceil_div(channel_blocks, ceil_div(channel_blocks, chunk))
        if self.plain:
            chunk = channel_blocks
        rows_a_unit = self._rows_a_unit(rows, wide, in_wide * pixel * channel_blocks)
        return {
            "images": shape.n,
            "groups": len(self.groups),
            "rows": rows,
            "rows_a_unit": rows_a_unit,
            "high": high,
            "out_wide": wide,
            "last_wide": last_wide,
            "rows_first": int(
                self.kind != DEPTHWISE and 4 * self.packed_size <= 2 * tuned("conv_resident_bytes", 32 * lanes)
            ),
            "pixels": self.pixels,
            "in_deep": shape.size[0],
            "in_high": rows if self._flat() else shape.size[1],
            "front": shape.pads[0],
            "top": shape.pads[1],
            "left": shape.pads[2],
            "deep_stride": shape.strides[0],
            "high_stride": shape.strides[1],
            "deep_dilation": shape.dilations[0],
            "high_dilation": shape.dilations[1],
            "x_image": self.channel_blocks * shape.size[0] * shape.size[1] * shape.size[2] * pixel,
            "x_slice": shape.size[1] * shape.size[2] * pixel,
            "x_row": in_wide * pixel,
            "x_column": pixel,
            "y_image": steps[4],
            "y_slice": steps[2],
            "y_row": steps[1],
            "lead": lead,
            "trail": trail if not self._flat() else wide,
            "edge": 1 if self.plain else 2,
            "chunk": chunk,
            "out_blocks": self.out_blocks,
            "out_last_lanes": shape.k - (self.out_blocks - 1) * lanes,
            "kind": self.kind,
        }

    def _interior(self) -> tuple[int, int]:
        """Where tiles of any size start and end in a row. A blocked tile may hold one pixel on either side that has
        taps outside of the input, a plain one none."""
        shape = self.shape
        wide, out = shape.size[2], shape.out[2]
        first = ceil_div(shape.pads[2], shape.strides[2])
        last = (wide - 1 + shape.pads[2] - (shape.kernel[2] - 1) * shape.dilations[2]) // shape.strides[2] + 1
        first, last = min(first, out), min(last, out)
        if last <= first:
            return out, out
        margin = 0 if self.plain else 1
        return max(first - margin, 0), min(last + margin, out)

    def _rows_a_unit(self, rows: int, wide: int, row_bytes: int) -> int:
        """Enough rows that weights are used often, few enough that the input stays in cache and threads get a share."""
        pieces = ceil_div(_UNITS, self.shape.n * len(self.groups))
        most = max(1, tuned("conv_resident_bytes", 32 * self.lanes) // max(row_bytes, 1))
        least = min(rows, ceil_div(2 * self.pixels, wide))
        count = max(least, min(most, ceil_div(rows, pieces)))
        return ceil_div(rows, ceil_div(rows, count))


@dataclass(frozen=True)
class WeightsOrder:
    """Where weights lie before they are packed, in elements: ``group * group_step + out * out_step + in * in_step +
    offsets[tap]``."""

    group_step: int
    out_step: int
    in_step: int
    offsets: tuple[int, ...]

    @cached_property
    def table(self) -> np.ndarray:
        """``offsets`` as the kernel reads them (int64)."""
        return np.array(self.offsets, np.int64)


def usual_order(plan: ConvPlan) -> WeightsOrder:
    """That of ``weights[K, C/group, D, R, S]``."""
    shape, taps = plan.shape, plan.taps
    per, out_per = shape.c // shape.group, shape.k // shape.group
    return WeightsOrder(out_per * per * taps, per * taps, taps, tuple(range(taps)))


def pack_weights(plan: ConvPlan, weights: np.ndarray) -> np.ndarray:
    """``weights[K, C/group, D, R, S]`` (or fewer spatial dims) in the order of ``plan``: what ``conv_pack`` does many
    times as fast."""
    shape, lanes, inner = plan.shape, plan.lanes, plan.inner
    if plan.kind == DEPTHWISE:
        lane_by_lane = np.zeros((plan.out_blocks * lanes, plan.taps), np.float32)
        lane_by_lane[: shape.k] = weights.reshape(shape.k, plan.taps)
        blocks = lane_by_lane.reshape(plan.out_blocks, lanes, plan.taps)
        return np.ascontiguousarray(blocks.transpose(0, 2, 1)).reshape(-1)
    per, out_per = shape.c // shape.group, shape.k // shape.group
    flat = weights.reshape(shape.k, per, plan.taps)
    packed = aligned_zeros((plan.packed_size,), np.float32)
    for group in plan.groups:
        first = group.first_block * lanes
        width = group.blocks * lanes
        size = group.channel_blocks * plan.taps * inner * width
        to = packed[group.weights : group.weights + size].reshape(group.channel_blocks, plan.taps, inner, width)
        whole = np.zeros((group.channel_blocks * inner, plan.taps, width), np.float32)
        for k in range(first, min(first + width, shape.k)):
            low = k // out_per * per - group.first_channel_block * inner
            whole[low : low + per, :, k - first] = flat[k]
        to[...] = whole.reshape(group.channel_blocks, inner, plan.taps, width).transpose(0, 2, 1, 3)
    return packed


def pack_bias(plan: ConvPlan, bias: np.ndarray | None) -> np.ndarray:
    """``bias[K]`` as whole vectors."""
    packed = np.zeros(plan.out_blocks * plan.lanes, np.float32)
    if bias is not None:
        packed[: plan.shape.k] = bias
    return packed
