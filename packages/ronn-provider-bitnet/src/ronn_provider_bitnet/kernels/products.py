"""Products of quantised activations with weights of one or two bits: exact integer sums, scaled at the end of a group.

A lane is a row of weights, so there are no sums across lanes; the bytes of four neighbouring activations enter as one
broadcast word. Codes are unsigned and what they stand for is ``code - zero`` (two bits) or ``2 * code - 1`` (one bit):
``zero`` times the sum of the activations of a group comes off its sums, which are 32 bits wide and exact. Where every
row and group has a zero point of its own, it comes in as a real number: ``code * scale + offset``.

Activations have one plane of signed bytes, or two of which the first counts 256 times: 16 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd.activation import activate
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.tile import (
    I64,
    at,
    broadcast,
    choose,
    emitted,
    i64,
    load,
    loop,
    mask_of,
    multiply_add,
    pointer,
    scaled,
    store,
)
from ronn_codegen.simd.types import Vec
from ronn_provider_bitnet.kernels.dots import CodeDots, GroupScales
from ronn_provider_bitnet.kernels.layout import panel_rows, panel_vectors, step_of


def heights(target: Target, planes: int) -> tuple[tuple[int, int], ...]:
    """Tiles as (rows of activations, vectors of weights): the first has a whole panel, others what registers hold."""
    whole = panel_vectors(target)
    if target.registers >= 32:
        return ((1, whole), (2, whole)) if planes == 2 else ((1, whole), (2, whole), (4, whole), (5, whole))
    return ((1, whole),) if planes == 2 else ((1, whole), (2, whole // 2))


def _tile(target: Target, bits: int, planes: int, affine: bool) -> Any:
    """The intrinsic (which, groups, steps, a, plane, a_row, zeros, zeros_plane, zeros_row, packed, scale, bias, y,
    y_row, columns): strides in bytes, ``steps`` words of a group; only the first ``columns`` columns are stored."""
    lanes, code_dots = target.lanes(32), CodeDots(target, bits)
    floats, ints = Vec("f32", lanes), Vec("i32", lanes)
    scales, across = GroupScales(code_dots, planes, affine=affine), 4 * lanes

    def emit(
        b: Any, which: Any, groups: Any, steps: Any, a: Any, plane: Any, a_row: Any, zeros: Any, zeros_plane: Any,
        zeros_row: Any, packed: Any, scale: Any, bias: Any, y: Any, y_row: Any, columns: Any,
    ) -> None:  # fmt: skip
        def places(base: Any, row: Any, plane_stride: Any, rows: int) -> list[Any]:
            start = pointer(b, base)
            return [at(b, at(b, start, scaled(b, row, r)), scaled(b, plane_stride, p))
                    for r in range(rows) for p in range(planes)]  # fmt: skip

        def rows_of(rows: int, vectors: int) -> None:
            left = places(a, a_row, plane, rows)
            corrections = places(zeros, zeros_row, zeros_plane, rows)
            nothing = [[ir.Constant(floats.llvm, None) for _ in range(vectors)] for _ in range(rows)]

            def group(_: Any, carried: Any) -> Any:
                w, k, g, sums = carried
                w1, k, dots = code_dots.sums(b, steps, at(b, w, scales.bytes), k, left, vectors)
                offs = [broadcast(b, ints, at(b, c, g)) for c in corrections]
                return w1, k, b.add(g, i64(4)), scales.add(b, w, dots, offs, sums)

            sums = loop(b, groups, [pointer(b, packed), i64(0), i64(0), nothing], group)[3]
            for r in range(rows):
                factor = broadcast(b, floats, at(b, pointer(b, scale), 4 * r))
                to = at(b, pointer(b, y), scaled(b, y_row, r))
                for v in range(vectors):
                    begin = load(b, floats, at(b, pointer(b, bias), v * across))
                    value = multiply_add(b, floats, sums[r][v], factor, begin)
                    rest = b.sub(columns, I64(v * lanes))
                    place = at(b, to, v * across)
                    with b.if_else(b.icmp_signed(">=", rest, I64(lanes))) as (full, part):
                        with full:
                            store(b, floats, value, place)
                        with part:
                            store(b, floats, value, place, mask_of(b, rest, lanes))

        choose(b, which, [partial(rows_of, rows, vectors) for rows, vectors in heights(target, planes)])

    return emitted(f"bits{bits}_{planes}_{int(affine)}_{target.name}", " ".join(["i64"] * 15), emit)


def _products(target: Target, bits: int, planes: int, affine: bool = False) -> Callable[..., None]:
    tile, rows_in_panel, finish = _tile(target, bits, planes, affine), panel_rows(target), activate(target.lanes(32))
    facts = 2 if affine else 1
    shapes = heights(target, planes)
    most, kinds = shapes[-1][0], len(shapes)
    high2, high3 = (shapes[1][0] if kinds > 1 else 1), (shapes[2][0] if kinds > 2 else 1)
    half = shapes[-1][1] * target.lanes(32)  # columns of all tiles but the first
    step_k = step_of(bits)

    @njit(error_model="numpy", nogil=True)
    def run(
        a: Any, m: Any, groups: Any, group: Any, n: Any, packed: Any, zeros: Any, scale: Any, bias: Any, y: Any,
        mode: Any, p0: Any, p1: Any, worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        steps = group // step_k
        k = groups * group
        plane, zeros_plane = m * k, 4 * m * groups
        panels, units = (n + rows_in_panel - 1) // rows_in_panel, (m + most - 1) // most
        size = 4 * rows_in_panel * groups * (facts + steps)
        for work in range(panels * units * worker // workers, panels * units * (worker + 1) // workers):
            p, row = work // units, work % units * most
            last = min(row + most, m)
            first_column = p * rows_in_panel
            while row < last:
                left = last - row
                which, rows = 0, 1
                if kinds > 3 and left >= most:
                    which, rows = 3, most
                elif kinds > 2 and left >= high3:
                    which, rows = 2, high3
                elif kinds > 1 and left >= high2:
                    which, rows = 1, high2
                at_a, at_zeros, at_scale = a + row * k, zeros + 4 * row * groups, scale + 4 * row
                columns = n - first_column
                to = y + 4 * (row * n + first_column)
                tile(which, groups, steps, at_a, plane, k, at_zeros, zeros_plane, 4 * groups, packed + p * size,
                     at_scale, bias + 4 * first_column, to, 4 * n, columns)  # fmt: skip
                if which > 0 and half < rows_in_panel and columns > half:
                    tile(which, groups, steps, at_a, plane, k, at_zeros, zeros_plane, 4 * groups,
                         packed + p * size + 4 * half, at_scale, bias + 4 * (first_column + half), to + 4 * half,
                         4 * n, columns - half)  # fmt: skip
                if mode != 0:
                    finish(mode, to, n, rows, min(columns, rows_in_panel), p0, p1)
                row += rows

    made: Callable[..., None] = run
    return made


@native("bits2_bytes(a, m, groups, group, n, packed, zeros, scale, bias, y, mode, p0: f32, p1: f32)")
def bits2_bytes(target: Target) -> Callable[..., None]:
    """y[m, n] = scale[m] * (a @ weights) + bias of s8 a[m, groups * group] and two-bit weights (see ``layout``).

    ``zeros`` is i32[m, groups]: zero times the sum of the activations. ``bias`` is padded to whole panels. ``mode``, p0
    and p1 are an activation: see ``ronn_codegen.simd.modes``.
    """
    return _products(target, 2, 1)


@native("bits2_words(a, m, groups, group, n, packed, zeros, scale, bias, y, mode, p0: f32, p1: f32)")
def bits2_words(target: Target) -> Callable[..., None]:
    """As ``bits2_bytes``, with two planes a[2, m, groups * group] and zeros[2, m, groups]."""
    return _products(target, 2, 2)


@native("affine2_bytes(a, m, groups, group, n, packed, zeros, scale, bias, y, mode, p0: f32, p1: f32)")
def affine2_bytes(target: Target) -> Callable[..., None]:
    """As ``bits2_bytes`` with an offset for each row and group; ``zeros`` are the sums of the activations."""
    return _products(target, 2, 1, affine=True)


@native("affine2_words(a, m, groups, group, n, packed, zeros, scale, bias, y, mode, p0: f32, p1: f32)")
def affine2_words(target: Target) -> Callable[..., None]:
    """As ``affine2_bytes``, with two planes."""
    return _products(target, 2, 2, affine=True)


@native("bits1_bytes(a, m, groups, group, n, packed, zeros, scale, bias, y, mode, p0: f32, p1: f32)")
def bits1_bytes(target: Target) -> Callable[..., None]:
    """As ``bits2_bytes`` with weights of one bit, -1 and 1; ``zeros`` are the sums of the activations."""
    return _products(target, 1, 1)


@native("bits1_words(a, m, groups, group, n, packed, zeros, scale, bias, y, mode, p0: f32, p1: f32)")
def bits1_words(target: Target) -> Callable[..., None]:
    """As ``bits1_bytes``, with two planes."""
    return _products(target, 1, 2)
