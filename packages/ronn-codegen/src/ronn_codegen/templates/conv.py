"""Convolution in float32 on blocked channels, depthwise too, or from a plain input to blocked channels: see
``conv_plan``.

A unit of work is a group of output channel blocks for some rows of one image. Where the input has more channels than
weights fit into the first-level cache for, it is swept in chunks of channel blocks, and sums wait in the output.
The order of additions to an element depends on the shape only, never on how the work is shared.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd import ops
from ronn_codegen.simd.activation import activate
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.modes import CLAMP
from ronn_codegen.simd.scalar import peek, poke
from ronn_codegen.simd.target import Target
from ronn_codegen.templates import winograd as wg
from ronn_codegen.templates.conv_plan import BLOCKED, BLOCKS, DEPTHWISE, GROUP, PLAIN, WORDS, pixels_of
from ronn_codegen.templates.conv_tile import conv_tile, sizes_of
from ronn_codegen.templates.winograd import input_block, output_block, transforms
from ronn_codegen.templates.winograd_plan import POINTS

_get, _load, _store = peek("i64"), peek("f32"), poke("f32")
# In the order of ``GEOMETRY`` and ``LOOPS``.
(
    X_PLANE, X_DEEP, X_DOWN, X_TAP, X_STEP, X_INNER, TAP_STEPS, WIDE, STRIDE, DILATION, DEEP_TAPS, ROW_TAPS,
    COLUMN_TAPS, Y_STEP, Y_BLOCK, IMAGES, GROUPS, ROWS, ROWS_A_UNIT, HIGH, OUT_WIDE, LAST_WIDE, ROWS_FIRST, PIXELS,
    IN_DEEP, IN_HIGH, FRONT, TOP, LEFT, DEEP_STRIDE, HIGH_STRIDE, DEEP_DILATION, HIGH_DILATION, X_IMAGE, X_SLICE, X_ROW,
    X_COLUMN, Y_IMAGE, Y_SLICE, Y_ROW, LEAD, TRAIL, EDGE, CHUNK, CHANNEL_BLOCKS, LAST_LANES, OUT_BLOCKS, OUT_LAST_LANES,
    KIND,
) = WORDS.values()  # fmt: skip
_TABLE, _ENTRY = len(WORDS), len(GROUP)


@njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
def _first_tap(place: int, dilation: int) -> int:
    """The first tap whose place is not negative."""
    return 0 if place >= 0 else (dilation - 1 - place) // dilation


@njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
def _end_tap(place: int, dilation: int, size: int, taps: int) -> int:
    """The tap behind the last one whose place is less than ``size``."""
    return 0 if place >= size else min(taps, (size - 1 - place) // dilation + 1)


@cache
def _row(lanes: int, most: int) -> Callable[..., None]:
    """One row of output for one group and one chunk of channels: its register tiles from left to right."""
    tile = conv_tile(lanes, most)
    _, _, *middle, half, _ = sizes_of(most, 1)
    few = middle[0] if middle else half

    @njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
    def row(
        plan: int, x: int, w: int, y: int, bias: int, residual: int, width: int, channel_blocks: int, last: int,
        slices: int, rows: int, blocks: int, tap_bytes: int, clamp: int, low: float, high: float,
    ) -> None:  # fmt: skip
        kind, edge, taps = _get(plan, KIND), _get(plan, EDGE), _get(plan, COLUMN_TAPS)
        lead, trail, left = _get(plan, LEAD), min(_get(plan, TRAIL), width), _get(plan, LEFT)
        stride, dilation, wide = _get(plan, STRIDE), _get(plan, DILATION), _get(plan, WIDE)
        x_column, y_step = _get(plan, X_COLUMN), _get(plan, Y_STEP)
        family = 0 if kind == DEPTHWISE else blocks
        at = 0
        while at < width:
            rest = trail - at
            if at < lead or rest <= 0:
                pixels = min(edge, (lead if at < lead else width) - at)
            elif family == BLOCKS:
                tiles = (rest + most - 1) // most
                pixels = (rest + tiles - 1) // tiles
            else:
                pixels = most if rest >= most else half if rest >= half else few if rest >= few else min(rest, 2)
            column = at * stride - left
            first, end = 0, taps
            if pixels == 1:
                first, end = _first_tap(column, dilation), _end_tap(column, dilation, wide, taps)
                column += first * dilation
            steps, last_steps, columns = lanes, last, end - first
            if kind == PLAIN:  # taps of a row are the steps of the innermost loop
                steps, last_steps, columns = columns, columns, 1
            skip = y_step * at
            tile(
                pixels, family, plan, x + column * x_column, w + first * tap_bytes, y + skip, bias,
                residual + skip if residual else 0, column, channel_blocks, steps, last_steps, slices, rows, columns,
                clamp, low, high,
            )  # fmt: skip
            at += pixels

    return row


@cache
def _ending(lanes: int) -> Callable[..., None]:
    """What follows in a row of output, still in cache, for one channel block with ``valid`` channels."""
    vector, apply, add = VectorType("f32", lanes), activate(lanes), ops.add
    load, store = vector.load, vector.store

    @njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
    def ending(mode: int, p0: float, p1: float, y: int, residual: int, width: int, y_step: int, valid: int) -> None:
        if valid == lanes and y_step == 4 * lanes:
            apply(mode, y, 0, 1, width * lanes, p0, p1)
        else:
            apply(mode, y, y_step // 4, width, valid, p0, p1)
        if residual:
            for i in range(width):
                at = i * y_step
                store(y + at, 0, add(load(y + at, 0), load(residual + at, 0)))

    return ending


@native("conv_f32(plan, x, w, bias, residual, y, residual_last, mode, p0: f32, p1: f32)")
def conv_f32(target: Target) -> Callable[..., None]:
    """``y = activation(conv(x, w) + bias + residual)``; with ``residual_last`` the residual is added at the end.

    ``plan`` is the address of ``ConvPlan.words``, ``w`` of the packed weights, ``bias`` of a vector for each block,
    ``mode``, ``p0`` and ``p1`` as ``simd.activation`` has them. ``y`` may be ``residual``, except with
    ``residual_last``.
    """
    lanes = target.lanes(32)
    row, ending = _row(lanes, pixels_of(target)), _ending(lanes)
    vector_bytes = 4 * lanes

    @njit(error_model="numpy", nogil=True)
    def run(
        plan: int, x: int, w: int, bias: int, residual: int, y: int, residual_last: int, mode: int, p0: float,
        p1: float, worker: int, workers: int,
    ) -> None:  # fmt: skip
        images, groups, all_rows, step = (
            _get(plan, IMAGES),
            _get(plan, GROUPS),
            _get(plan, ROWS),
            _get(plan, ROWS_A_UNIT),
        )
        row_units = (all_rows + step - 1) // step
        units = images * groups * row_units
        # Tiles clamp all lanes: not where zero, which those beyond the last channel hold, would change.
        clamp = 1 if mode == CLAMP and p0 <= 0 and p1 >= 0 else 0
        follows = mode if clamp == 0 else 0
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            image = unit // (groups * row_units)
            rest = unit % (groups * row_units)
            if _get(plan, ROWS_FIRST):
                group, part = rest % groups, rest // groups
            else:
                group, part = rest // row_units, rest % row_units
            table = _TABLE + group * _ENTRY
            first_block, block_count = _get(plan, table), _get(plan, table + 1)
            out_block, blocks = _get(plan, table + 3), _get(plan, table + 4)
            inner = lanes if _get(plan, KIND) == BLOCKED else 1
            tap_bytes = inner * blocks * vector_bytes
            row_bytes = tap_bytes * _get(plan, COLUMN_TAPS)
            slice_bytes = row_bytes * _get(plan, ROW_TAPS)
            block_bytes = slice_bytes * _get(plan, DEEP_TAPS)
            w_group = w + _get(plan, table + 2)
            x_group = x + image * _get(plan, X_IMAGE) + first_block * _get(plan, X_PLANE)
            y_offset = image * _get(plan, Y_IMAGE) + out_block * _get(plan, Y_BLOCK)
            chunk = _get(plan, CHUNK)
            for at in range(0, block_count, chunk):
                count = min(chunk, block_count - at)
                ends = at + count == block_count
                last = _get(plan, LAST_LANES) if first_block + at + count == _get(plan, CHANNEL_BLOCKS) else inner
                for r in range(part * step, min((part + 1) * step, all_rows)):
                    deep, down = r // _get(plan, HIGH), r % _get(plan, HIGH)
                    width = _get(plan, LAST_WIDE) if r == all_rows - 1 else _get(plan, OUT_WIDE)
                    z = deep * _get(plan, DEEP_STRIDE) - _get(plan, FRONT)
                    d0 = _first_tap(z, _get(plan, DEEP_DILATION))
                    d1 = _end_tap(z, _get(plan, DEEP_DILATION), _get(plan, IN_DEEP), _get(plan, DEEP_TAPS))
                    v = down * _get(plan, HIGH_STRIDE) - _get(plan, TOP)
                    r0 = _first_tap(v, _get(plan, HIGH_DILATION))
                    r1 = _end_tap(v, _get(plan, HIGH_DILATION), _get(plan, IN_HIGH), _get(plan, ROW_TAPS))
                    x_row = (
                        x_group + at * _get(plan, X_PLANE) + (z + d0 * _get(plan, DEEP_DILATION)) * _get(plan, X_SLICE)
                        + (v + r0 * _get(plan, HIGH_DILATION)) * _get(plan, X_ROW)
                    )  # fmt: skip
                    y_row = y_offset + deep * _get(plan, Y_SLICE) + down * _get(plan, Y_ROW)
                    row(
                        plan, x_row, w_group + at * block_bytes + d0 * slice_bytes + r0 * row_bytes, y + y_row,
                        bias + out_block * vector_bytes if at == 0 else 0,
                        residual + y_row if at == 0 and residual != 0 and residual_last == 0 else 0,
                        width, count, last, max(d1 - d0, 0), max(r1 - r0, 0), blocks, tap_bytes,
                        clamp if ends else 0, p0, p1,
                    )  # fmt: skip
                    if ends and (follows or residual_last):
                        for j in range(blocks):
                            here = y_row + j * _get(plan, Y_BLOCK)
                            is_last = out_block + j == _get(plan, OUT_BLOCKS) - 1
                            ending(
                                follows, p0, p1, y + here, residual + here if residual_last else 0, width,
                                _get(plan, Y_STEP), _get(plan, OUT_LAST_LANES) if is_last else lanes,
                            )  # fmt: skip

    return run


@native("conv_pack(plan, weights, packed, out_channels, in_channels, taps, per_group_out)")
def conv_pack(target: Target) -> Callable[..., None]:
    """Packs ``weights[K, C/group, taps]`` into zeroed ``packed``; ``in_channels`` is C/group, ``per_group_out``
    K/group. Not for depthwise plans."""
    lanes = target.lanes(32)

    @njit(error_model="numpy", nogil=True)
    def run(
        plan: int, weights: int, packed: int, out_channels: int, in_channels: int, taps: int, per_group_out: int,
        worker: int, workers: int,
    ) -> None:  # fmt: skip
        inner = lanes if _get(plan, KIND) == BLOCKED else 1
        groups = _get(plan, GROUPS)
        for group in range(groups * worker // workers, groups * (worker + 1) // workers):
            table = _TABLE + group * _ENTRY
            first_channel, start = _get(plan, table) * inner, _get(plan, table + 2) // 4
            first, blocks = _get(plan, table + 3) * lanes, _get(plan, table + 4)
            width = blocks * lanes
            for block in range(0, in_channels, inner):
                for j in range(min(width, out_channels - first)):
                    k = first + j
                    to = k // per_group_out * in_channels - first_channel + block
                    outer, lane = to // inner, to % inner
                    source = (k * in_channels + block) * taps
                    for _ in range(min(inner, in_channels - block)):
                        base = start + (outer * taps * inner + lane) * width + j
                        for tap in range(taps):
                            _store(packed, base + tap * inner * width, _load(weights, source + tap))
                        source += taps
                        lane += 1
                        if lane == inner:
                            outer, lane = outer + 1, 0

    return run


@native("winograd_input_f32(plan, x, v)")
def winograd_input_f32(target: Target) -> Callable[..., None]:
    """Transforms ``x`` to ``v``, all blocks of tiles of all images (``plan``: ``WinogradPlan.words``)."""
    lanes = target.lanes(32)
    transform = input_block(lanes)

    @njit(error_model="numpy", nogil=True)
    def run(plan: int, x: int, v: int, worker: int, workers: int) -> None:
        channel_blocks, tile_blocks = _get(plan, wg.CHANNEL_BLOCKS), _get(plan, wg.TILE_BLOCKS)
        step = POINTS * channel_blocks * _get(plan, wg.BLOCK) * 4 * lanes
        units = _get(plan, wg.IMAGES) * tile_blocks * channel_blocks
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            part, channel_block = unit // channel_blocks, unit % channel_blocks
            image, block = part // tile_blocks, part % tile_blocks
            transform(plan, x + image * _get(plan, wg.X_IMAGE), block, channel_block, v + part * step)

    return run


@native("winograd_f32(plan, x, u, bias, zero, residual, y, v, m, residual_last, mode, p0: f32, p1: f32)")
def winograd_f32(target: Target) -> Callable[..., None]:
    """A convolution by Winograd's algorithm; operands as of ``conv_f32``, ``u`` the transformed weights.

    ``v`` is the transformed input, or, where the plan is fused, scratch for that of one block of tiles for each share.
    ``m`` is scratch for ``WinogradPlan.product_floats`` for each share, ``zero`` the address of ``BLOCKS`` vectors of
    zeros.
    """
    lanes = target.lanes(32)
    transform, back = input_block(lanes), output_block(lanes, _row(lanes, pixels_of(target)), _ending(lanes))

    @njit(error_model="numpy", nogil=True)
    def run(
        plan: int, x: int, u: int, bias: int, zero: int, residual: int, y: int, v: int, m: int, residual_last: int,
        mode: int, p0: float, p1: float, worker: int, workers: int,
    ) -> None:  # fmt: skip
        channel_blocks, tile_blocks, groups = (
            _get(plan, wg.CHANNEL_BLOCKS),
            _get(plan, wg.TILE_BLOCKS),
            _get(plan, wg.GROUPS),
        )
        fused, step = _get(plan, wg.FUSED), POINTS * channel_blocks * _get(plan, wg.BLOCK) * 4 * lanes
        products = m + worker * POINTS * BLOCKS * _get(plan, wg.BLOCK) * 4 * lanes
        parts = _get(plan, wg.IMAGES) * tile_blocks
        units = parts if fused else parts * groups
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            part = unit if fused else unit % parts
            image, block = part // tile_blocks, part % tile_blocks
            to, more = image * _get(plan, wg.Y_IMAGE), residual + image * _get(plan, wg.Y_IMAGE) if residual else 0
            transformed = v + (worker if fused else part) * step
            if fused:
                for channel_block in range(channel_blocks):
                    transform(plan, x + image * _get(plan, wg.X_IMAGE), block, channel_block, transformed)
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
        channels, out_blocks = _get(plan, wg.CHANNEL_BLOCKS) * lanes, _get(plan, wg.OUT_BLOCKS)
        for number in range(out_blocks * worker // workers, out_blocks * (worker + 1) // workers):
            group, j = number // BLOCKS, number % BLOCKS
            width = min(BLOCKS, out_blocks - group * BLOCKS) * lanes * 4
            start = packed + group * _get(plan, wg.U_GROUP) + j * lanes * 4
            k = number * lanes
            for c in range(in_channels):
                transform(
                    weights + (k * in_channels + c) * 36, in_channels * 9, out_channels - k, start + c * width,
                    channels * width,
                )  # fmt: skip

    return run
