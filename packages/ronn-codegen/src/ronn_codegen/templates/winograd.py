"""The transforms of Winograd's convolution F(4x4, 3x3) and the loops around them; see ``winograd_plan``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import ir
from numba import njit

from ronn_codegen.simd import tile as t
from ronn_codegen.simd.emit import I32, Builder, splat
from ronn_codegen.simd.modes import CLAMP
from ronn_codegen.simd.tile import Value
from ronn_codegen.simd.types import Vec
from ronn_codegen.simd.vectors import Vector, fma, shaped
from ronn_codegen.templates.conv_plan import BLOCKS
from ronn_codegen.templates.conv_tile import words_reader, zeros_address
from ronn_codegen.templates.winograd_plan import IN, OUT, POINTS, WORDS, A, B, weight_transform

_PRODUCTS = 8 * len(WORDS)  # bytes before the words of the products' plan
_input_words = words_reader(WORDS, "block tile_columns x_row in_high in_wide channel_blocks x_plane tiles top left")
_output_words = words_reader(
    WORDS,
    "block channel_blocks tiles out_blocks u_group last_lanes y_row tile_columns y_plane out_last_lanes high wide",
)

Six = list[Vector]


def _input_axis(d: Six) -> Six:
    """B^T d: six values of an axis at the six points."""
    a, b = A * A, B * B
    p, q = fma(d[2], -b, d[4]), fma(d[1], -b, d[3])
    r, s = fma(d[2], -a, d[4]), fma(d[1], -a, d[3])
    return [
        fma(d[2], -(a + b), d[4]) + d[0],  # a * b is 1
        fma(q, A, p), fma(q, -A, p), fma(s, B, r), fma(s, -B, r),
        fma(d[3], -(a + b), d[5]) + d[1],
    ]  # fmt: skip


def _output_axis(m: Six) -> list[Vector]:
    """A^T m: four values of an axis from the products at six points."""
    s, d, p, q = m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]
    return [m[0] + s + p, fma(d, A, q * B), fma(s, A * A, p * (B * B)), fma(d, A**3, fma(q, B**3, m[5]))]


def _weight_axis(g: list[Vector]) -> Six:
    """G g: three taps of an axis at the six points."""
    rows = []
    for row in weight_transform().tolist():
        terms = [(tap, factor) for tap, factor in zip(g, row, strict=True) if factor]
        total = terms[0][0] * terms[0][1]
        for tap, factor in terms[1:]:
            total = fma(tap, factor, total)
        rows.append(total)
    return rows


def _both_axes(values: list[list[Vector]], axis: Callable[[list[Vector]], list[Vector]]) -> list[list[Vector]]:
    """``axis`` applied to columns, then to rows, of a square."""
    columns = [axis([row[j] for row in values]) for j in range(len(values[0]))]
    return [axis([column[i] for column in columns]) for i in range(len(columns[0]))]


@cache
def transforms(lanes: int) -> tuple[Any, Any, Any]:
    """Three intrinsics.

    ``input(x, x_row, row, column, high, wide, v, point)``: the tile whose first pixel lies at x, row ``row`` and column
    ``column`` of an image, to 36 vectors ``point`` bytes apart.
    ``output(m, point, y, y_row, rows, columns, bias, residual, clamp, low, high)``: from 36 vectors to the first rows
    and columns of a tile at y.
    ``weights(w, k_step, count, u, point)``: 3x3 taps of ``count`` output channels, ``k_step`` elements apart.
    """
    vec = Vec("f32", lanes)
    pixel = 4 * lanes

    def emit_input(
        b: Builder, x: Value, x_row: Value, row: Value, column: Value, high: Value, wide: Value, v: Value, point: Value
    ) -> None:
        start, outside = t.pointer(b, x), zeros_address(b.module, vec)
        rows = [b.icmp_unsigned("<", b.add(row, t.i64(i)), high) for i in range(IN)]
        columns = [b.icmp_unsigned("<", b.add(column, t.i64(j)), wide) for j in range(IN)]
        values = []
        for i in range(IN):
            line = t.at(b, start, b.mul(x_row, t.i64(i)))
            places = [b.select(b.and_(rows[i], columns[j]), t.at(b, line, j * pixel), outside) for j in range(IN)]
            values.append([shaped(vec, b, t.load(b, vec, place)) for place in places])
        target = t.pointer(b, v)
        for i, line_values in enumerate(_both_axes(values, _input_axis)):
            for j, value in enumerate(line_values):
                t.store(b, vec, value.value, t.at(b, target, b.mul(point, t.i64(i * IN + j))))

    def emit_output(
        b: Builder, m: Value, point: Value, y: Value, y_row: Value, rows: Value, columns: Value, bias: Value,
        residual: Value, clamp: Value, low: Value, high: Value,
    ) -> None:  # fmt: skip
        source, target, more = (t.pointer(b, address) for address in (m, y, residual))
        values = [
            [shaped(vec, b, t.load(b, vec, t.at(b, source, b.mul(point, t.i64(i * IN + j))))) for j in range(IN)]
            for i in range(IN)
        ]
        added = shaped(vec, b, t.load(b, vec, t.pointer(b, bias)))
        nowhere, zeros = b.alloca(vec.llvm), zeros_address(b.module, vec)
        has_residual = b.icmp_signed("!=", residual, t.i64(0))
        limits = [splat(b, value, lanes) for value in (low, high)]
        clamps = b.icmp_signed("!=", clamp, t.i64(0))
        for i, line in enumerate(_both_axes(values, _output_axis)):
            there = b.icmp_signed("<", t.i64(i), rows)
            offset = b.mul(y_row, t.i64(i))
            for j, value in enumerate(line):
                inside = b.and_(there, b.icmp_signed("<", t.i64(j), columns))
                here = b.add(offset, t.i64(j * pixel))
                other = b.select(b.and_(inside, has_residual), t.at(b, more, here), zeros)
                out = (value + added + shaped(vec, b, t.load(b, vec, other))).value
                # Written so that NaN stays.
                least = b.select(b.and_(splat(b, clamps, lanes), b.fcmp_ordered("<", out, limits[0])), limits[0], out)
                most = b.and_(splat(b, clamps, lanes), b.fcmp_ordered(">", least, limits[1]))
                place = b.select(inside, t.at(b, target, here), nowhere)
                t.store(b, vec, b.select(most, limits[1], least), place)

    def emit_weights(b: Builder, w: Value, k_step: Value, count: Value, u: Value, point: Value) -> None:
        start = t.pointer(b, w)
        taps = []
        for tap in range(9):
            vector = t.zeros(t.TileShape(1, 1, lanes))[0][0]
            for lane in range(lanes):
                there = b.icmp_signed("<", t.i64(lane), count)
                at = b.add(b.select(there, b.mul(k_step, t.i64(4 * lane)), t.i64(0)), t.i64(4 * tap))
                element = b.load(t.at(b, start, at), typ=vec.llvm.element, align=4)
                kept = b.select(there, element, vec.llvm.element(0.0))
                vector = b.insert_element(vector, kept, ir.Constant(I32, lane))
            taps.append(shaped(vec, b, vector))
        target = t.pointer(b, u)
        for i, line in enumerate(_both_axes([taps[0:3], taps[3:6], taps[6:9]], _weight_axis)):
            for j, value in enumerate(line):
                t.store(b, vec, value.value, t.at(b, target, b.mul(point, t.i64(i * IN + j))))

    return (
        t.emitted(f"winograd_input_{lanes}", "i64 " * 8, emit_input),
        t.emitted(f"winograd_output_{lanes}", "i64 " * 9 + "f32 f32", emit_output),
        t.emitted(f"winograd_weights_{lanes}", "i64 " * 5, emit_weights),
    )


@cache
def input_block(lanes: int) -> Callable[..., None]:
    """``fn(plan, x, block, channel_block, v)``: transforms a channel block of a block of tiles of the image at x."""
    transform, _, _ = transforms(lanes)
    pixel = 4 * lanes

    @njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
    def run(plan: int, x: int, block: int, channel_block: int, v: int) -> None:
        size, columns, x_row, high, wide, channel_blocks, x_plane, tiles, top, left = _input_words(plan)
        point = channel_blocks * size * pixel
        plane = x + channel_block * x_plane
        first = block * size
        for tile in range(first, min(first + size, tiles)):
            row, column = tile // columns * OUT - top, tile % columns * OUT - left
            to = v + (channel_block * size + tile - first) * pixel
            transform(plane + row * x_row + column * pixel, x_row, row, column, high, wide, to, point)

    return run


@cache
def output_block(lanes: int, most: int, row: Callable[..., None], ending: Callable[..., None]) -> Callable[..., None]:
    """``fn(plan, v, u, group, block, m, y, bias, residual, residual_last, mode, p0, p1)``: multiplies a block of tiles
    with a group of output channel blocks, and transforms it back; ``y`` and ``residual`` are of the image."""
    _, transform, _ = transforms(lanes)
    pixel = 4 * lanes

    @njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
    def run(
        plan: int, v: int, u: int, zero: int, group: int, block: int, m: int, y: int, bias: int, residual: int,
        residual_last: int, mode: int, p0: float, p1: float,
    ) -> None:  # fmt: skip
        (
            size, channel_blocks, tiles, out_blocks, u_group, last_lanes, y_row, columns, y_plane, out_last_lanes,
            all_high, all_wide,
        ) = _output_words(plan)  # fmt: skip
        first = block * size
        count = min(size, tiles - first)
        blocks = min(BLOCKS, out_blocks - group * BLOCKS)
        tap_bytes = lanes * blocks * pixel
        point = BLOCKS * size * pixel
        weights = u + group * u_group
        # Not literals: numba would compile the functions again for those.
        nothing, one, y_step = min(count, 0), min(count, 1), min(pixel, y_row)
        # Tiles share in fetching the weights of the next point.
        fetch_step = blocks * pixel // ((count + most - 1) // most) + one
        fetch_tile = fetch_step * lanes * channel_blocks
        for i in range(POINTS):
            row(
                plan + _PRODUCTS, v + i * channel_blocks * size * pixel, weights + i * channel_blocks * tap_bytes,
                m + i * point, zero, nothing, count, channel_blocks, last_lanes, one, one, blocks, tap_bytes,
                nothing, weights + (i + 1) * channel_blocks * tap_bytes, fetch_step, fetch_tile,
                channel_blocks * size * pixel, p0, p1,
            )  # fmt: skip
        # Tiles clamp all lanes: not where zero, which those beyond the last channel hold, would change.
        clamp = 1 if mode == CLAMP and p0 <= 0 and p1 >= 0 else 0
        follows = mode if clamp == 0 else 0
        for j in range(blocks):
            number = group * BLOCKS + j
            plane = number * y_plane
            valid = out_last_lanes if number == out_blocks - 1 else lanes
            for tile in range(first, first + count):
                down, across = tile // columns * OUT, tile % columns * OUT
                high, wide = min(OUT, all_high - down), min(OUT, all_wide - across)
                at = plane + down * y_row + across * pixel
                transform(
                    m + (j * size + tile - first) * pixel, point, y + at, y_row, high, wide, bias + number * pixel,
                    residual + at if residual != 0 and residual_last == 0 else 0, clamp, p0, p1,
                )  # fmt: skip
                if follows or residual_last:
                    for i in range(high):
                        here = at + i * y_row
                        ending(follows, p0, p1, y + here, residual + here if residual_last else 0, wide, y_step, valid)

    return run
