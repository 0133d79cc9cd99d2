"""The columns of DeformConv: windows whose taps are moved by offsets of their own, in float32."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd import ops
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.scalar import peek, poke
from ronn_codegen.simd.target import Target
from ronn_codegen.templates.copy import words
from ronn_codegen.templates.detection import PIXELS, floor, gather_known

_float, _set, _put = peek("f32"), poke("f32"), poke("i32")
_ZERO, _ONE = np.float32(0), np.float32(1)
_FAR = np.float32(2.0**30)
_table = words(12)


@native("deform_columns(x, offset, mask, y, room, batches, channels, parts, table)")
def deform_columns(target: Target) -> Callable[..., None]:
    """y[batches, channels, taps, positions] from x[batches, channels, h, w], bilinear, 0 outside, times ``mask``.

    mask[batches, parts, taps, positions] may be 0: none; offset[batches, parts, taps, 2, positions] holds rows before
    columns. Each of the ``parts`` of the channels has its own. ``table``: h, w, taps down and across, positions down
    and across, strides, dilations, padding before (y first). ``room``: 1024 bytes for each share."""
    lanes = target.lanes(32)
    places, values = VectorType("i32", lanes), VectorType("f32", lanes)
    load_places, load_values, splat, put = places.load, values.load, values.splat, values.store_first
    gather = gather_known(lanes)

    def run(
        x: int, offset: int, mask: int, y: int, room: int, batches: int, channels: int, parts: int, table: int,
        worker: int, workers: int,
    ) -> None:  # fmt: skip
        h, w, kh, kw, oh, ow, sh, sw, dh, dw, ph, pw = _table(table)
        taps, positions, share = kh * kw, oh * ow, channels // parts
        indices = room + worker * 1024
        weights = indices + 512
        blocks = (positions + PIXELS - 1) // PIXELS
        units = batches * parts * taps * blocks
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            first, rest = unit % blocks * PIXELS, unit // blocks
            tap, part = rest % taps, rest // taps  # the latter counts those of all images
            some = min(PIXELS, positions - first)
            moved = offset + 8 * (part * taps + tap) * positions
            for j in range(some):
                at = first + j
                v = np.float32(at // ow * sh - ph + tap // kw * dh) + _float(moved, at)
                u = np.float32(at % ow * sw - pw + tap % kw * dw) + _float(moved, positions + at)
                v = min(max(v, -_FAR), _FAR) if v == v else -_FAR
                u = min(max(u, -_FAR), _FAR) if u == u else -_FAR
                base_v, base_u = floor(v), floor(u)
                tv, tu = v - base_v, u - base_u
                top, left = int(base_v), int(base_u)
                factor = _float(mask, (part * taps + tap) * positions + at) if mask else _ONE
                for k in range(4):
                    r, q = top + k // 2, left + k % 2
                    inside = 0 <= r < h and 0 <= q < w
                    weight = (tv if k // 2 else _ONE - tv) * (tu if k % 2 else _ONE - tu)
                    _put(indices, k * PIXELS + j, r * w + q if inside else -1)
                    _set(weights, k * PIXELS + j, weight * factor)
            for j in range(some, PIXELS):
                for k in range(4):
                    _put(indices, k * PIXELS + j, -1)
                    _set(weights, k * PIXELS + j, _ZERO)
            for c in range(part * share, (part + 1) * share):
                source, to = x + 4 * c * h * w, y + 4 * ((c * taps + tap) * positions + first)
                for j in range(0, some, lanes):
                    total = splat(_ZERO)
                    for k in range(j, j + 4 * PIXELS, PIXELS):
                        total = ops.fma(gather(source, load_places(indices, k)), load_values(weights, k), total)
                    put(to, j, total, some - j)

    return njit(error_model="numpy", nogil=True)(run)
