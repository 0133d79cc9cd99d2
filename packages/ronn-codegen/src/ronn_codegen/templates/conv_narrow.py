"""Convolution in float32 with few output channels, from the plain layout to the plain layout; see ``narrow_plan``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd import tile as t
from ronn_codegen.simd.activation import activate
from ronn_codegen.simd.emit import Builder
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.scalar import peek, poke
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.tile import Value
from ronn_codegen.templates.narrow_plan import tiles_of

_get, _load, _store = peek("i64"), peek("f32"), poke("f32")


@cache
def _tile(target: Target) -> Any:
    """An intrinsic that computes tile ``number`` of ``tiles_of``.

    x: address of the first column at the first tap; plane: elements between channels; taps: their table; w, bias: of
    the tile's channels; y: address of the output; y_plane: elements between its channels; columns: to be written.
    """
    lanes = target.lanes(32)

    def one(channels: int, vectors: int, b: Builder, *words: Value) -> None:
        x, plane, depth, table, taps, w, bias, y, y_plane, columns = words
        shape = t.TileShape(channels, vectors, lanes)
        vec, wide = shape.vec, 4 * lanes
        start, places = t.pointer(b, x), t.pointer(b, table)
        sums = [[t.broadcast(b, vec, t.at(b, t.pointer(b, bias), 4 * k))] * vectors for k in range(channels)]
        down = t.scaled(b, plane, 4)

        def channel(_: Value, carried: Any) -> Any:
            here, weights, tile = carried

            def tap(i: Value, inner: Any) -> Any:
                at_weights, current = inner
                offset = b.load(t.at(b, places, t.scaled(b, i, 8)), typ=t.I64, align=8)
                source = t.at(b, here, offset)
                values = [t.load(b, vec, t.at(b, source, j * wide)) for j in range(vectors)]
                out = []
                for k in range(channels):
                    weight = t.broadcast(b, vec, t.at(b, at_weights, 4 * k))
                    out.append([t.multiply_add(b, vec, v, weight, s) for v, s in zip(values, current[k], strict=True)])
                return t.at(b, at_weights, 4 * channels), out

            after, tile = t.loop(b, taps, [weights, tile], tap)
            return t.at(b, here, down), after, tile

        _, _, sums = t.loop(b, depth, [start, t.pointer(b, w), sums], channel)
        rest = [b.sub(columns, t.i64(j * lanes)) for j in range(vectors)]
        masks = [t.mask_of(b, count, lanes) for count in rest]
        across = t.scaled(b, y_plane, 4)
        for k in range(channels):
            to = t.at(b, t.pointer(b, y), t.scaled(b, across, k))
            for j in range(vectors):
                t.store(b, vec, sums[k][j], t.at(b, to, j * wide), masks[j])

    def emit(b: Builder, number: Value, *words: Value) -> None:
        t.choose(b, number, [partial(one, channels, vectors, b, *words) for channels, vectors in tiles_of(target)])

    return t.emitted("narrow_tile", "i64 " * 11, emit)


@native(
    "narrow_conv_f32(x, w, bias, y, n, c, x_image, row, plane, table, groups, taps, tap_count, oh, ow, stride, k,"
    " pieces, mode, p0: f32, p1: f32)"
)
def narrow_conv_f32(target: Target) -> Callable[..., None]:
    """``x_image``, ``row``, ``plane``: elements between images, rows and channels of what is read. A row of output is
    cut into ``pieces`` units of work."""
    tile, act = _tile(target), activate(target.lanes(32))

    @njit(error_model="numpy", nogil=True)
    def run(
        x: int, w: int, bias: int, y: int, n: int, c: int, x_image: int, row: int, plane: int, table: int, groups: int,
        taps: int, tap_count: int, oh: int, ow: int, stride: int, k: int, pieces: int, mode: int, p0: float, p1: float,
        worker: int, workers: int,
    ) -> None:  # fmt: skip
        total = n * oh * pieces
        for work in range(total * worker // workers, total * (worker + 1) // workers):
            piece = work % pieces
            oy = work // pieces % oh
            image = work // pieces // oh
            first, end = ow * piece // pieces, ow * (piece + 1) // pieces
            source = x + 4 * (image * x_image + oy * stride * row)
            to = y + 4 * ((image * k * oh + oy) * ow)
            weights = w
            for group in range(groups):
                number, channel = _get(table, 4 * group), _get(table, 4 * group + 1)
                channels, wide = _get(table, 4 * group + 2), _get(table, 4 * group + 3)
                column = first
                while column < end:
                    # The last tile begins so early that it is whole, if the row is wide enough.
                    at = max(min(column, end - wide), first)
                    tile(
                        number, source + 4 * at, plane, c, taps, tap_count, weights, bias + 4 * channel,
                        to + 4 * (channel * oh * ow + at), oh * ow, end - at,
                    )  # fmt: skip
                    column += wide
                weights += 4 * channels * c * tap_count
            act(mode, to + 4 * first, oh * ow, k, end - first, p0, p1)

    return run


@native("narrow_copy_f32(x, z, planes, h, w, rows, columns, phases, top, left)")
def narrow_copy_f32(target: Target) -> Callable[..., None]:
    """``x[planes, h, w]`` to ``z[planes, rows, phases, columns]`` with zeros round it: column ``phases * q + f - left``
    of x is column q of phase f."""
    lanes = target.lanes(32)
    vector = VectorType("f32", lanes)
    load, load_first, store, store_first = vector.load, vector.load_first, vector.store, vector.store_first
    splat, gather, zero = vector.splat, vector.gather, np.float32(0)

    @njit(error_model="numpy", nogil=True)
    def run(
        x: int, z: int, planes: int, h: int, w: int, rows: int, columns: int, phases: int, top: int, left: int,
        worker: int, workers: int,
    ) -> None:  # fmt: skip
        total = planes * rows
        for work in range(total * worker // workers, total * (worker + 1) // workers):
            row = work % rows - top
            to = z + 4 * work * phases * columns
            for p in range(0, phases * columns, lanes):
                store(to, p, splat(zero))
            if row < 0 or row >= h:
                continue
            source = x + 4 * ((work // rows) * h + row) * w
            if phases == 1:
                for p in range(0, w, lanes):
                    if w - p >= lanes:
                        store(to, left + p, load(source, p))
                    else:
                        store_first(to, left + p, load_first(source, p, w - p), w - p)
            else:
                for f in range(phases):
                    line = to + 4 * f * columns
                    q = max((left - f + phases - 1) // phases, 0)
                    end = (w + left - f + phases - 1) // phases
                    while q + lanes <= end:
                        store(line, q, gather(source, q * phases + f - left, phases))
                        q += lanes
                    while q < end:
                        _store(line, q, _load(source, q * phases + f - left))
                        q += 1

    return run
