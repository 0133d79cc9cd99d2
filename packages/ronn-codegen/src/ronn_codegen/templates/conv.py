"""Convolution in float32 on blocked channels, depthwise too, or from a plain input to blocked channels: see
``conv_plan``.

A unit of work is a group of output channel blocks for some rows of one image. Where the input has more channels than
weights fit into the first-level cache for, it is swept in chunks of channel blocks, and sums wait in the output.
The order of additions to an element depends on the shape only, never on how the work is shared.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.modes import CLAMP
from ronn_codegen.simd.scalar import peek, poke
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.tile import FACTORS, Terms
from ronn_codegen.templates.conv_plan import BLOCKED, BLOCKS, DEPTHWISE, GROUP, WORDS, pixels_of
from ronn_codegen.templates.conv_row import clip, ending_of, row_of
from ronn_codegen.templates.conv_tile import words_reader
from ronn_codegen.templates.reorder import transposer
from ronn_codegen.templates.winograd import input_block, output_block, transforms
from ronn_codegen.templates.winograd_plan import POINTS
from ronn_codegen.templates.winograd_plan import WORDS as TILES

_get, _load, _store = peek("i64"), peek("f32"), poke("f32")
_ENTRY = 8 * len(GROUP)  # bytes
_WEIGHTS = len(WORDS) + GROUP.index("weights")
_run_words = words_reader(
    WORDS,
    "images groups rows rows_a_unit rows_first kind column_taps row_taps deep_taps x_image x_plane y_image y_block "
    "y_step chunk out_blocks out_last_lanes high out_wide last_wide y_slice y_row pixels high_stride x_row",
)
_pack_words = words_reader(WORDS, "kind groups")
_group_words = words_reader({name: len(WORDS) + i for i, name in enumerate(GROUP)}, " ".join(GROUP))
_input_words = words_reader(TILES, "images channel_blocks blocks block x_image")
_tile_words = words_reader(TILES, "images channel_blocks blocks block x_image groups fused y_image")
_transform_words = words_reader(TILES, "channel_blocks out_blocks u_group")


@native("conv_f32(plan, x, w, bias, residual, y, residual_last, mode, p0: f32, p1: f32)")
def conv_f32(target: Target) -> Callable[..., None]:
    """``y = activation(conv(x, w) + bias + residual)``; with ``residual_last`` the residual is added at the end.

    ``plan`` is the address of ``ConvPlan.words``, ``w`` of the packed weights, ``bias`` of a vector for each block,
    ``mode``, ``p0`` and ``p1`` as ``simd.activation`` has them. ``y`` may be ``residual``, except with
    ``residual_last``.
    """
    return convolution(target, FACTORS, target.lanes(32))


def convolution(target: Target, terms: Terms, depth: int) -> Callable[..., None]:
    """The kernel for operands that are what ``terms`` multiply, with ``depth`` of them in a channel block."""
    lanes = target.lanes(32)
    row, ending = row_of(lanes, pixels_of(target), terms, depth), ending_of(lanes)
    vector_bytes = 4 * lanes

    @njit(error_model="numpy", nogil=True)
    def run(
        plan: int, x: int, w: int, bias: int, residual: int, y: int, residual_last: int, mode: int, p0: float,
        p1: float, worker: int, workers: int,
    ) -> None:  # fmt: skip
        (
            images, groups, all_rows, step, rows_first, kind, column_taps, row_taps, deep_taps, x_image, x_plane,
            y_image, y_block, y_step, chunk, out_blocks, out_last_lanes, high, out_wide, last_wide, y_slice, y_row,
            most, high_stride, x_row,
        ) = _run_words(plan)  # fmt: skip
        row_units = (all_rows + step - 1) // step
        units = images * groups * row_units
        # Tiles clamp all lanes: not where zero, which those beyond the last channel hold, would change.
        clamp = 1 if mode == CLAMP and p0 <= 0 and p1 >= 0 else 0
        follows = mode if clamp == 0 else 0
        inner = depth if kind == BLOCKED else 1
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            image = unit // (groups * row_units)
            rest = unit % (groups * row_units)
            if rows_first:
                group, part = rest % groups, rest // groups
            else:
                group, part = rest // row_units, rest % row_units
            first_block, block_count, offset, out_block, blocks, last_lanes = _group_words(plan + group * _ENTRY)
            tap_bytes = inner * blocks * vector_bytes
            row_bytes = tap_bytes * column_taps
            slice_bytes = row_bytes * row_taps
            x_group = x + image * x_image + first_block * x_plane
            y_group = image * y_image + out_block * y_block
            first_row, end_row = part * step, min((part + 1) * step, all_rows)
            row_tiles = (out_wide + most - 1) // most
            follower = group + 1 if rows_first or part + 1 == row_units else group
            follower = follower if follower < groups else 0
            for at in range(0, block_count, chunk):
                count = min(chunk, block_count - at)
                begins, ends = at == 0, at + count == block_count
                last = last_lanes if ends else inner
                w_chunk = w + offset + at * slice_bytes * deep_taps
                # The weights that come next are fetched in equal shares by all tiles, unless they are the same.
                following = w_chunk + count * slice_bytes * deep_taps
                if ends:
                    following = w + _get(plan + follower * _ENTRY, _WEIGHTS)
                fetch_step = 0
                if following != w_chunk:
                    fetch_step = blocks * vector_bytes // ((end_row - first_row) * row_tiles) + 1
                fetch_tile = fetch_step * count * deep_taps * row_taps * column_taps * inner
                for r in range(first_row, end_row):
                    deep, down = r // high, r % high
                    x_offset, d0, d1, r0, r1 = clip(plan, deep, down)
                    y_offset = y_group + deep * y_slice + down * y_row
                    width = last_wide if r == all_rows - 1 else out_wide
                    row(
                        plan, x_group + at * x_plane + x_offset, w_chunk + d0 * slice_bytes + r0 * row_bytes,
                        y + y_offset, bias + out_block * vector_bytes if begins else 0,
                        residual + y_offset if begins and residual != 0 and residual_last == 0 else 0,
                        width, count, last, d1 - d0, r1 - r0, blocks, tap_bytes,
                        clamp if ends else 0, following + (r - first_row) * row_tiles * fetch_tile, fetch_step,
                        fetch_tile, high_stride * x_row, p0, p1,
                    )  # fmt: skip
                    if ends and (follows or residual_last):
                        for j in range(blocks):
                            here = y_offset + j * y_block
                            ending(
                                follows, p0, p1, y + here, residual + here if residual_last else 0, width, y_step,
                                out_last_lanes if out_block + j == out_blocks - 1 else lanes,
                            )  # fmt: skip

    return run


@native(
    "conv_pack(plan, weights, packed, out_channels, in_channels, taps, group_out, offsets, group_step, out_step, "
    "in_step)"
)
def conv_pack(target: Target) -> Callable[..., None]:
    """Packs weights in the order of a ``ConvPlan``, with zeros where there are none.

    ``in_channels`` and ``group_out`` are those of a group. In elements, weights lie at ``group * group_step +
    out * out_step + in * in_step + offsets[tap]`` (``offsets``: the address of int64 numbers).
    """
    lanes = target.lanes(32)
    vector = VectorType("f32", lanes)
    store, splat, zero = vector.store, vector.splat, np.float32(0)
    transpose, _, _ = transposer(lanes)

    @njit(error_model="numpy", nogil=True)
    def run(
        plan: int, weights: int, packed: int, out_channels: int, in_channels: int, taps: int, group_out: int,
        offsets: int, group_step: int, out_step: int, in_step: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        kind, groups = _pack_words(plan)
        inner = lanes if kind == BLOCKED else 1
        for group in range(groups * worker // workers, groups * (worker + 1) // workers):
            first_block, block_count, offset, out_block, blocks, _ = _group_words(plan + group * _ENTRY)
            first, width = out_block * lanes, blocks * lanes
            start = packed + offset
            for at in range(0, block_count * taps * inner * width, lanes):
                store(start, at, splat(zero))
            columns = min(width, out_channels - first)
            # Squares of one group and one tap are transposed in registers.
            square = first // group_out == (first + columns - 1) // group_out
            square = square and taps == 1 and in_step == 1 and inner == lanes and in_channels % lanes == 0
            for block in range(0, in_channels, inner):
                skip = columns // lanes * lanes if square else 0
                for j in range(0, skip, lanes):
                    of, out = (first + j) // group_out, (first + j) % group_out
                    to = of * in_channels - first_block * inner + block
                    source = of * group_step + out * out_step + block + _get(offsets, 0)
                    transpose(weights + 4 * source, out_step, start + 4 * (to * width + j), width)
                for j in range(skip, columns):
                    k = first + j
                    of, out = k // group_out, k % group_out
                    to = block if kind == DEPTHWISE else of * in_channels - first_block * inner + block
                    outer, lane = to // inner, to % inner
                    source = of * group_step + out * out_step + block * in_step
                    for _ in range(min(inner, in_channels - block)):
                        base = (outer * taps * inner + lane) * width + j
                        for tap in range(taps):
                            value = _load(weights, source + _get(offsets, tap))
                            _store(start, base + tap * inner * width, value)
                        source += in_step
                        lane += 1
                        if lane == inner:
                            outer, lane = outer + 1, 0

    return run


@native("conv_pad(values, padded, count, size)")
def conv_pad(target: Target) -> Callable[..., None]:
    """Copies ``count`` elements and puts zeros behind them, up to ``size``: a bias as whole vectors."""

    @njit(error_model="numpy", nogil=True)
    def run(values: int, padded: int, count: int, size: int, worker: int, workers: int) -> None:
        for i in range(size * worker // workers, size * (worker + 1) // workers):
            _store(padded, i, _load(values, i) if i < count else np.float32(0))

    return run


@native("winograd_input_f32(plan, x, v)")
def winograd_input_f32(target: Target) -> Callable[..., None]:
    """Transforms ``x`` to ``v``, all blocks of tiles of all images (``plan``: ``WinogradPlan.words``)."""
    lanes = target.lanes(32)
    transform, vector_bytes = input_block(lanes), 4 * lanes

    @njit(error_model="numpy", nogil=True)
    def run(plan: int, x: int, v: int, worker: int, workers: int) -> None:
        images, channel_blocks, tile_blocks, block_tiles, x_image = _input_words(plan)
        step = POINTS * channel_blocks * block_tiles * vector_bytes
        units = images * tile_blocks * channel_blocks
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            part, channel_block = unit // channel_blocks, unit % channel_blocks
            image, block = part // tile_blocks, part % tile_blocks
            transform(plan, x + image * x_image, block, channel_block, v + part * step)

    return run


@native("winograd_f32(plan, x, u, bias, zero, residual, y, v, m, residual_last, mode, p0: f32, p1: f32)")
def winograd_f32(target: Target) -> Callable[..., None]:
    """A convolution by Winograd's algorithm; operands as of ``conv_f32``, ``u`` the transformed weights.

    ``v`` is the transformed input, or, where the plan is fused, scratch for that of one block of tiles for each share.
    ``m`` is scratch for ``WinogradPlan.product_floats`` for each share, ``zero`` the address of ``BLOCKS`` vectors of
    zeros.
    """
    lanes = target.lanes(32)
    vector_bytes = 4 * lanes
    row = row_of(lanes, pixels_of(target), FACTORS, lanes)
    transform, back = input_block(lanes), output_block(lanes, pixels_of(target), row, ending_of(lanes))

    @njit(error_model="numpy", nogil=True)
    def run(
        plan: int, x: int, u: int, bias: int, zero: int, residual: int, y: int, v: int, m: int, residual_last: int,
        mode: int, p0: float, p1: float, worker: int, workers: int,
    ) -> None:  # fmt: skip
        images, channel_blocks, tile_blocks, block_tiles, x_image, groups, fused, y_image = _tile_words(plan)
        step = POINTS * channel_blocks * block_tiles * vector_bytes
        products = m + worker * POINTS * BLOCKS * block_tiles * vector_bytes
        parts = images * tile_blocks
        units = parts if fused else parts * groups
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            part = unit if fused else unit % parts
            image, block = part // tile_blocks, part % tile_blocks
            to, more = image * y_image, residual + image * y_image if residual else 0
            transformed = v + (worker if fused else part) * step
            if fused:
                for channel_block in range(channel_blocks):
                    transform(plan, x + image * x_image, block, channel_block, transformed)
            first = 0 if fused else unit // parts
            for group in range(first, groups if fused else first + 1):
                back(
                    plan, transformed, u, zero, group, block, products, y + to, bias, more, residual_last, mode, p0, p1
                )

    return run


@native("winograd_pack(plan, weights, packed, out_channels, in_channels)")
def winograd_pack(target: Target) -> Callable[..., None]:
    """Transforms ``weights[K, C, 3, 3]`` to zeroed ``packed``."""
    lanes = target.lanes(32)
    _, _, transform = transforms(lanes)

    @njit(error_model="numpy", nogil=True)
    def run(
        plan: int, weights: int, packed: int, out_channels: int, in_channels: int, worker: int, workers: int
    ) -> None:
        channel_blocks, out_blocks, u_group = _transform_words(plan)
        for number in range(out_blocks * worker // workers, out_blocks * (worker + 1) // workers):
            group, j = number // BLOCKS, number % BLOCKS
            width = min(BLOCKS, out_blocks - group * BLOCKS) * lanes * 4
            start = packed + group * u_group + j * lanes * 4
            k = number * lanes
            for c in range(in_channels):
                transform(
                    weights + (k * in_channels + c) * 36, in_channels * 9, out_channels - k, start + c * width,
                    channel_blocks * lanes * width,
                )  # fmt: skip

    return run
