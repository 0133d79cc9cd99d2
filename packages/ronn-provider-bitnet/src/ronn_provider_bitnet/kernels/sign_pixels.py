"""From float32 images to signs of one bit (see ``sign_layout``): 64 channels of a pixel are a pair of words.

A vector has neighbouring pixels of a channel. Where neither comparison with 0 holds for some element, its vector of
pixels is read again, as rows are in ``kernels.signs``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd.emit import splat
from ronn_codegen.simd.scalar import peek, poke
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.tile import at, emitted, i64, load, loop, mask_of, pointer, when
from ronn_codegen.simd.types import Vec
from ronn_codegen.templates.copy import words
from ronn_provider_bitnet.kernels.sign_layout import PAIR
from ronn_provider_bitnet.kernels.sign_windows import WORDS

_I1, _I32, _I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
_plan = words(WORDS)
_flag, _put_flag, _put_pair = peek("i32"), poke("i32"), poke("i64")
ZEROS, NANS = 1, 2
"""Bits of what is told of a line."""


def _pixels(target: Target) -> Any:
    """The intrinsic (x, channel, channels, count, a, pixel, at_zero, at_nan, always, told) for ``count`` neighbouring
    pixels, a vector at most: their words at ``a``, ``pixel`` bytes apart; channels lie ``channel`` bytes apart.

    ``always``: they are read as if there were zeros. The pixels' bits are set in ``told``, i32[2], where there are
    zeros and NaNs.
    """
    lanes = target.lanes(32)
    floats, ints, quads = Vec("f32", lanes), Vec("i32", lanes), ir.VectorType(_I64, lanes)
    zero, none, nowhere = (ir.Constant(v, None) for v in (floats.llvm, ints.llvm, ir.VectorType(_I1, lanes)))

    def emit(
        b: Any, x: Any, channel: Any, channels: Any, count: Any, a: Any, pixel: Any, at_zero: Any, at_nan: Any,
        always: Any, told: Any,
    ) -> None:  # fmt: skip
        start, out, mask = pointer(b, x), pointer(b, a), mask_of(b, count, lanes)
        kept = b.alloca(quads)
        ones, high = splat(b, ir.Constant(_I32, 1), lanes), splat(b, ir.Constant(_I64, 32), lanes)
        by_zero, by_nan = (splat(b, b.trunc(b.and_(v, i64(1)), _I1), lanes) for v in (at_zero, at_nan))

        def negative(v: Any, seen: list[Any]) -> tuple[Any, list[Any]]:
            return b.fcmp_ordered("<", v, zero), [b.or_(seen[0], b.fcmp_unordered("==", v, zero))]

        def exactly(v: Any, seen: list[Any]) -> tuple[Any, list[Any]]:
            zeros, nans = b.fcmp_ordered("==", v, zero), b.fcmp_unordered("uno", v, v)
            minus = b.or_(b.fcmp_ordered("<", v, zero), b.or_(b.and_(zeros, by_zero), b.and_(nans, by_nan)))
            return minus, [b.or_(seen[0], zeros), b.or_(seen[1], nans)]

        def word(first: Any, seen: list[Any], compare: Callable[..., Any]) -> tuple[Any, list[Any]]:
            """32 channels from ``first`` on; ``seen`` are lanes with something that is told."""
            left = b.sub(channels, first)
            some = b.select(b.icmp_signed("<", left, i64(32)), left, i64(32))

            def one(i: Any, carried: list[Any]) -> list[Any]:
                bits, bit, place, seen = carried
                minus, seen = compare(load(b, floats, place, mask), seen)
                return [b.select(minus, b.or_(bits, bit), bits), b.add(bit, bit), at(b, place, channel), seen]

            place = at(b, start, b.mul(first, channel))
            bits, _, _, seen = loop(b, some, [none, ones, place, seen], one)
            return bits, seen

        def all_words(seen: list[Any], compare: Callable[..., Any]) -> list[Any]:
            def pair(i: Any, seen: list[Any]) -> list[Any]:
                first, seen = word(b.mul(i, i64(PAIR)), seen, compare)
                second, seen = word(b.add(b.mul(i, i64(PAIR)), i64(PAIR // 2)), seen, compare)
                parity = b.shl(b.zext(b.xor(first, second), quads), high)
                b.store(b.or_(b.zext(first, quads), parity), kept, align=8)

                def put(j: Any, place: Any) -> Any:
                    b.store(b.load(at(b, kept, b.mul(j, i64(8))), typ=_I64, align=8), place, align=4)
                    return at(b, place, pixel)

                loop(b, count, at(b, out, b.mul(i, i64(8))), put)
                return seen

            found: list[Any] = loop(b, b.udiv(b.add(channels, i64(PAIR - 1)), i64(PAIR)), seen, pair)
            return found

        def bits_of(where: Any) -> Any:
            return b.zext(b.bitcast(b.and_(where, mask), ir.IntType(lanes)), _I32)

        everywhere = ir.Constant(nowhere.type, [1] * lanes)
        (odd,) = when(b, b.icmp_signed("==", always, i64(0)), [everywhere], lambda _: all_words([nowhere], negative))
        again = b.icmp_signed("!=", bits_of(odd), ir.Constant(_I32, 0))
        for i, where in enumerate(when(b, again, [nowhere, nowhere], lambda seen: all_words(seen, exactly))):
            place = at(b, pointer(b, told), 4 * i)
            b.store(b.or_(b.load(place, typ=_I32, align=4), bits_of(where)), place, align=4)

    return emitted(f"sign_pixels_{target.name}", " ".join(["i64"] * 10), emit)


def _lines(target: Target, second: bool) -> Callable[..., None]:
    pack, lanes = _pixels(target), target.lanes(32)

    @njit(error_model="numpy", nogil=True)
    def run(
        x: Any, plan: Any, at_zero: Any, at_nan: Any, tells: Any, a: Any, flags: Any, nans: Any, told: Any,
        worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        n, c, _, h, w, kh, _, _, _, dh, _, top, left, _, _, high, wide, _ = _plan(plan)
        pixel = 8 * ((c + PAIR - 1) // PAIR)
        near, own = (kh - 1) * dh, told + 8 * worker
        for line in range(n * high * worker // workers, n * high * (worker + 1) // workers):
            image, row = line // high, line % high
            if second:
                wanted = False
                for other in range(max(row - near, 0), min(row + near + 1, high)):
                    wanted = wanted or _flag(flags, image * high + other) & ZEROS != 0
                if not wanted:
                    continue
            at_line, found = a + line * wide * pixel, 0
            inside = top <= row < top + h
            first = min(left, wide) if inside else wide
            last = max(min(left + w, wide), first) if inside else wide
            for i in range(first * pixel // 8):
                _put_pair(at_line, i, 0)
            for i in range(last * pixel // 8, wide * pixel // 8):
                _put_pair(at_line, i, 0)
            for begin in range(first, last, lanes):
                count = min(lanes, last - begin)
                _put_flag(own, 0, 0)
                _put_flag(own, 1, 0)
                place = x + 4 * ((image * c * h + row - top) * w + begin - left)
                pack(place, 4 * h * w, c, count, at_line + begin * pixel, pixel, at_zero, at_nan, int(second), own)
                if not second:
                    bad = _flag(own, 1)
                    if bad != 0 and not found & NANS:
                        for i in range(wide):
                            _put_flag(nans, line * wide + i, 0)
                    found |= (ZEROS if _flag(own, 0) != 0 else 0) | (NANS if bad != 0 else 0)
                    if bad != 0:
                        for i in range(count):
                            _put_flag(nans, line * wide + begin + i, bad >> i & 1)
            if not second:
                _put_flag(flags, line, found & tells)

    made: Callable[..., None] = run
    return made


@native("sign_pixels(x, plan, at_zero, at_nan, tells, a, flags, nans, told)")
def sign_pixels(target: Target) -> Callable[..., None]:
    """Images x[N, C, H, W] to signs a[N, rows, columns, 2 * pairs] (see ``sign_windows``), i32 flags[N, rows] of
    ``ZEROS`` and ``NANS``, and in lines with ``NANS`` i32 nans[N, rows, columns], 1 where a pixel has a NaN.

    ``at_zero`` and ``at_nan`` are -1 where the sign of 0, or of NaN, is -1, else 0. ``tells``: the flags that are
    wanted. ``told`` is i32[shares, 2].
    """
    return _lines(target, False)


@native("sign_pixels_again(x, plan, at_zero, at_nan, tells, a, flags, nans, told)")
def sign_pixels_again(target: Target) -> Callable[..., None]:
    """A second plane ``a``, in which zeros have the sign ``at_zero``, of lines that a window may share with a line that
    has zeros; ``flags`` are what ``sign_pixels`` found."""
    return _lines(target, True)
