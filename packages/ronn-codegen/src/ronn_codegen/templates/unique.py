"""Unique: each element, or slice along an axis, once.

Elements are compared by the keys of ``order``: NaNs are equal to each other, and so are both zeros.
"""

from __future__ import annotations

from collections.abc import Callable

from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd.scalar import peek, poke
from ronn_codegen.simd.target import Target
from ronn_codegen.templates.copy import SIZES
from ronn_codegen.templates.order import key_of, sort
from ronn_codegen.templates.transpose import by_size, emit_move

_jit = njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
_at, _put = peek("i64"), poke("i64")
move = by_size(SIZES, 2, emit_move)


@native("unique(x, y, firsts, inverse, counts, total, room, size, infinity, plain, sorted, outer, n, inner)")
def unique(target: Target) -> Callable[..., None]:
    """y[outer, total, inner]: the slices of x[outer, n, inner] in order (``sorted``), else as they first come.

    ``firsts``: where each stands first; ``inverse``: which one is in each of the n places; ``counts``: how often each
    comes. ``room``: 32 * n + 2048 bytes."""

    @_jit
    def compared(
        x: int, a: int, b: int, size: int, infinity: int, plain: int, outer: int, n: int, inner: int
    ) -> int:
        """Slice a against slice b: -1, 0 or 1."""
        for o in range(outer):
            for i in range(inner):
                one = key_of(x + ((o * n + a) * inner + i) * size, size, infinity, plain, 0)
                two = key_of(x + ((o * n + b) * inner + i) * size, size, infinity, plain, 0)
                if one != two:
                    return -1 if one < two else 1
        return 0

    @_jit
    def merge(
        x: int, places: int, to: int, size: int, infinity: int, plain: int, outer: int, n: int, inner: int
    ) -> int:
        """The places of the slices in order, equal ones as they come, by merging runs. Returns where they are then."""
        for i in range(n):
            _put(places, i, i)
        run = 1
        while run < n:
            for start in range(0, n, 2 * run):
                a, b = start, min(start + run, n)
                middle, end = b, min(start + 2 * run, n)
                for j in range(start, end):
                    first = b == end
                    if a < middle and not first:
                        one, two = _at(places, a), _at(places, b)
                        first = compared(x, one, two, size, infinity, plain, outer, n, inner) <= 0
                    if first:
                        _put(to, j, _at(places, a))
                        a += 1
                    else:
                        _put(to, j, _at(places, b))
                        b += 1
            places, to = to, places
            run *= 2
        return places

    def run(
        x: int, y: int, firsts: int, inverse: int, counts: int, total: int, room: int, size: int, infinity: int,
        plain: int, sorted: int, outer: int, n: int, inner: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        single = outer * inner == 1
        if single:
            for i in range(n):
                _put(room, i, key_of(x + i * size, size, infinity, plain, 0))
                _put(room, n + i, i)
            places = sort(room, room + 8 * n, n, room + 16 * n, room + 32 * n) if n else room
        else:
            places = merge(x, room, room + 8 * n, size, infinity, plain, outer, n, inner)
        found, before = 0, 0
        for j in range(n):
            place = _at(places, j)
            if j == 0:
                new = True
            elif single:
                new = _at(places - 8 * n, j) != _at(places - 8 * n, j - 1)
            else:
                new = compared(x, before, place, size, infinity, plain, outer, n, inner) != 0
            if new:
                _put(firsts, found, place)
                _put(counts, found, 0)
                found += 1
            _put(counts, found - 1, _at(counts, found - 1) + 1)
            _put(inverse, place, found - 1)
            before = place
        if not sorted:
            which, rank, often = room, room + 8 * n, room + 16 * n
            for i in range(n):
                _put(which, i, -1)
            for g in range(found):
                _put(which, _at(firsts, g), g)
                _put(often, g, _at(counts, g))
            at = 0
            for i in range(n):
                g = _at(which, i)
                if g >= 0:
                    _put(rank, g, at)
                    _put(firsts, at, i)
                    _put(counts, at, _at(often, g))
                    at += 1
            for i in range(n):
                _put(inverse, i, _at(rank, _at(inverse, i)))
        for o in range(outer):
            for g in range(found):
                source = x + (o * n + _at(firsts, g)) * inner * size
                to = y + (o * found + g) * inner * size
                for i in range(inner):
                    move(size, source + i * size, to + i * size)
        _put(total, 0, found)

    return njit(error_model="numpy", nogil=True)(run)
