"""Dots of codes with bytes of activations, word after word: the inner loop of ``kernels.products``.

Where the processor has no dot of four bytes, products of pairs add up in 16 bits (codes are small), and are widened
before they could overflow.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ronn_codegen.simd.dot import ByteDot
from ronn_codegen.simd.emit import llvm_call, splat
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.tile import at, broadcast, i64, load, loop, multiply_add, prefetch
from ronn_codegen.simd.types import Vec
from ronn_provider_bitnet.kernels.layout import panel_vectors, step_of

_I32 = ir.IntType(32)
_AHEAD = ((2048, 3), (8192, 2))
"""Bytes by which weights are asked for ahead, and into which cache (3: the first); more may be under way far ahead."""
_MOST_16 = 32767
_LARGEST = 128  # absolute value of an activation


class CodeDots:
    """Emits the sums over the words of a group, for some rows of activations by some vectors of rows of weights.

    ``whole``: vectors of rows in a panel, where these are not ``layout.panel_vectors``."""

    def __init__(self, target: Target, bits: int, whole: int | None = None) -> None:
        self.lanes, self.bits = target.lanes(32), bits
        self.ints = Vec("i32", self.lanes)
        self.whole = panel_vectors(target) if whole is None else whole
        self.per, self.step_k = 8 // bits, step_of(bits)
        self.across = 4 * self.lanes
        self._bytes = ByteDot(target)
        self._pairs = target.name == "avx2" and not self._bytes.native and bits < 8  # pairs of larger ones overflow
        self._in_place = target.registers >= 32 and self._bytes.native and bits < 8
        self._halves = ir.VectorType(ir.IntType(16), 2 * self.lanes)
        self._quarters = ir.VectorType(ir.IntType(8), 4 * self.lanes)

    def sums(
        self, b: Any, steps: Any, w: Any, k: Any, left: list[Any], vectors: int, start: list[Any] | None = None
    ) -> list[Any]:
        """[w, k, sums] behind ``steps`` words from ``w`` on; ``left`` are the places of the rows of activations,
        ``start`` the sums so far, where there are any."""
        if start is None:
            start = self.nothing(len(left), vectors)
        if self._pairs:
            return self._in_halves(b, steps, w, k, left, start)
        if self._in_place and len(left) == 1:
            return self._where_they_are(b, steps, w, k, left[0], start[0])

        def step(_: Any, carried: Any) -> Any:
            w, k, dots = carried

            def add(sums: Any, codes: Any, given: Any) -> Any:
                return self._bytes.dot(b, sums, self._bytes.activations(b, codes), given)

            dots = self._word(b, w, k, left, dots, add, lambda given: self._bytes.weights(b, given))
            return at(b, w, self.whole * self.across), b.add(k, i64(self.step_k)), dots

        found: list[Any] = loop(b, steps, [w, k, start], step)
        return found

    def nothing(self, rows: int, vectors: int) -> list[Any]:
        """Sums of zero."""
        return [[ir.Constant(self.ints.llvm, None) for _ in range(vectors)] for _ in range(rows)]

    def _word(self, b: Any, w: Any, k: Any, left: list[Any], dots: Any, add: Any, prepare: Any) -> Any:
        """The dots of one word of each row of weights."""
        vectors = len(dots[0])
        given = [load(b, self.ints, at(b, w, v * self.across)) for v in range(vectors)]
        if len(left) == 1:
            for v in range(0, vectors, max(1, 64 // self.across)):
                for ahead, locality in _AHEAD:
                    prefetch(b, at(b, w, ahead + v * self.across), locality=locality)
        mask = None if self.per == 1 else self._number(b, ((1 << self.bits) - 1) * 0x01010101)
        for i in range(self.per):
            bytes_ = [prepare(broadcast(b, self.ints, at(b, at(b, s, k), 4 * i))) for s in left]
            new: list[list[Any]] = [[] for _ in left]
            for v in range(vectors):
                code = given[v] if i == 0 else b.lshr(given[v], self._number(b, self.bits * i))
                codes = code if self.per == 1 else b.and_(code, mask)
                for r, one in enumerate(bytes_):
                    new[r].append(add(dots[r][v], codes, one))
            dots = new
        return dots

    def _where_they_are(self, b: Any, steps: Any, w: Any, k: Any, left: Any, start: list[Any]) -> Any:
        """The same for one row of activations: codes are masked where they lie in their bytes, and not shifted down, so
        that sums of each place count a power of two too much. The lower and the upper halves of bytes share sums of
        one bit, which are few enough then."""
        places = min(self.per, 4)
        largest = ((1 << self.bits) - 1) << (self.bits * (places - 1))
        safe = (1 << 31) // (4 * self.per // places * largest * _LARGEST) - 1

        def chunk(i: Any, carried: Any) -> Any:
            w, k, dots = carried
            rest = b.sub(steps, b.mul(i, i64(safe)))
            count = b.select(b.icmp_signed("<", rest, i64(safe)), rest, i64(safe))
            nothing = [[ir.Constant(self.ints.llvm, None) for _ in start] for _ in range(places)]

            def step(_: Any, inner: Any) -> Any:
                w, k, found = inner
                given = [load(b, self.ints, at(b, w, v * self.across)) for v in range(len(start))]
                found = [list(row) for row in found]
                for i in range(self.per):
                    if i == places:
                        given = [b.lshr(g, self._number(b, 4)) for g in given]
                    activations = broadcast(b, self.ints, at(b, at(b, left, k), 4 * i))
                    mask = self._number(b, (((1 << self.bits) - 1) << (self.bits * (i % places))) * 0x01010101)
                    for v, g in enumerate(given):
                        before = found[i % places][v]
                        found[i % places][v] = self._bytes.dot(b, before, (b.and_(g, mask),), (activations,))
                return at(b, w, self.whole * self.across), b.add(k, i64(self.step_k)), found

            w, k, found = loop(b, count, [w, k, nothing], step)
            for i, row in enumerate(found):
                dots = [b.add(d, b.ashr(f, self._number(b, self.bits * i)) if i else f)
                        for d, f in zip(dots, row, strict=True)]  # fmt: skip
            return w, k, dots

        chunks = b.udiv(b.add(steps, i64(safe - 1)), i64(safe))
        w, k, dots = loop(b, chunks, [w, k, start], chunk)
        return w, k, [dots]

    def _in_halves(self, b: Any, steps: Any, w: Any, k: Any, left: list[Any], start: Any) -> list[Any]:
        """The same with 16-bit sums of pairs, widened after as many words as can never overflow."""
        safe = _MOST_16 // (self.per * 2 * ((1 << self.bits) - 1) * _LARGEST)
        vectors = len(start[0])
        ones = ir.Constant(self._halves, [1] * (2 * self.lanes))
        name = "llvm.x86.avx2.pmadd.wd"

        def chunk(i: Any, carried: Any) -> Any:
            w, k, dots = carried
            rest = b.sub(steps, b.mul(i, i64(safe)))
            count = b.select(b.icmp_signed("<", rest, i64(safe)), rest, i64(safe))
            halves = [[ir.Constant(self._halves, None) for _ in range(vectors)] for _ in left]

            def step(_: Any, inner: Any) -> Any:
                w, k, halves = inner

                def add(sums: Any, codes: Any, given: Any) -> Any:
                    operands = (b.bitcast(codes, self._quarters), b.bitcast(given, self._quarters))
                    return b.add(sums, llvm_call(b, "llvm.x86.avx2.pmadd.ub.sw", self._halves, *operands))

                halves = self._word(b, w, k, left, halves, add, lambda given: given)
                return at(b, w, self.whole * self.across), b.add(k, i64(self.step_k)), halves

            w, k, halves = loop(b, count, [w, k, halves], step)
            wide = [
                [b.add(d, llvm_call(b, name, self.ints.llvm, h, ones)) for d, h in zip(row, half, strict=True)]
                for row, half in zip(dots, halves, strict=True)
            ]
            return w, k, wide

        chunks = b.udiv(b.add(steps, i64(safe - 1)), i64(safe))
        found: list[Any] = loop(b, chunks, [w, k, start], chunk)
        return found

    def _number(self, b: Any, value: int) -> Any:
        return splat(b, ir.Constant(_I32, value), self.lanes)


class GroupScales:
    """Emits what the integer sums of a group come to as real numbers: with ``planes`` 2 the first half of the sums
    counts 256 times; a panel begins with a scale for each of its rows, and an offset where it is ``affine``."""

    def __init__(self, dots: CodeDots, planes: int, *, affine: bool) -> None:
        self._dots, self._planes, self._affine = dots, planes, affine
        self._floats = Vec("f32", dots.lanes)
        self.bytes = (2 if affine else 1) * dots.whole * dots.across
        """What scales and offsets take in front of the words of a group."""

    def _real(self, b: Any, parts: list[Any]) -> Any:
        low = b.sitofp(parts[-1], self._floats.llvm)
        if self._planes == 1:
            return low
        high = splat(b, ir.Constant(ir.FloatType(), 256.0), self._dots.lanes)
        return multiply_add(b, self._floats, b.sitofp(parts[0], self._floats.llvm), high, low)

    def add(self, b: Any, w: Any, totals: list[Any], zeros: list[Any], sums: list[Any]) -> list[list[Any]]:
        """``sums`` [row][vector] with what a group adds to them, whose scales are at ``w``. ``totals`` [row and
        plane][vector] are its sums of codes, ``zeros`` [row and plane] what they have too much or, where it is affine,
        the sums of the activations."""
        across, planes = self._dots.across, self._planes
        out: list[list[Any]] = []
        for r, row in enumerate(sums):
            own = zeros[planes * r : planes * (r + 1)]
            out.append([])
            for v, so_far in enumerate(row):
                factor = load(b, self._floats, at(b, w, v * across))
                parts = [total[v] for total in totals[planes * r : planes * (r + 1)]]
                if not self._affine:
                    whole = [b.add(t, t) if self._dots.bits == 1 else t for t in parts]
                    parts = [b.sub(t, zero) for t, zero in zip(whole, own, strict=True)]
                value = multiply_add(b, self._floats, self._real(b, parts), factor, so_far)
                if self._affine:
                    offset = load(b, self._floats, at(b, w, (self._dots.whole + v) * across))
                    value = multiply_add(b, self._floats, self._real(b, own), offset, value)
                out[r].append(value)
        return out
