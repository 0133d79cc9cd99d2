"""From images of float32 on channels in blocks to signed bytes with padding, channels last, a scale for each image."""

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
from ronn_provider_bitnet.kernels.activations import TOP_BYTES, TOP_WORDS

_entry = njit(error_model="numpy", nogil=True)
_to_i8, _bits = ops.convert("i8"), ops.bitcast("i32")
_ROUNDER, _ROUNDER_BITS = np.float32(12582912.0), np.int32(0x4B400000)  # 1.5 * 2**23, see ``kernels.activations``
_SIGN = np.int32(0x7FFFFFFF)
_INFINITE = np.int32(0x7F800000)


@native("image_peaks(x, images, size, parts, peaks)")
def image_peaks(target: Target) -> Callable[..., None]:
    """The largest absolute values of ``parts`` parts of each image of ``size`` floats (whole vectors), as their bits:
    i32 peaks[images, parts]. NaN is larger than all."""
    lanes = target.lanes(32)
    f32, i32 = VectorType("f32", lanes), VectorType("i32", lanes)
    load, isplat, put = f32.load, i32.splat, poke("i32")

    @_entry
    def run(x: int, images: int, size: int, parts: int, peaks: int, worker: int, workers: int) -> None:
        vectors = size // lanes
        for unit in range(images * parts * worker // workers, images * parts * (worker + 1) // workers):
            image, part = unit // parts, unit % parts
            i, end = vectors * part // parts, vectors * (part + 1) // parts
            begin = image * size
            zero = isplat(np.int32(0))
            a, b, c, d = zero, zero, zero, zero
            while i + 4 <= end:
                at = begin + i * lanes
                a = ops.maximum(a, _bits(load(x, at)) & isplat(_SIGN))
                b = ops.maximum(b, _bits(load(x, at + lanes)) & isplat(_SIGN))
                c = ops.maximum(c, _bits(load(x, at + 2 * lanes)) & isplat(_SIGN))
                d = ops.maximum(d, _bits(load(x, at + 3 * lanes)) & isplat(_SIGN))
                i += 4
            while i < end:
                a = ops.maximum(a, _bits(load(x, begin + i * lanes)) & isplat(_SIGN))
                i += 1
            put(peaks, unit, ops.reduce_max(ops.maximum(ops.maximum(a, b), ops.maximum(c, d))))

    return run


@native(
    "quantize_pixels(x, peaks, parts, together, images, blocks, h, w, top, left, high, wide, channels, group, planes, "
    "least: f32, a, sums, steps)"
)
def quantize_pixels(target: Target) -> Callable[..., None]:
    """Images f32[images, blocks, h, w, L] to s8 a[planes, images, high, wide, channels] with zeros around them (image
    pixel 0 lies at row ``top``, column ``left``); i32 sums[planes, groups, images, high, wide] of the channels of a
    pixel, for groups of ``group`` blocks; f32 steps[images]. ``channels`` are more than those of all blocks but one.

    An image becomes ``round(x * s)``, ties to even, s = 127 / max(largest absolute value, least) with one plane and
    32639 / ... with two. ``steps`` are what one unit stands for; NaN where an image has a NaN or an infinity. With
    ``together`` all images have the scale that they would have as one.
    """
    lanes = target.lanes(32)
    f32, i32, i8 = VectorType("f32", lanes), VectorType("i32", lanes), VectorType("i8", lanes)
    load, splat, isplat = f32.load, f32.splat, i32.splat
    store, store_first = i8.store, i8.store_first
    put_f, put_i, put_b, get_i = poke("f32"), poke("i32"), poke("i8"), peek("i32")
    from_bits = peek("f32")

    @njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
    def clear(place: int, count: int) -> None:
        """Zeroes bytes."""
        i = 0
        nothing = _to_i8(isplat(np.int32(0)))
        while i + lanes <= count:
            store(place, i, nothing)
            i += lanes
        while i < count:
            put_b(place, i, 0)
            i += 1

    @njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
    def put(place: int, bytes_: Any, count: int) -> None:
        if count == lanes:
            store(place, 0, bytes_)
        else:
            store_first(place, 0, bytes_, count)

    @_entry
    def run(
        x: int, peaks: int, parts: int, together: int, images: int, blocks: int, h: int, w: int, top: int, left: int,
        high: int, wide: int, channels: int, group: int, planes: int, least: Any, a: int, sums: int, steps: int,
        worker: int, workers: int,
    ) -> None:  # fmt: skip
        limit = np.float32(TOP_WORDS) if planes == 2 else np.float32(TOP_BYTES)
        groups = (blocks + group - 1) // group
        plane, sum_group = images * high * wide * channels, images * high * wide
        x_block = h * w * lanes
        known, factor, most = -1, np.float32(0), 0
        for unit in range(images * high * worker // workers, images * high * (worker + 1) // workers):
            image, row = unit // high, unit % high
            if image != known:
                known = image
                most = 0
                for i in range(0 if together else image * parts, (images if together else image + 1) * parts):
                    most = max(most, get_i(peaks, i))
                put_i(steps, image, most)
                peak = max(from_bits(steps, image), least)
                if most >= _INFINITE or peak == np.float32(0):
                    step, factor = np.float32(0), np.float32(0)
                else:
                    factor, step = np.float32(limit / peak), np.float32(peak / limit)
                put_f(steps, image, np.float32(np.nan) if most >= _INFINITE else step)
            line = unit * wide
            inside = top <= row < top + h
            for p in range(planes):
                to = a + p * plane + line * channels
                if inside:
                    clear(to, left * channels)
                    clear(to + (left + w) * channels, (wide - left - w) * channels)
                else:
                    clear(to, wide * channels)
                for g in range(groups):
                    place = sums + 4 * ((p * groups + g) * sum_group + line)
                    if inside:
                        clear(place, 4 * left)
                        clear(place + 4 * (left + w), 4 * (wide - left - w))
                    else:
                        clear(place, 4 * wide)
            if not inside:
                continue
            source = image * blocks * x_block + (row - top) * w * lanes
            for column in range(w):
                pixel = line + left + column
                to = pixel * channels
                for g in range(groups):
                    total, total_low = isplat(np.int32(0)), isplat(np.int32(0))
                    for block in range(g * group, min((g + 1) * group, blocks)):
                        given = load(x, source + block * x_block + column * lanes)
                        if most >= _INFINITE:
                            given = splat(np.float32(0))
                        whole = _bits(given * splat(factor) + splat(_ROUNDER)) - isplat(_ROUNDER_BITS)
                        # Not what lies behind the row: that may be another worker's.
                        kept = min(lanes, (wide - left - column) * channels - block * lanes)
                        if planes == 2:
                            upper = (whole + isplat(np.int32(128))) >> isplat(np.int32(8))
                            lower = whole - (upper << isplat(np.int32(8)))
                            total = total + upper
                            total_low = total_low + lower
                            put(a + to + block * lanes, _to_i8(upper), kept)
                            put(a + plane + to + block * lanes, _to_i8(lower), kept)
                        else:
                            total = total + whole
                            put(a + to + block * lanes, _to_i8(whole), kept)
                    put_i(sums, g * sum_group + pixel, ops.reduce_add(total))
                    if planes == 2:
                        put_i(sums, (groups + g) * sum_group + pixel, ops.reduce_add(total_low))

    return run


@native(
    "window_sums(sums, part, parts, images, high, wide, taps, groups, count, stride_h, stride_w, out_h, out_w, factor, "
    "zeros)"
)
def window_sums(target: Target) -> Callable[..., None]:
    """i32 zeros[parts, groups, images, out_h, out_w]: ``factor`` times the sum over a window of sums[parts, part].

    ``taps``, i64[groups, count], tell where in a part the pixels of the first image's first window lie.
    """
    lanes = target.lanes(32)
    i32 = VectorType("i32", lanes)
    load, load_first, gather, isplat = i32.load, i32.load_first, i32.gather, i32.splat
    store, store_first = i32.store, i32.store_first
    get_i, get_l, put_i = peek("i32"), peek("i64"), poke("i32")

    @_entry
    def run(
        sums: int, part: int, parts: int, images: int, high: int, wide: int, taps: int, groups: int, count: int,
        stride_h: int, stride_w: int, out_h: int, out_w: int, factor: int, zeros: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        units = parts * groups * images * out_h
        times = isplat(np.int32(factor))
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            row, rest = unit % out_h, unit // out_h
            image, rest = rest % images, rest // images
            g, p = rest % groups, rest // groups
            begin = p * part + (image * high + row * stride_h) * wide
            column = 0
            while column < out_w:
                left = out_w - column
                if stride_w != 1 and left < lanes:
                    total = 0
                    for t in range(g * count, (g + 1) * count):
                        total += get_i(sums, begin + get_l(taps, t) + column * stride_w)
                    put_i(zeros, unit * out_w + column, factor * total)
                    column += 1
                    continue
                added = isplat(np.int32(0))
                for t in range(g * count, (g + 1) * count):
                    place = begin + get_l(taps, t) + column * stride_w
                    if stride_w != 1:
                        added = added + gather(sums, place, stride_w)
                    elif left < lanes:
                        added = added + load_first(sums, place, left)
                    else:
                        added = added + load(sums, place)
                if left < lanes:
                    store_first(zeros, unit * out_w + column, times * added, left)
                else:
                    store(zeros, unit * out_w + column, times * added)
                column += lanes

    return run
