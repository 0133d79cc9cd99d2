"""Sampling at computed positions, in float32: GridSample, RoiAlign, AffineGrid, and Col2Im, which adds back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ronn_codegen.native.declare import native
from ronn_codegen.simd import ops
from ronn_codegen.simd.emit import Builder, llvm_call
from ronn_codegen.simd.emit import splat as splat_lanes
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.scalar import peek, poke
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.types import Vec
from ronn_codegen.templates.copy import words
from ronn_codegen.templates.scatter import update

_jit = njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
_at, _put, _float, _set = peek("i64"), poke("i64"), peek("f32"), poke("f32")
_put32 = poke("i32")
_at32, _table = peek("i32"), words(18)
_ZERO, _HALF, _ONE, _TWO = (np.float32(v) for v in (0, 0.5, 1, 2))
_WHOLE = np.float32(2.0**23)  # floats from here on are whole numbers
_FAR = np.float32(2.0**30)
Single = Any
"""A float32."""
PIXELS = 32
"""Pixels whose taps GridSample computes before it reads channels."""


@_jit
def floor(v: Single) -> Single:
    if not abs(v) < _WHOLE:
        return v
    whole = np.float32(int(v))
    return whole - _ONE if whole > v else whole


@_jit
def nearest(v: Single) -> Single:
    """The nearest whole number, of two the even one."""
    if not abs(v) < _WHOLE:
        return v
    return (v + _WHOLE) - _WHOLE if v >= _ZERO else (v - _WHOLE) + _WHOLE


@_jit
def reflected(v: Single, low: Single, high: Single) -> Single:
    """v mirrored at the borders until it lies between them."""
    span = high - low
    if span <= _ZERO:
        return low
    if not (v < low or v > high):
        return v
    distance = low - v if v < low else v - high
    turns = floor(distance / span)
    rest = distance - turns * span
    even = turns - _TWO * floor(turns / _TWO) == _ZERO
    return low + rest if even == (v < low) else high - rest


@_jit
def cubic(t: Single, which: int) -> Single:
    """The weight of tap ``which`` (0 to 3) for a position ``t`` behind tap 1."""
    a = np.float32(-0.75)
    if which == 0 or which == 3:
        d = t + _ONE if which == 0 else _TWO - t
        return ((a * d - np.float32(5) * a) * d + np.float32(8) * a) * d - np.float32(4) * a
    d = t if which == 1 else _ONE - t
    return ((a + _TWO) * d - (a + np.float32(3))) * d * d + _ONE


def gather_known(lanes: int) -> Any:
    """``(address, places)``: the floats there; 0 for places below 0, which are not read."""
    of, vec = Vec("i32", lanes), Vec("f32", lanes)

    @intrinsic
    def gather(typing: Any, address: Any, places: Any) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            wide = ir.VectorType(ir.IntType(64), lanes)
            steps = builder.shl(builder.sext(args[1], wide), ir.Constant(wide, [2] * lanes))
            addresses = builder.add(splat_lanes(builder, args[0], lanes), steps)
            pointers = builder.inttoptr(addresses, ir.VectorType(ir.PointerType(), lanes))
            known = builder.icmp_signed(">=", args[1], ir.Constant(of.llvm, None))
            name, none = f"llvm.masked.gather.v{lanes}f32.v{lanes}p0", ir.Constant(vec.llvm, None)
            return llvm_call(builder, name, vec.llvm, pointers, ir.Constant(ir.IntType(32), 4), known, none)

        return vec(types.intp, of), generate

    return gather


@native("grid_sample(x, grid, y, room, shape, rank, batches, channels, plane, points, taps, padding, align)")
def grid_sample(target: Target) -> Callable[..., None]:
    """y[batches, channels, points] from x[batches, channels, plane] at grid[batches, points, rank], which counts the
    last of the ``rank`` dims in ``shape`` first. ``taps`` along a dim: 1 nearest, 2 linear, 4 cubic. ``padding``: 0
    zeros, 1 border, 2 reflection. ``room``: 160 + 8 * PIXELS * taps ** rank bytes for each share."""
    lanes = target.lanes(32)
    places, values = VectorType("i32", lanes), VectorType("f32", lanes)
    load_places, load_values, splat, put = places.load, values.load, values.splat, values.store_first
    gather = gather_known(lanes)

    @_jit
    def position(g: Single, n: int, taps: int, padding: int, align: int) -> Single:
        size = np.float32(n)
        p = (g + _ONE) / _TWO * (size - _ONE) if align else ((g + _ONE) * size - _ONE) / _TWO
        if taps == 1:
            p = nearest(p)
        if padding == 1 and taps != 4:  # cubic weights keep the position: only the pixels that they fall on are bounded
            p = min(max(p, _ZERO), size - _ONE)
        elif padding == 2:
            low = _ZERO if align else -_HALF
            p = reflected(p, low, size - _ONE - low)
        if p != p:
            return -_ONE
        return min(max(p, -_FAR), _FAR)

    @_jit
    def pixel(at: int, n: int, padding: int, align: int) -> int:
        """Where a tap falls inside of a dim; -1 for nowhere."""
        if 0 <= at < n:
            return at
        if padding == 0:
            return -1
        if padding == 2:
            low = _ZERO if align else -_HALF
            at = int(reflected(np.float32(at), low, np.float32(n) - _ONE - low))
        return min(max(at, 0), n - 1)

    def run(
        x: int, grid: int, y: int, room: int, shape: int, rank: int, batches: int, channels: int, plane: int,
        points: int, taps: int, padding: int, align: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        count = 1
        for _ in range(rank):
            count *= taps
        lines = room + worker * (160 + 8 * PIXELS * count)  # for each dim, offsets (int64) of its taps, then weights
        weights = lines + 96
        offsets = lines + 160
        factors = offsets + 4 * PIXELS * count
        blocks = (points + PIXELS - 1) // PIXELS
        units = batches * blocks
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            batch, first = unit // blocks, unit % blocks * PIXELS
            some = min(PIXELS, points - first)
            for j in range(some):
                stride = 1
                for d in range(rank - 1, -1, -1):
                    n = _at(shape, d)
                    g = _float(grid, (batch * points + first + j) * rank + rank - 1 - d)
                    p = position(g, n, taps, padding, align)
                    base = floor(p)
                    t = p - base
                    for k in range(taps):
                        place = pixel(int(base) + k - (1 if taps == 4 else 0), n, padding, align)
                        _put(lines, 4 * d + k, place * stride if place >= 0 else -1)
                        w = _ONE if taps == 1 else (t if k else _ONE - t) if taps == 2 else cubic(t, k)
                        _set(weights, 4 * d + k, w)
                    stride *= n
                for c in range(count):
                    rest, at, w = c, 0, _ONE
                    for d in range(rank - 1, -1, -1):
                        k = rest % taps
                        rest //= taps
                        place = _at(lines, 4 * d + k)
                        at = -1 if at < 0 or place < 0 else at + place
                        w *= _float(weights, 4 * d + k)
                    _put32(offsets, c * PIXELS + j, at)
                    _set(factors, c * PIXELS + j, w)
            for j in range(some, PIXELS):
                for c in range(count):
                    _put32(offsets, c * PIXELS + j, -1)
                    _set(factors, c * PIXELS + j, _ZERO)
            for channel in range(channels):
                source = x + 4 * (batch * channels + channel) * plane
                to = y + 4 * ((batch * channels + channel) * points + first)
                for j in range(0, some, lanes):
                    total = splat(_ZERO)
                    for c in range(j, j + count * PIXELS, PIXELS):
                        total = ops.fma(gather(source, load_places(offsets, c)), load_values(factors, c), total)
                    put(to, j, total, some - j)

    return njit(error_model="numpy", nogil=True)(run)


CHANNELS = 32
"""Channels that a share of RoiAlign takes at a time."""


@native(
    "roi_align(x, rois, batch, y, status, wide, batches, channels, high, wide_pixels, regions, bins_high, bins_wide, "
    "samples, scale: f64, shifted, largest)"
)
def roi_align(target: Target) -> Callable[..., None]:
    """y[regions, channels, bins_high, bins_wide]: means (or, ``largest``, maxima) of bilinear samples of x[batches,
    channels, high, wide_pixels] inside rois[regions, 4]. ``samples`` a bin and direction; 0: as many as pixels."""

    @_jit
    def count_of(step: float, samples: int) -> int:
        if samples > 0:
            return samples
        if not step > 0.0:
            return 0
        whole = int(min(step, 1e9))
        return whole + 1 if whole < step else whole

    def run(
        x: int, rois: int, batch: int, y: int, status: int, wide: int, batches: int, channels: int, high: int,
        wide_pixels: int, regions: int, bins_high: int, bins_wide: int, samples: int, scale: float, shifted: int,
        largest: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        groups = (channels + CHANNELS - 1) // CHANNELS
        units = regions * groups
        plane, bins = high * wide_pixels, bins_high * bins_wide
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            region, first = unit // groups, unit % groups * CHANNELS
            last = min(first + CHANNELS, channels)
            to = y + 4 * region * channels * bins
            image = _at(batch, region) if wide else _at32(batch, region)
            if image < 0 or image >= batches:
                _put(status, 0, 1)
                continue
            shift = 0.5 if shifted else 0.0
            left, top = _float(rois, 4 * region) * scale - shift, _float(rois, 4 * region + 1) * scale - shift
            width = _float(rois, 4 * region + 2) * scale - shift - left
            height = _float(rois, 4 * region + 3) * scale - shift - top
            if not shifted:
                width, height = max(width, 1.0), max(height, 1.0)
            across, down = width / bins_wide, height / bins_high
            nx, ny = count_of(across, samples), count_of(down, samples)
            for b in range(bins):
                for c in range(first, last):
                    _set(to, c * bins + b, _ZERO)
                for s in range(nx * ny):
                    v = top + b // bins_wide * down + (s // nx + 0.5) * down / ny
                    u = left + b % bins_wide * across + (s % nx + 0.5) * across / nx
                    inside = -1.0 <= v <= high and -1.0 <= u <= wide_pixels
                    v, u = max(v, 0.0), max(u, 0.0)
                    r, q = int(min(v, high - 1.0)), int(min(u, wide_pixels - 1.0))
                    tv = 0.0 if r >= high - 1 else v - r
                    tu = 0.0 if q >= wide_pixels - 1 else u - q
                    below, beside = min(r + 1, high - 1) * wide_pixels, min(q + 1, wide_pixels - 1)
                    r *= wide_pixels
                    w00, w01 = np.float32((1.0 - tv) * (1.0 - tu)), np.float32((1.0 - tv) * tu)
                    w10, w11 = np.float32(tv * (1.0 - tu)), np.float32(tv * tu)
                    for c in range(first, last):
                        source = x + 4 * (image * channels + c) * plane
                        p00, p01 = _float(source, r + q) * w00, _float(source, r + beside) * w01
                        p10, p11 = _float(source, below + q) * w10, _float(source, below + beside) * w11
                        so_far = _float(to, c * bins + b)
                        if largest:
                            value = max(max(p00, p01), max(p10, p11)) if inside else _ZERO
                            _set(to, c * bins + b, value if s == 0 else max(so_far, value))
                        elif inside:
                            _set(to, c * bins + b, so_far + (p00 + p01 + p10 + p11))
                if not largest and nx * ny > 1:
                    share = np.float32(nx * ny)
                    for c in range(first, last):
                        _set(to, c * bins + b, _float(to, c * bins + b) / share)

    return njit(error_model="numpy", nogil=True)(run)


@native("affine_grid(theta, axes, y, shape, rank, batches, points)")
def affine_grid(target: Target) -> Callable[..., None]:
    """y[batches, points, rank]: theta[batches, rank, rank + 1] times the coordinates of each point and 1. ``axes``
    holds the coordinates along each of the dims in ``shape``, one dim after another."""

    def run(
        theta: int, axes: int, y: int, shape: int, rank: int, batches: int, points: int, worker: int, workers: int
    ) -> None:
        units = batches * points
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            matrix = theta + 4 * (unit // points) * rank * (rank + 1)
            for i in range(rank):
                total, rest, line = _ZERO, unit % points, 0
                for d in range(rank):
                    line += _at(shape, d)
                for j in range(rank):  # the last dim comes first
                    n = _at(shape, rank - 1 - j)
                    line -= n
                    total += _float(matrix, i * (rank + 1) + j) * _float(axes, line + rest % n)
                    rest //= n
                _set(y, unit * rank + i, total + _float(matrix, i * (rank + 1) + rank))

    return njit(error_model="numpy", nogil=True)(run)


@native("col2im(x, y, how, size, planes, table)")
def col2im(target: Target) -> Callable[..., None]:
    """Columns x[planes, taps, positions] added up into images y[planes, ...], which hold zeros, by ``scatter.update``.
    ``table``: of each of three dims (size of the image, taps, positions, stride, dilation, padding before)."""

    def run(x: int, y: int, how: int, size: int, planes: int, table: int, worker: int, workers: int) -> None:
        h, kh, nh, sh, dh, ph, v, kv, nv, sv, dv, pv, w, kw, nw, sw, dw, pw = _table(table)
        taps, positions = kh * kv * kw, nh * nv * nw
        for plane in range(planes * worker // workers, planes * (worker + 1) // workers):
            for tap in range(taps):
                a, b, c = tap // (kv * kw) * dh - ph, tap // kw % kv * dv - pv, tap % kw * dw - pw
                source = x + (plane * taps + tap) * positions * size
                for row in range(nh * nv):
                    i, j = a + row // nv * sh, b + row % nv * sv
                    if i < 0 or i >= h or j < 0 or j >= v:
                        continue
                    to = y + ((plane * h + i) * v + j) * w * size
                    for k in range(nw):
                        at = c + k * sw
                        if 0 <= at < w:
                            update(how, source + (row * nw + k) * size, to + at * size)

    return njit(error_model="numpy", nogil=True)(run)
