"""Pooling in float32: maximum and average over windows, of blocked channels and of plain planes.

*Blocked* kernels work on ``x[planes, H, W, L]``: a vector is one pixel, a window is walked tap by tap, and taps outside
of the image are left out. *Plain* kernels work on ``x[planes, D, H, W]``: the rows of a window are reduced into one
padded row of scratch, whole vectors at a time, and windows of that row give the output. The average divides by the
number of elements in the window, which comes in tables (one an axis, float32), because padding may count or not.
The maximum of a window with a NaN in it is NaN.
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
from ronn_codegen.simd.target import Target

_LOWEST, _ZERO = np.float32(-np.inf), np.float32(0)


def _compile(fn: Any) -> Any:
    return njit(error_model="numpy", nogil=True)(fn)


@intrinsic
def _max(typing: Any, a: Any, b: Any) -> Any:
    """The greater one of each lane; NaN where either is."""

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
        greater = builder.select(builder.fcmp_ordered("<", *args), args[1], args[0])
        return builder.select(builder.fcmp_unordered("uno", args[1], args[1]), args[1], greater)

    return a(a, b), generate


@_compile
def _first(start: int, step: int) -> int:
    """The first tap at or after 0 of ``start, start + step ...``."""
    return 0 if start >= 0 else (step - 1 - start) // step


@_compile
def _end(start: int, step: int, taps: int, size: int) -> int:
    """One behind the last tap before ``size``."""
    return taps if start + (taps - 1) * step < size else max((size - start + step - 1) // step, 0)


@cache
def _strided(lanes: int) -> Any:
    """An intrinsic that loads every second float32 from ``address[index]`` on; it touches the next one too."""
    vector = ir.VectorType(ir.FloatType(), lanes)

    @intrinsic
    def second(typing: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            pointer = builder.gep(builder.inttoptr(args[0], ir.PointerType()), [args[1]], source_etype=ir.FloatType())
            more = builder.gep(pointer, [ir.Constant(ir.IntType(64), lanes)], source_etype=ir.FloatType())
            halves = [builder.load(p, typ=vector, align=4) for p in (pointer, more)]
            even = ir.Constant(ir.VectorType(I32, lanes), [2 * i for i in range(lanes)])
            return builder.shuffle_vector(*halves, even)

        return VectorType("f32", lanes).type(types.intp, types.intp), generate

    return second


def _blocked(target: Target, maximum: bool) -> Callable[..., None]:
    lanes = target.lanes(32)
    vector = VectorType("f32", lanes)
    load, store, splat, broadcast = vector.load, vector.store, vector.splat, vector.broadcast
    combine, start = (_max, _LOWEST) if maximum else (ops.add, _ZERO)

    @_compile
    def run(
        x: int, y: int, planes: int, h: int, w: int, oh: int, ow: int, kh: int, kw: int, sh: int, sw: int,
        dh: int, dw: int, ph: int, pw: int, rows_in: int, columns_in: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        total = planes * oh
        for work in range(total * worker // workers, total * (worker + 1) // workers):
            oy = work % oh
            top = oy * sh - ph
            i0, i1 = _first(top, dh), _end(top, dh, kh, h)
            plane = x + 4 * (work // oh) * h * w * lanes
            to = y + 4 * work * ow * lanes
            ox = 0
            while ox < ow:
                left = ox * sw - pw
                if left >= 0 and (ox + 3) * sw - pw + (kw - 1) * dw < w and ox + 4 <= ow:
                    a, b, c, d = splat(start), splat(start), splat(start), splat(start)
                    for i in range(i0, i1):
                        at = plane + 4 * ((top + i * dh) * w + left) * lanes
                        for _ in range(kw):
                            a, b = combine(a, load(at, 0)), combine(b, load(at, sw * lanes))
                            c, d = combine(c, load(at, 2 * sw * lanes)), combine(d, load(at, 3 * sw * lanes))
                            at += 4 * dw * lanes
                    if not maximum:
                        count = broadcast(rows_in, oy)
                        a = ops.div(a, ops.mul(count, broadcast(columns_in, ox)))
                        b = ops.div(b, ops.mul(count, broadcast(columns_in, ox + 1)))
                        c = ops.div(c, ops.mul(count, broadcast(columns_in, ox + 2)))
                        d = ops.div(d, ops.mul(count, broadcast(columns_in, ox + 3)))
                    store(to, ox * lanes, a)
                    store(to, (ox + 1) * lanes, b)
                    store(to, (ox + 2) * lanes, c)
                    store(to, (ox + 3) * lanes, d)
                    ox += 4
                    continue
                j0, j1 = _first(left, dw), _end(left, dw, kw, w)
                result = splat(start)
                for i in range(i0, i1):
                    at = plane + 4 * ((top + i * dh) * w + left) * lanes
                    row = splat(start)
                    for j in range(j0, j1):
                        row = combine(row, load(at, j * dw * lanes))
                    result = combine(result, row)
                if not maximum:
                    result = ops.div(result, ops.mul(broadcast(rows_in, oy), broadcast(columns_in, ox)))
                store(to, ox * lanes, result)
                ox += 1

    return run


def _plain(target: Target, maximum: bool) -> Callable[..., None]:
    lanes = target.lanes(32)
    vector = VectorType("f32", lanes)
    load, load_first, store, store_first = vector.load, vector.load_first, vector.store, vector.store_first
    splat, broadcast, gather, second = vector.splat, vector.broadcast, vector.gather, _strided(lanes)
    combine, start = (_max, _LOWEST) if maximum else (ops.add, _ZERO)

    @_compile
    def run(
        x: int, y: int, scratch: int, planes: int, d: int, h: int, w: int, od: int, oh: int, ow: int,
        kd: int, kh: int, kw: int, sd: int, sh: int, sw: int, dd: int, dh: int, dw: int, pd: int, ph: int, pw: int,
        planes_in: int, rows_in: int, columns_in: int, width: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        buffer = scratch + 4 * worker * width
        for p in range(0, width, lanes):
            store(buffer, p, splat(start))
        total = planes * od * oh
        for work in range(total * worker // workers, total * (worker + 1) // workers):
            oy = work % oh
            oz = work // oh % od
            top, front = oy * sh - ph, oz * sd - pd
            i0, i1 = _first(top, dh), _end(top, dh, kh, h)
            k0, k1 = _first(front, dd), _end(front, dd, kd, d)
            plane = x + 4 * (work // oh // od) * d * h * w
            to = y + 4 * work * ow
            for p in range(0, w, lanes):
                left = w - p
                column = splat(start)
                for k in range(k0, k1):
                    for i in range(i0, i1):
                        at = plane + 4 * (((front + k * dd) * h + top + i * dh) * w + p)
                        column = combine(column, load(at, 0) if left >= lanes else load_first(at, 0, left))
                if left >= lanes:
                    store(buffer, pw + p, column)
                else:
                    store_first(buffer, pw + p, column, left)
            for o in range(0, ow, lanes):
                result = splat(start)
                for j in range(kw):
                    at = buffer + 4 * (o * sw + j * dw)
                    if sw == 1:
                        result = combine(result, load(at, 0))
                    elif sw == 2:
                        result = combine(result, second(at, 0))
                    else:
                        result = combine(result, gather(at, 0, sw))
                if not maximum:
                    count = ops.mul(broadcast(planes_in, oz), broadcast(rows_in, oy))
                    result = ops.div(result, ops.mul(count, load_first(columns_in, o, ow - o)))
                if ow - o >= lanes:
                    store(to, o, result)
                else:
                    store_first(to, o, result, ow - o)

    return run


def _whole(target: Target, maximum: bool) -> Callable[..., None]:
    """Over all ``size`` elements of a plane."""
    lanes = target.lanes(32)
    vector = VectorType("f32", lanes)
    load, load_first, splat, broadcast = vector.load, vector.load_first, vector.splat, vector.broadcast
    store_first = vector.store_first
    combine, start = (_max, _LOWEST) if maximum else (ops.add, _ZERO)
    across = ops.reduce_max if maximum else ops.reduce_add

    @_compile
    def run(x: int, y: int, planes: int, size: int, worker: int, workers: int) -> None:
        for plane in range(planes * worker // workers, planes * (worker + 1) // workers):
            at = x + 4 * plane * size
            a, b, c, d = splat(start), splat(start), splat(start), splat(start)
            p = 0
            while p + 4 * lanes <= size:
                a, b = combine(a, load(at, p)), combine(b, load(at, p + lanes))
                c, d = combine(c, load(at, p + 2 * lanes)), combine(d, load(at, p + 3 * lanes))
                p += 4 * lanes
            while p + lanes <= size:
                a = combine(a, load(at, p))
                p += lanes
            if maximum:
                while p < size:
                    b = combine(b, broadcast(at, p))
                    p += 1
            else:
                b = combine(b, load_first(at, p, size - p))
            result = across(combine(combine(a, b), combine(c, d)))
            if not maximum:
                result = result / np.float32(size)
            store_first(y, plane, splat(result), 1)

    return run


_GEOMETRY = "h, w, oh, ow, kh, kw, sh, sw, dh, dw, ph, pw, rows_in, columns_in"
_GEOMETRY_3D = (
    "d, h, w, od, oh, ow, kd, kh, kw, sd, sh, sw, dd, dh, dw, pd, ph, pw, planes_in, rows_in, columns_in, width"
)


@native(f"max_pool_blocked_f32(x, y, planes, {_GEOMETRY})")
def max_pool_blocked_f32(target: Target) -> Callable[..., None]:
    """The tables are not read."""
    return _blocked(target, True)


@native(f"average_pool_blocked_f32(x, y, planes, {_GEOMETRY})")
def average_pool_blocked_f32(target: Target) -> Callable[..., None]:
    """``rows_in[oh]`` times ``columns_in[ow]`` is what a window is divided by."""
    return _blocked(target, False)


@native(f"max_pool_f32(x, y, scratch, planes, {_GEOMETRY_3D})")
def max_pool_f32(target: Target) -> Callable[..., None]:
    """``scratch`` holds ``width`` floats a share (``pool_sizes.scratch_width``). The tables are not read."""
    return _plain(target, True)


@native(f"average_pool_f32(x, y, scratch, planes, {_GEOMETRY_3D})")
def average_pool_f32(target: Target) -> Callable[..., None]:
    """As ``max_pool_f32``; windows are divided by the product of the three tables."""
    return _plain(target, False)


@native("global_max_f32(x, y, planes, size)")
def global_max_f32(target: Target) -> Callable[..., None]:
    """``x[planes, size]`` to ``y[planes]``."""
    return _whole(target, True)


@native("global_average_f32(x, y, planes, size)")
def global_average_f32(target: Target) -> Callable[..., None]:
    """``x[planes, size]`` to ``y[planes]``."""
    return _whole(target, False)
