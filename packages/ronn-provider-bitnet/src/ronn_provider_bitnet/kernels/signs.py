"""From float32 to signs of one bit (see ``sign_layout``), with what is to be known of each row.

Numbers above and below 0 are told by two comparisons. Where neither holds for some element, the row is read again: 0
and NaN are given the sign that the caller wants, and zeros of ONNX's Sign a second plane.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd.emit import EMIT, llvm_call, suffix, tree
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.tile import at, emitted, i64, load, loop, mask_of, pointer, when
from ronn_codegen.simd.types import Vec
from ronn_provider_bitnet.kernels.sign_layout import PAIR

_I1, _I32, _FLOAT = ir.IntType(1), ir.IntType(32), ir.FloatType()
_ALL = ir.Constant(_I32, -1)


class SignBits:
    """Emits comparisons of 32 floats with 0, as the bits of a word."""

    def __init__(self, target: Target) -> None:
        self.lanes = min(target.lanes(32), 32)
        self.vec = Vec("f32", self.lanes)
        self.parts = 32 // self.lanes

    def read(self, b: Any, place: Any, left: Any | None = None) -> list[Any]:
        """The vectors of 32 floats, with zeros behind the first ``left``."""
        out = []
        for i in range(self.parts):
            mask = None if left is None else mask_of(b, b.sub(left, i64(i * self.lanes)), self.lanes)
            out.append(load(b, self.vec, at(b, place, 4 * self.lanes * i), mask))
        return out

    def word(self, b: Any, vectors: list[Any], compare: Any) -> Any:
        """The i32 whose bits say where ``compare(vector)`` holds."""
        out = None
        for i, vector in enumerate(vectors):
            bits = b.bitcast(compare(vector), ir.IntType(self.lanes))
            word = bits if self.lanes == 32 else b.zext(bits, _I32)
            word = word if i == 0 else b.shl(word, ir.Constant(_I32, i * self.lanes))
            out = word if out is None else b.or_(out, word)
        return out

    def below(self, b: Any, vectors: list[Any]) -> Any:
        return self.word(b, vectors, lambda v: b.fcmp_ordered("<", v, self._zero))

    def above(self, b: Any, vectors: list[Any]) -> Any:
        return self.word(b, vectors, lambda v: b.fcmp_ordered(">", v, self._zero))

    def zeros(self, b: Any, vectors: list[Any]) -> Any:
        return self.word(b, vectors, lambda v: b.fcmp_ordered("==", v, self._zero))

    def nans(self, b: Any, vectors: list[Any]) -> Any:
        return self.word(b, vectors, lambda v: b.fcmp_unordered("uno", v, v))

    @property
    def _zero(self) -> Any:
        return ir.Constant(self.vec.llvm, None)


def _low_bits(b: Any, count: Any) -> Any:
    """An i32 with the first ``count`` bits set; any i64 ``count`` will do."""
    none, all_ = b.icmp_signed("<=", count, i64(0)), b.icmp_signed(">=", count, i64(32))
    some = b.sub(b.shl(ir.Constant(_I32, 1), b.trunc(b.and_(count, i64(31)), _I32)), ir.Constant(_I32, 1))
    return b.select(none, ir.Constant(_I32, 0), b.select(all_, _ALL, some))


def _pack_row(target: Target) -> Any:
    """The intrinsic (x, k, a, plane, at_zero, at_nan, zeros, nans, mean, flag, factor) for one row of k floats: words
    at ``a``, flag and factor as in ``sign_rows``."""
    signs = SignBits(target)
    nothing = ir.Constant(signs.vec.llvm, None)

    def put(b: Any, place: Any, words: list[Any], parity: Any) -> Any:
        """The pair at ``place``; the parity behind it."""
        parity = b.xor(parity, b.xor(*words))
        b.store(words[0], place, align=4)
        b.store(parity, at(b, place, 4), align=4)
        return parity

    def emit(
        b: Any, x: Any, k: Any, a: Any, plane: Any, at_zero: Any, at_nan: Any, zeros: Any, nans: Any, mean: Any,
        flag: Any, factor: Any,
    ) -> None:  # fmt: skip
        start, out = pointer(b, x), pointer(b, a)
        whole, rest = b.udiv(k, i64(PAIR)), b.and_(k, i64(PAIR - 1))

        def pair(i: Any, carried: Any, left: Any | None) -> Any:
            seen, sums, parity = carried
            place = at(b, start, b.mul(i, i64(4 * PAIR)))
            words = []
            for half in (0, 1):
                own = None if left is None else b.sub(left, i64(32 * half))
                vectors = signs.read(b, at(b, place, 4 * 32 * half), own)
                below = signs.below(b, vectors)
                told = b.or_(below, signs.above(b, vectors))
                seen = b.and_(seen, told if own is None else b.or_(told, b.not_(_low_bits(b, own))))
                words.append(below)
                sizes = [llvm_call(b, f"llvm.fabs.{suffix(signs.vec)}", signs.vec.llvm, v) for v in vectors]
                for n, size in enumerate(sizes):
                    sums = [b.fadd(s, size) if j == n % len(sums) else s for j, s in enumerate(sums)]
            return [seen, sums, put(b, at(b, out, b.mul(i, i64(8))), words, parity)]

        none = ir.Constant(_I32, 0)
        found = loop(b, whole, [_ALL, [nothing, nothing], none], lambda i, carried: pair(i, carried, None))
        some = b.icmp_signed(">", rest, i64(0))
        seen, sums, _ = when(b, some, found, lambda carried: pair(whole, carried, rest))
        total = tree(b, signs.vec, b.fadd(*sums), EMIT["add"])
        average = b.fdiv(total, b.sitofp(k, _FLOAT))

        def again(_: Any) -> Any:
            """Whether there are zeros, and NaNs, in a row that has one or the other; its words anew."""

            def pair(i: Any, carried: Any) -> Any:
                any_zero, any_nan, parity, parity2 = carried
                left = b.sub(k, b.mul(i, i64(PAIR)))
                place, to = at(b, start, b.mul(i, i64(4 * PAIR))), at(b, out, b.mul(i, i64(8)))
                planes: list[list[Any]] = [[], []]
                for half in (0, 1):
                    own = b.sub(left, i64(32 * half))
                    vectors = signs.read(b, at(b, place, 4 * 32 * half), own)
                    zero, nan = b.and_(signs.zeros(b, vectors), _low_bits(b, own)), signs.nans(b, vectors)
                    below = b.or_(signs.below(b, vectors), b.and_(nan, b.trunc(at_nan, _I32)))
                    planes[0].append(b.or_(below, b.and_(zero, b.trunc(at_zero, _I32))))
                    planes[1].append(b.or_(below, zero))
                    any_zero, any_nan = b.or_(any_zero, zero), b.or_(any_nan, nan)
                parity = put(b, to, planes[0], parity)
                parity2 = when(b, wanted, parity2, lambda old: put(b, at(b, to, plane), planes[1], old))
                return [any_zero, any_nan, parity, parity2]

            steps = b.udiv(b.add(k, i64(PAIR - 1)), i64(PAIR))
            return loop(b, steps, [none] * 4, pair)[:2]

        wanted = b.icmp_signed("!=", zeros, i64(0))
        any_zero, any_nan = when(b, b.icmp_signed("!=", seen, _ALL), [none, none], again)
        has_zero = b.and_(b.icmp_signed("!=", any_zero, none), wanted)
        b.store(b.zext(has_zero, _I32), pointer(b, flag), align=4)
        one, nan = (ir.Constant(_FLOAT, v) for v in (1.0, float("nan")))
        with_mean = b.icmp_signed("!=", mean, i64(0))
        value = b.select(with_mean, average, one)
        counts = b.and_(b.icmp_signed("!=", any_nan, none), b.icmp_signed("!=", nans, i64(0)))
        b.store(b.select(counts, nan, value), pointer(b, factor), align=4)

    return emitted(f"sign_row_{target.name}", " ".join(["i64"] * 11), emit)


@native("sign_rows(x, m, k, at_zero, at_nan, zeros, nans, mean, a, flags, factor)")
def sign_rows(target: Target) -> Callable[..., None]:
    """Rows of k floats to signs in words a[2, m, 2 * pairs] (see ``sign_layout``), i32 flags[m] and f32 factor[m].

    ``at_zero`` and ``at_nan`` are -1 where the sign of 0, or of NaN, is -1, else 0. With ``zeros`` a row with zeros has
    a second plane, in which they are negative, and its flag is 1. The factor is 1, or with ``mean`` the mean of
    absolute values; with ``nans`` NaN where the row has a NaN.
    """
    pack = _pack_row(target)

    @njit(error_model="numpy", nogil=True)
    def run(
        x: int, m: int, k: int, at_zero: int, at_nan: int, zeros: int, nans: int, mean: int, a: int, flags: int,
        factor: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        line = 8 * ((k + PAIR - 1) // PAIR)
        for r in range(m * worker // workers, m * (worker + 1) // workers):
            pack(x + 4 * r * k, k, a + r * line, m * line, at_zero, at_nan, zeros, nans, mean, flags + 4 * r,
                 factor + 4 * r)  # fmt: skip

    made: Callable[..., None] = run
    return made
