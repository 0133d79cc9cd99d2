"""NonMaxSuppression: of boxes that overlap, those with the best scores.

Candidates are words, (key << 32) | box, whose order is that of falling scores, equal ones by their number. One pass
parts them into buckets by the leading bits of their keys; a bucket is sorted when its turn comes, so that what lies
behind the last box that is kept never is.
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
from ronn_codegen.templates.counting import before, digit_starts

_jit = njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
_at, _put = peek("i64"), poke("i64")
_bits, _float, _set = peek("i32"), peek("f32"), poke("f32")
_ZERO, _HALF, _INFINITY = np.float32(0), np.float32(0.5), np.float32(np.inf)
_BUCKETS = 1024
_FEW = 32  # words that are sorted by insertion
_LAST = 2**31 - 1


@_jit
def insert(words: int, n: int) -> None:
    """Sorts a few words."""
    for i in range(1, n):
        word = _at(words, i)
        j = i
        while j > 0 and _at(words, j - 1) > word:
            _put(words, j, _at(words, j - 1))
            j -= 1
        _put(words, j, word)


@_jit
def part(words: int, to: int, n: int, counts: int, low: int, shift: int, digits: int) -> None:
    """Words by the digit of their keys, counted from ``low``, at ``shift``; equal digits keep their order. Leaves the
    end of each digit's words in ``counts``."""
    digit_starts(words, n, counts, 32, low, shift, digits)
    for i in range(n):
        word = _at(words, i)
        digit = ((word >> 32) - low >> shift) & (digits - 1)
        at = _at(counts, digit)
        _put(counts, digit, at + 1)
        _put(to, at, word)


@_jit
def sort(words: int, other: int, n: int, counts: int, low: int, bits: int) -> None:
    """Sorts words whose keys lie ``low`` and up to ``bits`` bits above it, and come by their number."""
    if n <= _FEW:
        insert(words, n)
        return
    a, b, shift = words, other, 0
    while shift < bits:
        part(a, b, n, counts, low, shift, 256)
        a, b = b, a
        shift += 8
    if a != words:
        for i in range(n):
            _put(words, i, _at(a, i))


@native("suppress(boxes, scores, found, kept, limit, iou, least, room, groups, classes, n, bound, centred)")
def suppress(target: Target) -> Callable[..., None]:
    """found[groups, bound] and kept[groups]: the boxes that each class of each image keeps, best first, and how many.

    boxes[groups / classes, n, 4]: two corners, or with ``centred`` x, y, width, height; scores[groups, n]. Addresses:
    ``limit`` (int64: boxes of a class at most; no more than ``bound``), ``iou`` (float32: boxes that share more of
    their union go), ``least`` (float32: scores must be larger; 0 where there is none). ``room``: for each share 16 * n
    + 20 * (bound + 64) + 8192 + 2048 bytes."""
    lanes = target.lanes(32)
    f32 = VectorType("f32", lanes)
    load, splat, put = f32.load, f32.splat, f32.store

    @_jit
    def candidates(scores: int, n: int, least: int, words: int) -> int:
        """The words of the scores above the least one, by their number; returns how many."""
        bound = _float(least, 0) if least else -_INFINITY
        bounds = splat(bound)
        count, i = 0, 0
        while i < n:
            end = min(i + lanes, n)
            if not least or end - i < lanes or ops.any_lane(bounds < load(scores, i)):
                for j in range(i, end):
                    if not least or _float(scores, j) > bound:
                        bits = _bits(scores, j)
                        key = bits & _LAST
                        key = _LAST if key > 0x7F800000 else key if bits < 0 else -key
                        _put(words, count, (key << 32) | j)
                        count += 1
            i = end
        return count

    @_jit
    def corners(box: int, centred: int) -> Any:
        """(y1, x1, y2, x2, area)"""
        a, b, c, d = _float(box, 0), _float(box, 1), _float(box, 2), _float(box, 3)
        if centred:
            high, wide = d * _HALF, c * _HALF
            a, b, c, d = b - high, a - wide, b + high, a + wide
        else:
            a, c = min(a, c), max(a, c)
            b, d = min(b, d), max(b, d)
        return a, b, c, d, (c - a) * (d - b)

    @_jit
    def overlaps(box: Any, best: int, line: int, count: int, iou: float) -> bool:
        """Whether a box shares too much with any of those in ``best``: five rows of ``line`` floats."""
        y1, x1, y2, x2 = splat(box[0]), splat(box[1]), splat(box[2]), splat(box[3])
        area, zero, bound = splat(box[4]), splat(_ZERO), splat(iou)
        for j in range(0, count, lanes):
            high = ops.minimum(y2, load(best, 2 * line + j)) - ops.maximum(y1, load(best, j))
            wide = ops.minimum(x2, load(best, 3 * line + j)) - ops.maximum(x1, load(best, line + j))
            shared = ops.maximum(high, zero) * ops.maximum(wide, zero)
            if ops.any_lane(zero < shared):
                union = area + load(best, 4 * line + j) - shared
                if ops.any_lane(bound < shared / union):
                    return True
        return False

    @_jit
    def choose(
        boxes: int, words: int, count: int, best: int, line: int, found: int, kept: int, limit: int, iou: float,
        centred: int,
    ) -> int:  # fmt: skip
        """Keeps those of the sorted words that fit to the ones kept so far; returns how many there are then."""
        for i in range(count):
            if kept == limit:
                break
            number = _at(words, i) & 0xFFFFFFFF
            box = corners(boxes + 16 * number, centred)
            if overlaps(box, best, line, kept, iou):
                continue
            if kept % lanes == 0:  # boxes of no size behind the last one overlap nothing
                for r in range(5):
                    put(best, r * line + kept, splat(_ZERO))
            for r in range(5):
                _set(best, r * line + kept, box[r])
            _put(found, kept, number)
            kept += 1
        return kept

    def run(
        boxes: int, scores: int, found: int, kept: int, limit: int, iou: int, least: int, room: int, groups: int,
        classes: int, n: int, bound: int, centred: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        line = (bound + 63) // 64 * 64
        words = room + worker * (16 * n + 20 * (bound + 64) + 8 * _BUCKETS + 2048)
        other, counts = words + 8 * n, words + 16 * n
        digits = counts + 8 * _BUCKETS
        best = digits + 2048
        most = max(min(_at(limit, 0), bound), 0)
        share = _float(iou, 0)
        for g in range(groups * worker // workers, groups * (worker + 1) // workers):
            image, to = boxes + 16 * (g // classes) * n, found + 8 * g * bound
            count = candidates(scores + 4 * g * n, n, least, words) if most > 0 else 0
            if count <= _FEW:
                insert(words, count)
                _put(kept, g, choose(image, words, count, best, line, to, 0, most, share, centred))
                continue
            low, high = _at(words, 0) >> 32, _at(words, 0) >> 32
            for i in range(count):
                key = _at(words, i) >> 32
                low, high = min(low, key), max(high, key)
            shift = 0
            while (high - low) >> shift >= _BUCKETS:
                shift += 1
            part(words, other, count, counts, low, shift, _BUCKETS)
            start, done = 0, 0
            for bucket in range(_BUCKETS):
                end = _at(counts, bucket)
                if end > start:
                    sort(other + 8 * start, words, end - start, digits, low + (bucket << shift), shift)
                    done = choose(image, other + 8 * start, end - start, best, line, to, done, most, share, centred)
                start = end
                if done == most:
                    break
            _put(kept, g, done)

    return njit(error_model="numpy", nogil=True)(run)


@native("listed(found, kept, y, total, groups, classes, bound)")
def listed(target: Target) -> Callable[..., None]:
    """y[total, 3]: (image, class, box) of what ``suppress`` found."""

    def run(
        found: int, kept: int, y: int, total: int, groups: int, classes: int, bound: int, worker: int, workers: int
    ) -> None:
        first, last = groups * worker // workers, groups * (worker + 1) // workers
        at, whole = before(kept, groups, first)
        if worker == 0:
            _put(total, 0, whole)
        for g in range(first, last):
            for i in range(_at(kept, g)):
                _put(y, 3 * at, g // classes)
                _put(y, 3 * at + 1, g % classes)
                _put(y, 3 * at + 2, _at(found, g * bound + i))
                at += 1

    return njit(error_model="numpy", nogil=True)(run)
