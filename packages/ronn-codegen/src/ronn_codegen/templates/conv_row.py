"""Rows of convolutions: their register tiles from left to right, the taps inside of the input, and what follows."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from numba import njit

from ronn_codegen.simd import ops
from ronn_codegen.simd.activation import activate
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.tile import Terms
from ronn_codegen.templates.conv_plan import DEPTHWISE, PLAIN, WORDS
from ronn_codegen.templates.conv_tile import conv_tile, sizes_of, words_reader

_row_words = words_reader(WORDS, "kind edge column_taps lead trail left stride dilation wide x_column y_step")
_clip_words = words_reader(
    WORDS,
    "deep_stride front deep_dilation in_deep deep_taps high_stride top high_dilation in_high row_taps x_slice x_row",
)


@njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
def _first_tap(place: int, dilation: int) -> int:
    """The first tap whose place is not negative."""
    return 0 if place >= 0 else (dilation - 1 - place) // dilation


@njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
def _end_tap(place: int, dilation: int, size: int, taps: int) -> int:
    """The tap behind the last one whose place is less than ``size``."""
    return 0 if place >= size else min(taps, (size - 1 - place) // dilation + 1)


@njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
def clip(plan: int, deep: int, down: int) -> tuple[int, int, int, int, int]:
    """Where the first taps of a row of output lie in a channel block, and which slices and rows of taps are inside."""
    (
        deep_stride, front, deep_dilation, in_deep, deep_taps, high_stride, top, high_dilation, in_high, row_taps,
        x_slice, x_row,
    ) = _clip_words(plan)  # fmt: skip
    z, v = deep * deep_stride - front, down * high_stride - top
    d0, r0 = _first_tap(z, deep_dilation), _first_tap(v, high_dilation)
    d1 = max(_end_tap(z, deep_dilation, in_deep, deep_taps), d0)
    r1 = max(_end_tap(v, high_dilation, in_high, row_taps), r0)
    return (z + d0 * deep_dilation) * x_slice + (v + r0 * high_dilation) * x_row, d0, d1, r0, r1


@cache
def row_of(lanes: int, most: int, terms: Terms, depth: int) -> Callable[..., None]:
    """One row of output for one group and one chunk of channels: its register tiles from left to right. A channel
    block has ``depth`` steps.

    What is fetched for later: weights at ``fetch``, by ``fetch_step`` bytes in a step and ``fetch_tile`` from tile to
    tile; the input of the next tile, ``next_row`` bytes beyond the row's after its last tile.
    """
    tile = conv_tile(lanes, most, terms)
    _, _, *middle, half, _ = sizes_of(most, 0)
    few = middle[0] if middle else half

    @njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
    def row(
        plan: int, x: int, w: int, y: int, bias: int, residual: int, width: int, channel_blocks: int,
        last: int, slices: int, rows: int, blocks: int, tap_bytes: int, clamp: int, fetch: int, fetch_step: int,
        fetch_tile: int, next_row: int, low: float, high: float,
    ) -> None:  # fmt: skip
        kind, edge, taps, lead, trail, left, stride, dilation, wide, x_column, y_step = _row_words(plan)
        trail = min(trail, width)
        family = 0 if kind == DEPTHWISE else blocks
        at = 0
        while at < width:
            rest = trail - at
            if at < lead or rest <= 0:
                pixels = min(edge, (lead if at < lead else width) - at)
            elif family:
                tiles = (rest + most - 1) // most
                pixels = (rest + tiles - 1) // tiles
            else:
                pixels = most if rest >= most else half if rest >= half else few if rest >= few else min(rest, 2)
            column = at * stride - left
            first, end = 0, taps
            if pixels == 1:
                first, end = _first_tap(column, dilation), _end_tap(column, dilation, wide, taps)
                column += first * dilation
            steps, last_steps, columns = depth, last, end - first
            if kind == PLAIN:  # taps of a row are the steps of the innermost loop
                steps, last_steps, columns = columns, columns, 1
            skip = y_step * at
            ends = at + pixels >= width
            next_x = (-at if ends else pixels) * stride * x_column + (next_row if ends else 0)
            tile(
                pixels, family, plan, x + column * x_column, w + first * tap_bytes, y + skip, bias,
                residual + skip if residual else 0, column, channel_blocks, steps, last_steps, slices,
                rows, columns, clamp, fetch, fetch_step, next_x, low, high,
            )  # fmt: skip
            fetch += fetch_tile
            at += pixels

    return row


@cache
def ending_of(lanes: int) -> Callable[..., None]:
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
