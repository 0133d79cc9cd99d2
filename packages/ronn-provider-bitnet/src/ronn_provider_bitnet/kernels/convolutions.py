"""Convolutions of quantised pixels with weights of one and two bits: exact integer sums, on channels in blocks.

Pixels lie channels last, with their padding, in signed bytes: one plane of them, or two of which the first counts 256
times. No patches are made: a row of a tile begins at a pixel, and each run of bytes that lies together in its window (a
*segment*) at an offset from there that all rows have in common. What is computed for a segment is what
``kernels.products`` computes for a row, from the same panels. A lane is an output channel, as it is in a block.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd.emit import splat
from ronn_codegen.simd.modes import CLAMP
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.tile import (
    at,
    broadcast,
    choose,
    emitted,
    i64,
    load,
    loop,
    multiply_add,
    pointer,
    scaled,
    store,
    when,
)
from ronn_codegen.simd.types import Vec
from ronn_codegen.templates.conv_row import ending_of
from ronn_provider_bitnet.kernels.conv_layout import tile_heights, widths
from ronn_provider_bitnet.kernels.dots import CodeDots, GroupScales

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_TYPES = "i64 " * 18 + "f32 f32"


def _tile(target: Target, bits: int, planes: int, affine: bool, whole: int) -> Any:
    """The intrinsic (which, groups, segments, steps, a, starts, plane, offsets, zeros, zeros_group, zeros_plane,
    packed, scale, bias, residual, y, y_block, vectors, low, high).

    ``starts`` are i32 offsets of the rows' pixels in ``a``, ``offsets`` i64[groups, segments] those of the segments of
    ``steps`` words; ``zeros`` lies at the tile's first pixel. Strides are in bytes. ``vectors`` of the panel's are
    stored.
    """
    lanes, dots = target.lanes(32), CodeDots(target, bits, whole)
    floats, ints = Vec("f32", lanes), Vec("i32", lanes)
    scales, across = GroupScales(dots, planes, affine=affine), 4 * lanes

    def emit(
        b: Any, which: Any, groups: Any, segments: Any, steps: Any, a: Any, starts: Any, plane: Any, offsets: Any,
        zeros: Any, zeros_group: Any, zeros_plane: Any, packed: Any, scale: Any, bias: Any, residual: Any, y: Any,
        y_block: Any, vectors: Any, low: Any, high: Any,
    ) -> None:  # fmt: skip
        def limited(value: Any) -> Any:
            """Between the limits; NaN stays."""
            first, last = splat(b, low, lanes), splat(b, high, lanes)
            value = b.select(b.fcmp_ordered("<", value, first), first, value)
            return b.select(b.fcmp_ordered(">", value, last), last, value)

        def plus(place: Any, values: list[Any]) -> list[Any]:
            return [b.fadd(value, load(b, floats, at(b, place, r * across))) for r, value in enumerate(values)]

        def rows_of(rows: int) -> None:
            begins = [b.load(at(b, pointer(b, starts), 4 * r), typ=_I32, align=4) for r in range(rows)]
            pixels = [at(b, pointer(b, a), b.sext(begin, _I64)) for begin in begins]
            left = [at(b, pixel, scaled(b, plane, p)) for pixel in pixels for p in range(planes)]
            nothing = [[ir.Constant(floats.llvm, None) for _ in range(whole)] for _ in range(rows)]

            def group(_: Any, carried: Any) -> Any:
                w, place, zero, sums = carried

                def segment(_: Any, inner: Any) -> Any:
                    w, place, found = inner
                    k = b.load(place, typ=_I64, align=8)
                    w, _, found = dots.sums(b, steps, w, k, left, whole, found)
                    return w, at(b, place, 8), found

                begin = [at(b, w, scales.bytes), place, dots.nothing(len(left), whole)]
                w1, place, found = loop(b, segments, begin, segment)
                offs = [
                    broadcast(b, ints, at(b, at(b, zero, scaled(b, zeros_plane, p)), 4 * r))
                    for r in range(rows) for p in range(planes)
                ]  # fmt: skip
                return w1, place, at(b, zero, zeros_group), scales.add(b, w, found, offs, sums)

            start = [pointer(b, packed), pointer(b, offsets), pointer(b, zeros), nothing]
            sums = loop(b, groups, start, group)[3]
            factor = broadcast(b, floats, pointer(b, scale))
            for v in range(whole):
                with b.if_then(b.icmp_signed(">", vectors, i64(v))):
                    begin = load(b, floats, at(b, pointer(b, bias), v * across))
                    values = [multiply_add(b, floats, row[v], factor, begin) for row in sums]
                    source = at(b, pointer(b, residual), scaled(b, y_block, v))
                    values = when(b, b.icmp_signed("!=", residual, i64(0)), values, partial(plus, source))
                    to = at(b, pointer(b, y), scaled(b, y_block, v))
                    for r in range(rows):
                        store(b, floats, limited(values[r]), at(b, to, r * across))

        choose(b, which, [partial(rows_of, rows) for rows in dict.fromkeys(tile_heights(target, planes, whole))])

    return emitted(f"conv{bits}_{planes}_{int(affine)}_{whole}_{target.name}", _TYPES, emit)


def convolution(target: Target, whole: int, bits: int, planes: int, affine: bool = False) -> Callable[..., None]:
    """The kernel for panels of ``whole`` vectors."""
    lanes = target.lanes(32)
    tile, ending = _tile(target, bits, planes, affine, whole), ending_of(lanes)
    _, most = tile_heights(target, planes, whole)
    facts = 2 if affine else 1
    across = 4 * lanes

    @njit(error_model="numpy", nogil=True)
    def run(
        a: Any, image_bytes: Any, plane: Any, starts: Any, pixels: Any, images: Any, offsets: Any, groups: Any,
        segments: Any, steps: Any, packed: Any, zeros: Any, scale: Any, scale_step: Any, bias: Any, residual: Any,
        y: Any, image_floats: Any, n: Any, residual_last: Any, mode: Any, p0: Any, p1: Any, worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        blocks = (n + lanes - 1) // lanes
        panels, tiles = (blocks + whole - 1) // whole, (pixels + most - 1) // most
        size = whole * across * groups * (facts + segments * steps)
        clamped = mode == CLAMP and p0 <= 0 and p1 >= 0
        low = p0 if clamped else _LOWEST
        high = p1 if clamped else _HIGHEST
        follows = 0 if clamped else mode
        y_block = pixels * across
        zeros_group = 4 * images * pixels
        late = residual if residual_last else 0
        early = 0 if residual_last else residual
        units = panels * images * tiles
        for work in range(units * worker // workers, units * (worker + 1) // workers):
            p, rest = work // (images * tiles), work % (images * tiles)
            image, row = rest // tiles, rest % tiles * most
            last = min(row + most, pixels)
            first_block = p * whole
            count = min(whole, blocks - first_block)
            to = 4 * image * image_floats + first_block * y_block
            while row < last:
                left = last - row
                rows = most if left >= most else 1
                here = to + row * across
                tile(1 if rows > 1 else 0, groups, segments, steps, a + image * image_bytes, starts + 4 * row, plane,
                     offsets, zeros + 4 * (image * pixels + row), zeros_group, groups * zeros_group,
                     packed + p * size, scale + 4 * image * scale_step, bias + 4 * first_block * lanes,
                     early + here if early != 0 else 0, y + here, y_block, count, low, high)  # fmt: skip
                if follows != 0 or late != 0:
                    for v in range(count):
                        valid = min(lanes, n - (first_block + v) * lanes)
                        place = here + v * y_block
                        ending(follows, p0, p1, y + place, late + place if late != 0 else 0, rows, across, valid)
                row += rows

    made: Callable[..., None] = run
    return made


_LOWEST, _HIGHEST = float("-inf"), float("inf")
PARAMS = (
    "a, image_bytes, plane, starts, pixels, images, offsets, groups, segments, steps, packed, zeros, scale, "
    "scale_step, bias, residual, y, image_floats, n, residual_last, mode, p0: f32, p1: f32"
)


@native(f"conv2_bytes({PARAMS})")
def conv2_bytes(target: Target) -> Callable[..., None]:
    """y[images, n / L, pixels, L] = activation(scale[image] * windows @ weights + bias + residual), L lanes a block.

    a: s8, ``image_bytes`` an image; ``starts`` i32[pixels] says where each output pixel's window begins, ``offsets``
    i64[groups, segments] where the runs of ``steps`` words lie in it. ``packed`` are panels (``layout.pack_codes``) of
    the widest tile. zeros: i32[groups, images, pixels], zero times the sum of each window. An image has the
    scale at ``scale + image * scale_step``. ``n`` output channels go into ``image_floats`` of y; ``residual`` (0: none)
    lies as y does, and is added behind the activation with ``residual_last``. ``bias`` is padded to whole panels.
    """
    return convolution(target, widths(target)[0], 2, 1)


@native(f"conv2_words({PARAMS})")
def conv2_words(target: Target) -> Callable[..., None]:
    """As ``conv2_bytes`` with two planes of pixels, ``plane`` bytes apart, and zeros[2, groups, images, pixels]."""
    return convolution(target, widths(target)[0], 2, 2)


@native(f"conv1_bytes({PARAMS})")
def conv1_bytes(target: Target) -> Callable[..., None]:
    """As ``conv2_bytes`` with weights of one bit, -1 and 1; ``zeros`` are the sums of windows."""
    return convolution(target, widths(target)[0], 1, 1)


@native(f"conv1_words({PARAMS})")
def conv1_words(target: Target) -> Callable[..., None]:
    """As ``conv1_bytes`` with two planes."""
    return convolution(target, widths(target)[0], 1, 2)


@native(f"conv2_affine_bytes({PARAMS})")
def conv2_affine_bytes(target: Target) -> Callable[..., None]:
    """As ``conv2_bytes`` with an offset for each row and group; ``zeros`` are the sums of windows."""
    return convolution(target, widths(target)[0], 2, 1, affine=True)


@native(f"conv2_affine_words({PARAMS})")
def conv2_affine_words(target: Target) -> Callable[..., None]:
    """As ``conv2_affine_bytes`` with two planes."""
    return convolution(target, widths(target)[0], 2, 2, affine=True)
