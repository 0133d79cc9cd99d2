"""Int8 convolution over NHWC beside ``int8_gemm``: one filter per channel, and pooling of bytes.

Activations are unsigned bytes ``[N, H, W, C]``. A convolution reads its input through a table of pixels, so that the
input must carry its padding; a filter row is one tap of ``S * C`` neighbouring bytes where columns are not dilated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd import ops
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.scalar import peek, poke
from ronn_codegen.simd.target import Target
from ronn_codegen.templates._int8_tile import ROUNDER, ROUNDER_BITS
from ronn_codegen.templates.int8_gemm import driver, form

_jit = njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
_entry = njit(error_model="numpy", nogil=True)


@native(form("int8_depthwise_bytes", "bytes"))
def int8_depthwise_bytes(target: Target) -> Callable[..., None]:
    """As ``int8_bytes`` with weights of ``pack_depthwise``; up to a vector of bytes behind each tap is read."""
    return driver(target, "bytes", depthwise=True)


@native(form("int8_depthwise_words", "words"))
def int8_depthwise_words(target: Target) -> Callable[..., None]:
    """As ``int8_words`` with weights of ``pack_depthwise``; up to a vector of bytes behind each tap is read."""
    return driver(target, "words", depthwise=True)


def _largest(lanes: int) -> Any:
    """Of one window, the largest bytes of channels ``at`` to ``at + lanes``."""
    load, splat = VectorType("u8", lanes).load, VectorType("u8", lanes).splat
    least = np.uint8(0)

    @_jit
    def largest(x: int, rows: int, row: int, cols: int, col: int) -> Any:
        found = splat(least)
        for i in range(rows):
            for j in range(cols):
                found = ops.maximum(found, load(x, i * row + j * col))
        return found

    return largest


@native("int8_max_pool(x, y, n, h, w, c, oh, ow, kh, kw, sh, sw, dh, dw, ph, pw)")
def int8_max_pool(target: Target) -> Callable[..., None]:
    """The largest byte of each window over ``x[N, H, W, C]``; what lies outside does not count."""
    wide, narrow = target.bits // 8, target.lanes(32)
    big, small, store = _largest(wide), _largest(narrow), VectorType("u8", wide).store
    store_small, at, put = VectorType("u8", narrow).store, peek("u8"), poke("u8")

    @_entry
    def run(
        x: int, y: int, n: int, h: int, w: int, c: int, oh: int, ow: int, kh: int, kw: int, sh: int, sw: int, dh: int,
        dw: int, ph: int, pw: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        rows = n * oh
        for r in range(rows * worker // workers, rows * (worker + 1) // workers):
            image, oy = r // oh, r % oh
            iy = oy * sh - ph
            first = (-iy + dh - 1) // dh if iy < 0 else 0
            last = min(kh, (h - iy + dh - 1) // dh)
            for ox in range(ow):
                ix = ox * sw - pw
                left = (-ix + dw - 1) // dw if ix < 0 else 0
                right = min(kw, (w - ix + dw - 1) // dw)
                base = x + ((image * h + iy + first * dh) * w + ix + left * dw) * c
                to = y + (r * ow + ox) * c
                down, across = dh * w * c, dw * c
                i = 0
                while i + wide <= c:
                    store(to, i, big(base + i, last - first, down, right - left, across))
                    i += wide
                while i + narrow <= c:
                    store_small(to, i, small(base + i, last - first, down, right - left, across))
                    i += narrow
                while i < c:
                    found = 0
                    for a in range(last - first):
                        for b in range(right - left):
                            found = max(found, at(base, i + a * down + b * across))
                    put(to, i, found)
                    i += 1

    return run


@native(
    "int8_average_pool(x, y, n, h, w, c, oh, ow, kh, kw, sh, sw, ph, pw, padded, x_zero, gain: f32, low: f32,"
    " high: f32, out_zero)"
)
def int8_average_pool(target: Target) -> Callable[..., None]:
    """round(mean(x - x_zero) * gain), clamped, plus ``out_zero``; ``padded``: padding counts as zeros."""
    lanes = target.lanes(32)
    u8, i32, f32 = VectorType("u8", lanes), VectorType("i32", lanes), VectorType("f32", lanes)
    load, load_first, store, store_first = u8.load, u8.load_first, u8.store, u8.store_first
    splat_i, splat_f = i32.splat, f32.splat
    to_i32, to_f32, to_u8, bits = ops.convert("i32"), ops.convert("f32"), ops.convert("u8"), ops.bitcast("i32")
    rounder, rounder_bits = np.float32(ROUNDER), np.int64(ROUNDER_BITS)

    @_entry
    def run(
        x: int, y: int, n: int, h: int, w: int, c: int, oh: int, ow: int, kh: int, kw: int, sh: int, sw: int, ph: int,
        pw: int, padded: int, x_zero: int, gain: float, low: float, high: float, out_zero: int, worker: int,
        workers: int,
    ) -> None:  # fmt: skip
        blocks = (c + lanes - 1) // lanes
        work = n * oh * blocks
        bias = splat_i(np.int32(out_zero - rounder_bits))
        for item in range(work * worker // workers, work * (worker + 1) // workers):
            r, i = item // blocks, item % blocks * lanes
            image, oy = r // oh, r % oh
            top, bottom = max(oy * sh - ph, 0), min(oy * sh - ph + kh, h)
            for ox in range(ow):
                left, right = max(ox * sw - pw, 0), min(ox * sw - pw + kw, w)
                total = splat_i(np.int32(0))
                for iy in range(top, bottom):
                    base = x + ((image * h + iy) * w + left) * c + i
                    if i + lanes <= c:
                        for ix in range(right - left):
                            total = total + to_i32(load(base, ix * c))
                    else:
                        for ix in range(right - left):
                            total = total + to_i32(load_first(base, ix * c, c - i))
                inside = (bottom - top) * (right - left)
                count = kh * kw if padded != 0 else inside
                scale = np.float32(gain / np.float32(count))
                real = to_f32(total - splat_i(np.int32(inside * x_zero))) * splat_f(scale)
                real = ops.minimum(ops.maximum(real, splat_f(low)), splat_f(high))
                out = to_u8(bits(real + splat_f(rounder)) + bias)
                if i + lanes <= c:
                    store(y, (r * ow + ox) * c + i, out)
                else:
                    store_first(y, (r * ow + ox) * c + i, out, c - i)

    return run
