"""Resizing two axes in float32 by tables: every output row and column is a weighted sum of input rows and columns.

``x[planes, h, w, inner]`` becomes ``y[planes, oh, ow, inner]``. Of each axis there are a number of taps, a table
``at[taps, out]`` (int64) of input places and one of weights ``[taps, out]`` (float32); with one tap the weights are not
read. What has one tap on both axes is copied bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ronn_codegen.native.declare import native
from ronn_codegen.simd import ops
from ronn_codegen.simd.emit import I32, Builder
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.scalar import peek
from ronn_codegen.simd.target import Target

_get, _ZERO = peek("i64"), np.float32(0)


@cache
def _pick(lanes: int) -> Any:
    """An intrinsic that loads the elements of ``address`` that ``lanes`` places of a table, from ``index`` on, name."""
    vector, wide = ir.VectorType(ir.FloatType(), lanes), ir.IntType(64)

    @intrinsic
    def pick(typing: Any, address: Any, table: Any, index: Any) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            base, places = (builder.inttoptr(a, ir.PointerType()) for a in args[:2])
            out = ir.Constant(vector, ir.Undefined)
            for lane in range(lanes):
                which = builder.add(args[2], ir.Constant(wide, lane))
                place = builder.load(builder.gep(places, [which], source_etype=wide), typ=wide, align=8)
                element = builder.gep(base, [place], source_etype=ir.FloatType())
                out = builder.insert_element(out, builder.load(element, typ=ir.FloatType()), ir.Constant(I32, lane))
            return out

        return VectorType("f32", lanes).type(types.intp, types.intp, types.intp), generate

    return pick


@native("resize_vectors_f32(x, y, planes, h, w, oh, ow, inner, tall, at_y, by_y, wide, at_x, by_x)")
def resize_vectors_f32(target: Target) -> Callable[..., None]:
    """For an ``inner`` of several elements: vectors of neighbours that are treated alike."""
    lanes = target.lanes(32)
    vector = VectorType("f32", lanes)
    load, load_first, store, store_first = vector.load, vector.load_first, vector.store, vector.store_first
    splat, broadcast = vector.splat, vector.broadcast

    @njit(error_model="numpy", nogil=True)
    def run(
        x: int, y: int, planes: int, h: int, w: int, oh: int, ow: int, inner: int, tall: int, at_y: int, by_y: int,
        wide: int, at_x: int, by_x: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        total = planes * oh
        for work in range(total * worker // workers, total * (worker + 1) // workers):
            oy = work % oh
            plane = x + 4 * (work // oh) * h * w * inner
            for ox in range(ow):
                to = y + 4 * (work * ow + ox) * inner
                for p in range(0, inner, lanes):
                    left = inner - p
                    if tall * wide == 1:
                        at = plane + 4 * ((_get(at_y, oy) * w + _get(at_x, ox)) * inner + p)
                        result = load(at, 0) if left >= lanes else load_first(at, 0, left)
                    else:
                        result = splat(_ZERO)
                        for i in range(tall):
                            row = plane + 4 * (_get(at_y, i * oh + oy) * w * inner + p)
                            line = splat(_ZERO)
                            for j in range(wide):
                                at = row + 4 * _get(at_x, j * ow + ox) * inner
                                value = load(at, 0) if left >= lanes else load_first(at, 0, left)
                                if wide == 1:
                                    line = value
                                else:
                                    line = ops.fma(value, broadcast(by_x, j * ow + ox), line)
                            if tall == 1:
                                result = line
                            else:
                                result = ops.fma(line, broadcast(by_y, i * oh + oy), result)
                    if left >= lanes:
                        store(to, p, result)
                    else:
                        store_first(to, p, result, left)

    return run


@native("resize_rows_f32(x, y, scratch, planes, h, w, oh, ow, tall, at_y, by_y, wide, at_x, by_x)")
def resize_rows_f32(target: Target) -> Callable[..., None]:
    """For an ``inner`` of 1. ``scratch`` holds ``w`` floats a share. ``at_x`` and ``by_x`` have room for whole vectors
    behind the last of their elements."""
    lanes = target.lanes(32)
    vector = VectorType("f32", lanes)
    load, load_first, store, store_first = vector.load, vector.load_first, vector.store, vector.store_first
    splat, broadcast, pick = vector.splat, vector.broadcast, _pick(lanes)

    @njit(error_model="numpy", nogil=True)
    def run(
        x: int, y: int, scratch: int, planes: int, h: int, w: int, oh: int, ow: int, tall: int, at_y: int, by_y: int,
        wide: int, at_x: int, by_x: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        buffer = scratch + 4 * worker * w
        total = planes * oh
        for work in range(total * worker // workers, total * (worker + 1) // workers):
            oy = work % oh
            plane = x + 4 * (work // oh) * h * w
            to = y + 4 * work * ow
            row = plane + 4 * _get(at_y, oy) * w
            if tall > 1:
                for p in range(0, w, lanes):
                    left = w - p
                    column = splat(_ZERO)
                    for i in range(tall):
                        at = plane + 4 * (_get(at_y, i * oh + oy) * w + p)
                        value = load(at, 0) if left >= lanes else load_first(at, 0, left)
                        column = ops.fma(value, broadcast(by_y, i * oh + oy), column)
                    if left >= lanes:
                        store(buffer, p, column)
                    else:
                        store_first(buffer, p, column, left)
                row = buffer
            for o in range(0, ow, lanes):
                result = pick(row, at_x, o)
                if wide > 1:
                    result = ops.mul(result, load(by_x, o))
                    for j in range(1, wide):
                        result = ops.fma(pick(row, at_x, j * ow + o), load(by_x, j * ow + o), result)
                if ow - o >= lanes:
                    store(to, o, result)
                else:
                    store_first(to, o, result, ow - o)

    return run
