"""Maxima of windows and where they are: MaxPool with indices or of bytes, MaxUnpool, MaxRoiPool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd.scalar import peek, poke
from ronn_codegen.simd.target import Target
from ronn_codegen.templates.copy import SIZES, words
from ronn_codegen.templates.transpose import by_size, emit_move

_jit = njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
_at, _put, _float, _set = peek("i64"), poke("i64"), peek("f32"), poke("f32")
_signed, _byte, _set_byte = peek("i8"), peek("u8"), poke("u8")
_table = words(18)
_INFINITY = np.float32(np.inf)
_move = by_size(SIZES, 2, emit_move)
KINDS = ("f32", "i8", "u8")


@_jit
def _value(x: int, i: int, kind: int) -> Any:
    return _float(x, i) if kind == 0 else np.float32(_signed(x, i) if kind == 1 else _byte(x, i))


@_jit
def _store(y: int, i: int, kind: int, value: float) -> None:
    if kind == 0:
        _set(y, i, value)
    else:
        _set_byte(y, i, int(value) & 255)


@native("max_pool_at(x, y, at, kind, planes, table, columns)")
def max_pool_at(target: Target) -> Callable[..., None]:
    """The largest element of each window of x[planes, d, h, w] in y, and its number in ``at`` (0: not wanted). ``kind``
    is a number of ``KINDS``. ``table``: of each of three dims (size, windows, taps, stride, dilation, padding before).
    ``columns``: the numbers of a plane go down its columns first."""

    def run(
        x: int, y: int, at: int, kind: int, planes: int, table: int, columns: int, worker: int, workers: int
    ) -> None:
        d, od, kd, sd, dd, pd, h, oh, kh, sh, dh, ph, w, ow, kw, sw, dw, pw = _table(table)
        lowest = -_INFINITY if kind == 0 else np.float32(-128 if kind == 1 else 0)
        plane, outs = d * h * w, od * oh * ow
        rows = planes * od * oh
        for row in range(rows * worker // workers, rows * (worker + 1) // workers):
            c, i, j = row // (od * oh), row // oh % od, row % oh
            for k in range(ow):
                best, found = lowest, -1
                for tap in range(kd * kh * kw):
                    a = i * sd + tap // (kh * kw) * dd - pd
                    b = j * sh + tap // kw % kh * dh - ph
                    e = k * sw + tap % kw * dw - pw
                    if 0 <= a < d and 0 <= b < h and 0 <= e < w:
                        value = _value(x, c * plane + (a * h + b) * w + e, kind)
                        if found < 0 or value > best:
                            best = value
                            found = (e * h + b) * d + a if columns else (a * h + b) * w + e
                _store(y, c * outs + (i * oh + j) * ow + k, kind, best)
                if at:
                    _put(at, c * outs + (i * oh + j) * ow + k, c * plane + found)

    return njit(error_model="numpy", nogil=True)(run)


@native("max_unpool(x, indices, y, status, n, size, table)")
def max_unpool(target: Target) -> Callable[..., None]:
    """The n elements of x, of ``size`` bytes, at their places in y, which holds zeros.

    Indices count in a tensor of five dims. ``table``: its sizes, then the sizes and strides of y."""

    def run(
        x: int, indices: int, y: int, status: int, n: int, size: int, table: int, worker: int, workers: int
    ) -> None:
        total = 1
        for d in range(5):
            total *= _at(table, d)
        for i in range(n):
            rest = _at(indices, i)
            if rest < 0 or rest >= total:
                _put(status, 0, 1)
                continue
            to, inside = 0, True
            for d in range(4, -1, -1):
                dim = _at(table, d)
                at = rest % dim
                rest //= dim
                inside = inside and at < _at(table, 5 + d)
                to += at * _at(table, 10 + d)
            if inside:
                _move(size, x + i * size, y + to * size)

    return njit(error_model="numpy", nogil=True)(run)


@native("max_roi_pool(x, rois, y, status, batches, channels, high, wide, regions, down, across, scale: f64)")
def max_roi_pool(target: Target) -> Callable[..., None]:
    """y[regions, channels, down, across]: maxima of the bins of rois[regions, 5] (image, x1, y1, x2, y2) in
    x[batches, channels, high, wide]; 0 for bins without pixels."""

    @_jit
    def whole(v: float) -> int:
        """The largest whole number that is not above v."""
        v = min(max(v, -1e15), 1e15) if v == v else 0.0
        n = int(v)
        return n - 1 if n > v else n

    @_jit
    def edge(start: int, end: int, bins: int, k: int, size: int, up: bool) -> int:
        """Where bin k begins, or (``up``) ends."""
        step = max(end - start + 1, 1) / bins
        at = -whole(-(k * step)) if up else whole(k * step)
        return min(max(at + start, 0), size)

    def run(
        x: int, rois: int, y: int, status: int, batches: int, channels: int, high: int, wide: int, regions: int,
        down: int, across: int, scale: float, worker: int, workers: int,
    ) -> None:  # fmt: skip
        units = regions * channels
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            r, c = unit // channels, unit % channels
            image = int(_float(rois, 5 * r))
            if image < 0 or image >= batches:
                _put(status, 0, 1)
                continue
            left, top = whole(_float(rois, 5 * r + 1) * scale + 0.5), whole(_float(rois, 5 * r + 2) * scale + 0.5)
            right, low = whole(_float(rois, 5 * r + 3) * scale + 0.5), whole(_float(rois, 5 * r + 4) * scale + 0.5)
            source = x + 4 * (image * channels + c) * high * wide
            for i in range(down):
                first, last = edge(top, low, down, i, high, False), edge(top, low, down, i + 1, high, True)
                for j in range(across):
                    begin, end = edge(left, right, across, j, wide, False), edge(left, right, across, j + 1, wide, True)
                    best = -_INFINITY
                    for v in range(first, last):
                        for u in range(begin, end):
                            value = _float(source, v * wide + u)
                            if value > best or value != value:
                                best = value
                    filled = first < last and begin < end
                    _set(y, (unit * down + i) * across + j, best if filled else np.float32(0))

    return njit(error_model="numpy", nogil=True)(run)
