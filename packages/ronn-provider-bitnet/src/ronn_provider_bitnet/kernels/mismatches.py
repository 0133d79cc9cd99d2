"""Counts where signs differ, pair of words after pair of words: the inner loop of ``kernels.xnor``.

With x and y the differences (exclusive or) of the two words of a pair, and u the parity of all words before it, bit by
bit, the sum of the three is ``2 * carry + parity``: a carry-save adder, as in Harley and Seal's count (Warren, Hacker's
Delight, 5-1; Mula, Kurz and Lemire, 2018). Only carries are counted, one word of a pair, and the parity once, at the
end. The second word of a pair is not read as it is: it has the parity of all words up to it (*running*), or that of the
pair, where what comes before differs from product to product. As parities of differences are differences of parities,

    carry = u where x == u else ~parity

is one operation of three operands, and a pair takes five: 2.5 for 32 signs in a lane, where counting each word takes 3.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ronn_codegen.simd.emit import llvm_call, splat
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.tile import at, broadcast, i64, load, loop
from ronn_codegen.simd.types import Vec
from ronn_provider_bitnet.kernels.sign_layout import VECTORS

_I8, _I32 = ir.IntType(8), ir.IntType(32)
_SHUFFLE = {256: "llvm.x86.avx2.pshuf.b", 512: "llvm.x86.avx512.pshuf.b.512"}
_BYTES = {256: "llvm.x86.avx2.pmadd.ub.sw", 512: "llvm.x86.avx512.pmaddubs.w.512"}
_HALVES = {256: "llvm.x86.avx2.pmadd.wd", 512: "llvm.x86.avx512.pmaddw.d.512"}


def _table(of: Any) -> int:
    """The number by which an operation of three operands is known, from what it does to bits."""
    return sum(of(i >> 2 & 1, i >> 1 & 1, i & 1) << i for i in range(8))


_CARRY = _table(lambda u, x, parity: u if u == x else 1 - parity)
_PARITY = _table(lambda u, a, w: u ^ a ^ w)


class Mismatches:
    """Emits the counts of one target, for some rows of activations by ``VECTORS`` vectors of rows of weights."""

    def __init__(self, target: Target, running: bool) -> None:
        self.running = running
        self.lanes = target.lanes(32)
        self.ints = Vec("i32", self.lanes)
        self.across = 4 * self.lanes
        self._bits = target.bits
        self._three = target.name == "avx512"
        self._by_table = not target.popcount and target.name in ("avx2", "avx512")
        self._bytes = ir.VectorType(_I8, 4 * self.lanes)
        self._halves = ir.VectorType(ir.IntType(16), 2 * self.lanes)

    def zero(self) -> Any:
        return ir.Constant(self.ints.llvm, None)

    def counts(self, b: Any, segments: Any, offsets: Any, steps: Any, rows: list[list[Any]], w: Any) -> list[list[Any]]:
        """[row][vector]: how many signs differ, over all segments of ``steps`` pairs from ``w`` on.

        ``rows`` are the places of the planes of each row, whose counts are added up; a segment begins ``offsets[i]``
        (int64) bytes behind them. With running parities there is one, where the rows are.
        """
        counts = [[self.zero() for _ in range(VECTORS)] for _ in rows]
        parities = [[[self.zero() for _ in range(VECTORS)] for _ in planes] for planes in rows]

        if self.running:
            _, counts, parities = self._segment(b, steps, rows, w, counts, parities)
            return self._ended(b, counts, parities)

        def segment(i: Any, carried: Any) -> Any:
            w, counts, parities = carried
            offset = b.load(at(b, offsets, b.shl(i, i64(3))), typ=ir.IntType(64), align=8)
            places = [[at(b, place, offset) for place in planes] for planes in rows]
            return self._segment(b, steps, places, w, counts, parities)

        _, counts, parities = loop(b, segments, [w, counts, parities], segment)
        return self._ended(b, counts, parities)

    def _ended(self, b: Any, counts: Any, parities: Any) -> list[list[Any]]:
        """Carries count twice, and the last parities once."""
        ends: list[list[Any]] = []
        for row, planes in zip(counts, parities, strict=True):
            doubled = [b.add(count, count) for count in row]
            for plane in planes:
                doubled = [b.add(d, self._count(b, p)) for d, p in zip(doubled, plane, strict=True)]
            ends.append(doubled)
        return ends

    def _segment(self, b: Any, steps: Any, places: Any, w: Any, counts: Any, parities: Any) -> Any:
        if not self._by_table:
            w, _, counts, parities = loop(
                b, steps, [w, i64(0), counts, parities],
                lambda _, carried: self._step(b, places, carried, lambda count, c: b.add(count, self._count(b, c))),
            )  # fmt: skip
            return w, counts, parities
        # Bytes add up to 8 for each step and plane, and are widened before they could overflow.
        most = 255 // (8 * len(places[0]))

        def chunk(i: Any, carried: Any) -> Any:
            w, k, counts, parities = carried
            rest = b.sub(steps, b.mul(i, i64(most)))
            n = b.select(b.icmp_signed("<", rest, i64(most)), rest, i64(most))
            bytes_ = [[ir.Constant(self._bytes, None) for _ in row] for row in counts]
            w, k, bytes_, parities = loop(
                b, n, [w, k, bytes_, parities],
                lambda _, inner: self._step(b, places, inner, lambda sums, c: self._add_bytes(b, sums, c)),
            )  # fmt: skip
            wide = [
                [b.add(count, self._widened(b, sums)) for count, sums in zip(row, found, strict=True)]
                for row, found in zip(counts, bytes_, strict=True)
            ]
            return w, k, wide, parities

        chunks = b.udiv(b.add(steps, i64(most - 1)), i64(most))
        w, _, counts, parities = loop(b, chunks, [w, i64(0), counts, parities], chunk)
        return w, counts, parities

    def _step(self, b: Any, places: Any, carried: Any, add: Any) -> Any:
        """One pair of words of every row. Weights are one stream, which processors fetch ahead better unasked."""
        w, k, counts, parities = carried
        given = [[load(b, self.ints, at(b, w, (2 * v + i) * self.across)) for i in (0, 1)] for v in range(VECTORS)]
        new_counts, new_parities = [], []
        for row, (planes, count) in enumerate(zip(places, counts, strict=True)):
            count, own = list(count), []
            for plane, place in enumerate(planes):
                first, both = (broadcast(b, self.ints, at(b, at(b, place, k), 4 * i)) for i in (0, 1))
                next_parities = []
                for v, (w0, w1) in enumerate(given):
                    carry, parity = self._carry(b, parities[row][plane][v], b.xor(first, w0), both, w1)
                    count[v] = add(count[v], carry)
                    next_parities.append(parity)
                own.append(next_parities)
            new_counts.append(count)
            new_parities.append(own)
        return at(b, w, 2 * VECTORS * self.across), b.add(k, i64(8)), new_counts, new_parities

    def _carry(self, b: Any, u: Any, x: Any, a: Any, w: Any) -> tuple[Any, Any]:
        """The carry of a pair, and the parity behind it."""
        if self._three:
            parity = b.xor(a, w) if self.running else self._ternary(b, u, a, w, _PARITY)
            return self._ternary(b, u, x, parity, _CARRY), parity
        given = b.xor(a, w)
        other = b.xor(u, given)
        pair, parity = (other, given) if self.running else (given, other)
        return b.xor(u, b.and_(b.xor(u, x), b.not_(pair))), parity

    def _ternary(self, b: Any, x: Any, y: Any, z: Any, table: int) -> Any:
        name = f"llvm.x86.avx512.pternlog.d.{self._bits}"
        return llvm_call(b, name, self.ints.llvm, x, y, z, ir.Constant(_I32, table))

    def _count(self, b: Any, value: Any) -> Any:
        """Bits set in each lane."""
        if self._by_table:
            return self._widened(b, self._add_bytes(b, ir.Constant(self._bytes, None), value))
        return llvm_call(b, f"llvm.ctpop.v{self.lanes}i32", self.ints.llvm, value)

    def _add_bytes(self, b: Any, sums: Any, value: Any) -> Any:
        """``sums`` plus the bits set in each byte, looked up by fours."""
        table = ir.Constant(self._bytes, [i.bit_count() for i in range(16)] * (self.lanes // 4))
        low = splat(b, ir.Constant(_I32, 0x0F0F0F0F), self.lanes)
        four = splat(b, ir.Constant(_I32, 4), self.lanes)
        for part in (b.and_(value, low), b.and_(b.lshr(value, four), low)):
            found = llvm_call(b, _SHUFFLE[self._bits], self._bytes, table, b.bitcast(part, self._bytes))
            sums = b.add(sums, found)
        return sums

    def _widened(self, b: Any, sums: Any) -> Any:
        """The sums of four bytes in each lane."""
        ones = ir.Constant(self._bytes, [1] * (4 * self.lanes))
        halves = llvm_call(b, _BYTES[self._bits], self._halves, sums, ones)
        pairs = ir.Constant(self._halves, [1] * (2 * self.lanes))
        return llvm_call(b, _HALVES[self._bits], self.ints.llvm, halves, pairs)
