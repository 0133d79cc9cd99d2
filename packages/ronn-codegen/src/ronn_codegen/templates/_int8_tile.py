"""Register tiles of int8 products, emitted as LLVM IR: ``rows`` pixels by ``vectors`` vectors of output channels.

The left side is unsigned bytes: rows of ``[taps, 4 * groups]`` where row m begins at ``x + table[m]`` and tap (i, j)
lies ``i * row_step + j * col_step`` bytes on. The right side is signed bytes in panels ``[tap, group, column, 4]``.
A matrix product has one tap; a convolution over NHWC has one tap a filter row (neighbouring columns are contiguous).

Kinds of panels: ``bytes`` and ``words`` put out rows, ``planes`` are words whose columns lie apart (channels first).

The sums start at ``init[n] - zero * colsum[n]``. They leave as bytes (scaled per column and rounded, then through
further stages), as float32, or as they are.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from ronn_codegen.simd.dot import ByteDot
from ronn_codegen.simd.emit import Builder, first_lanes, llvm_call, splat
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.tile import I64, emitted, loop, multiply_add, when
from ronn_codegen.simd.types import Vec
from ronn_codegen.templates.int8_pack import Int8Tile, depthwise_tile, planes_tile, tile_of

I8, I32, F32 = ir.IntType(8), ir.IntType(32), ir.FloatType()
POINTER = ir.PointerType()
# Adding it rounds |x| < 2**22 to the nearest integer, ties to even, which then stands in the low bits.
ROUNDER, ROUNDER_BITS = 12582912.0, 0x4B400000

COMMON = (
    "x", "table", "first", "last", "w", "taps", "row_step", "cols", "col_step", "groups", "y", "pitch", "columns",
    "init", "colsum", "zero", "scale",
)  # fmt: skip
# Further stages on the rounded value r: r * affine[stage, 0, n] + affine[stage, 1, n], clamped to limits[stage] and
# rounded again. To that of number ``add_stage`` the bytes at ``add``, rows ``add_pitch`` apart, times limits[stage, 2]
# are added. ``affine_pitch``: bytes from one row of affine to the next.
BYTES = (
    *COMMON, "low", "high", "out_zero", "stages", "affine", "affine_pitch", "limits", "add", "add_pitch", "add_stage",
)  # fmt: skip
# rowsum: address of int32 sums of the left rows (0: none), col_zero: int32 per column; raw: store the sums themselves.
WORDS = (*COMMON, "factor", "bias", "low", "high", "rowsum", "col_zero", "raw")
FLOATS = frozenset({"low", "high", "factor"})


@cache
def panel(target: Target, vectors: int, kind: str, depthwise: bool = False) -> Any:
    """The intrinsic that computes rows ``first`` to ``last`` of one panel; arguments as in ``BYTES`` or ``WORDS`` (in
    planes, ``pitch`` is from one column to the next).

    depthwise: column n of the output only sees byte n of each tap; panels are ``[tap, column]``.
    """
    names = BYTES if kind == "bytes" else WORDS

    def emit(builder: Builder, *values: Any) -> None:
        arg = dict(zip(names, values, strict=True))
        made = _Depthwise if depthwise else _Planes if kind == "planes" else _Panel
        made(builder, target, vectors, kind, arg).emit()

    kinds = " ".join("f32" if n in FLOATS else "i64" for n in names)
    return emitted(f"int8_{kind}_{'depthwise_' if depthwise else ''}{vectors}_{target.name}", kinds, emit)


class _Panel:
    """Emits the body of one panel width and kind of output."""

    def __init__(self, builder: Builder, target: Target, vectors: int, kind: str, arg: dict[str, Any]) -> None:
        self.b, self.vectors, self.kind, self.arg = builder, vectors, kind, arg
        self.byte_dot, self.tile = ByteDot(target), self._tile_of(target)
        self.lanes = self.tile.lanes
        self.ints = ir.VectorType(I32, self.lanes)
        self.floats = ir.VectorType(F32, self.lanes)
        self.small = ir.VectorType(I8, self.lanes)
        self.rounds = target.name != "baseline128"  # whether rounding is one instruction

    @staticmethod
    def _tile_of(target: Target) -> Int8Tile:
        return tile_of(target)

    def emit(self) -> None:
        """Whole tiles, then a lower one for what is left."""
        b, first, last = self.b, self.arg["first"], self.arg["last"]
        buffer = cgutils.alloca_once(b, ir.ArrayType(self.ints, self.vectors))
        self.buffer = b.ptrtoint(buffer, I64)
        self.full = b.icmp_signed("==", self.arg["columns"], I64(self.vectors * self.lanes))
        height = self.tile.rows[self.vectors - 1]
        lower = self.tile.few if self.tile.few and self.vectors == self.tile.vectors else ()
        count = b.sub(last, first)
        rest = b.srem(count, I64(height))
        low = b.icmp_signed("<=", rest, I64(lower[-1])) if lower else ir.Constant(ir.IntType(1), 0)
        whole = b.add(count, I64(height - 1))
        whole = b.sdiv(b.select(low, count, whole), I64(height))

        def tile(i: Any, carried: Any) -> Any:
            m = b.add(first, b.mul(i, I64(height)))
            self._tile(height, m, b.sub(last, m))
            return carried

        loop(b, whole, [], tile)
        m = b.add(first, b.mul(whole, I64(height)))
        left = b.sub(last, m)
        floor = 0
        for rows in lower:
            fits = b.and_(b.icmp_signed(">", left, I64(floor)), b.icmp_signed("<=", left, I64(rows)))
            with b.if_then(fits):
                self._tile(rows, m, left)
            floor = rows

    # --- one tile

    def _tile(self, rows: int, m: Any, left: Any) -> None:
        b, arg = self.b, self.arg
        starts = [b.sext(self._load(arg["table"], b.add(m, I64(i)), I32), I64) for i in range(rows)]
        bases = [self._pointer(b.add(arg["x"], s), I64(0), I8) for s in starts]
        zero = self._splat(b.trunc(arg["zero"], I32))
        first = []
        for v in range(self.vectors):
            less = b.mul(zero, self._vector("colsum", v, self.ints))
            first.append(b.sub(self._vector("init", v, self.ints), less))
        self._finish(self._accumulate(bases, [first] * rows), m, left)

    def _finish(self, sums: list[list[Any]], m: Any, left: Any) -> None:
        b = self.b
        store = self._store_bytes if self.kind == "bytes" else self._store_words
        for i, row in enumerate(sums):
            with b.if_then(b.icmp_signed(">", left, I64(i))):
                store(row, b.add(m, I64(i)))

    def _accumulate(self, bases: list[Any], sums: list[list[Any]]) -> Any:
        b, arg = self.b, self.arg
        step = 4 * self.vectors * self.lanes

        def group(_: Any, carried: Any) -> Any:
            at, w, sums = carried
            right = []
            for v in range(self.vectors):
                right.append(self.byte_dot.weights(b, self._load(w, I64(v * self.lanes), self.ints, I32)))
            out = []
            for base, row in zip(bases, sums, strict=True):
                four = b.load(b.gep(base, [at], source_etype=I8), typ=I32, align=1)
                left = self.byte_dot.activations(b, self._splat(four))
                out.append([self.byte_dot.dot(b, acc, left, w4) for acc, w4 in zip(row, right, strict=True)])
            return [b.add(at, I64(4)), b.add(w, I64(step)), out]

        def tap(i: Any, carried: Any) -> Any:
            def column(j: Any, inner: Any) -> Any:
                at = b.add(b.mul(i, arg["row_step"]), b.mul(j, arg["col_step"]))
                return loop(b, arg["groups"], [at, *inner], group)[1:]

            return loop(b, arg["cols"], carried, column)

        return loop(b, arg["taps"], [arg["w"], sums], tap)[1]

    # --- what becomes of the sums

    def _store_bytes(self, sums: list[Any], row: Any) -> None:
        b, arg = self.b, self.arg
        low, high = self._splat(arg["low"]), self._splat(arg["high"])
        scaled = []
        for v, acc in enumerate(sums):
            f = b.fmul(b.sitofp(acc, self.floats), self._vector("scale", v, self.floats))
            scaled.append(self._round(self._clamp(f, low, high)))

        def stage(i: Any, carried: Any) -> Any:
            limits = b.add(arg["limits"], b.mul(i, I64(12)))
            gains = b.add(arg["affine"], b.mul(i, b.mul(arg["affine_pitch"], I64(2))))
            biases = b.add(gains, arg["affine_pitch"])
            made = []
            for v, r in enumerate(carried):
                gain, bias = (self._load(p, I64(v * self.lanes), self.floats, F32) for p in (gains, biases))
                made.append(multiply_add(b, Vec("f32", self.lanes), r, gain, bias))
            adds = b.and_(b.icmp_signed("!=", arg["add"], I64(0)), b.icmp_signed("==", i, arg["add_stage"]))
            made = when(b, adds, made, lambda inner: self._add(inner, row, self._load(limits, I64(2), F32)))
            floor, ceiling = (self._splat(self._load(limits, I64(j), F32)) for j in (0, 1))
            return [self._round(self._clamp(f, floor, ceiling)) for f in made]

        scaled = loop(b, arg["stages"], scaled, stage)
        zero = self._splat(b.trunc(arg["out_zero"], I32))
        whole = [b.add(b.fptosi(r, self.ints), zero) for r in scaled]
        self._put([b.trunc(x, self.small) for x in whole], row, I8)

    def _round(self, value: Any) -> Any:
        """To the nearest integer, ties to even; |value| < 2**22."""
        b = self.b
        if self.rounds:
            return llvm_call(b, f"llvm.rint.v{self.lanes}f32", self.floats, value)
        rounder = self._splat(F32(ROUNDER))
        return b.fsub(b.fadd(value, rounder), rounder)

    def _add(self, values: list[Any], row: Any, gain: Any) -> list[Any]:
        """``values`` plus the second operand's bytes times ``gain``."""
        b, arg = self.b, self.arg
        source = b.add(arg["add"], b.mul(row, arg["add_pitch"]))

        def safe(_: Any) -> Any:
            self._copy(self.buffer, source, arg["columns"], I8)
            return [self.buffer]

        (place,) = when(b, b.not_(self.full), [source], safe)
        gains = self._splat(gain)
        out = []
        for v, value in enumerate(values):
            other = b.zext(self._load(place, I64(v * self.lanes), self.small, I8), self.ints)
            out.append(b.fadd(value, b.fmul(b.sitofp(other, self.floats), gains)))
        return out

    def _store_words(self, sums: list[Any], row: Any) -> None:
        self._put(self._words(sums, row), row, I32)

    def _words(self, sums: list[Any], row: Any) -> list[Any]:
        """The bits of a row of words."""
        b, arg = self.b, self.arg

        def correct(carried: Any) -> Any:
            total = self._splat(self._load(arg["rowsum"], row, I32))
            return [b.sub(s, b.mul(self._vector("col_zero", v, self.ints), total)) for v, s in enumerate(carried)]

        def scale(carried: Any) -> Any:
            low, high, factor = (self._splat(arg[n]) for n in ("low", "high", "factor"))
            out = []
            for v, s in enumerate(carried):
                f = b.fmul(b.sitofp(s, self.floats), b.fmul(factor, self._vector("scale", v, self.floats)))
                f = b.fadd(f, self._vector("bias", v, self.floats))
                out.append(b.bitcast(self._clamp(f, low, high), self.ints))
            return out

        sums = when(b, b.icmp_signed("!=", arg["rowsum"], I64(0)), sums, correct)
        return list(when(b, b.icmp_signed("==", arg["raw"], I64(0)), sums, scale))

    def _put(self, vectors: list[Any], row: Any, elem: Any) -> None:
        """Stores a row of vectors; of the last panel only the columns that there are."""
        b = self.b
        to = b.add(self.arg["y"], b.mul(row, self.arg["pitch"]))
        with b.if_else(self.full) as (whole, part):
            with whole:
                for v, x in enumerate(vectors):
                    b.store(x, self._pointer(to, I64(v * self.lanes), elem), align=1)
            with part:
                for v, x in enumerate(vectors):
                    b.store(x, self._pointer(self.buffer, I64(v * self.lanes), elem), align=1)
                self._copy(to, self.buffer, self.arg["columns"], elem)

    # --- pieces

    def _copy(self, to: Any, source: Any, count: Any, elem: Any) -> None:
        def one(i: Any, carried: Any) -> Any:
            self.b.store(self._load(source, i, elem), self._pointer(to, i, elem), align=1)
            return carried

        loop(self.b, count, [], one)

    def _clamp(self, value: Any, low: Any, high: Any) -> Any:
        # Comparisons in this form are one instruction each; the intrinsics also mind NaN.
        b = self.b
        value = b.select(b.fcmp_ordered(">", value, low), value, low)
        return b.select(b.fcmp_ordered("<", value, high), value, high)

    def _vector(self, name: str, index: int, kind: Any) -> Any:
        return self._load(self.arg[name], I64(index * self.lanes), kind, I32)

    def _splat(self, value: Any) -> Any:
        return splat(self.b, value, self.lanes)

    def _pointer(self, address: Any, index: Any, elem: Any) -> Any:
        return self.b.gep(self.b.inttoptr(address, POINTER), [index], source_etype=elem)

    def _load(self, address: Any, index: Any, kind: Any, elem: Any = None) -> Any:
        return self.b.load(self._pointer(address, index, kind if elem is None else elem), typ=kind, align=1)


class _Depthwise(_Panel):
    """One filter per channel: bytes are widened and multiplied lane by lane."""

    @staticmethod
    def _tile_of(target: Target) -> Int8Tile:
        return depthwise_tile(target)

    def _accumulate(self, bases: list[Any], sums: list[list[Any]]) -> Any:
        b, arg = self.b, self.arg

        def tap(i: Any, carried: Any) -> Any:
            def column(j: Any, inner: Any) -> Any:
                w, sums = inner
                at = b.add(b.mul(i, arg["row_step"]), b.mul(j, arg["col_step"]))
                right = []
                for v in range(self.vectors):
                    right.append(b.sext(self._load(w, I64(v * self.lanes), self.small, I8), self.ints))
                out = []
                for base, row in zip(bases, sums, strict=True):
                    here, made = b.gep(base, [at], source_etype=I8), []
                    for v, acc in enumerate(row):
                        place = b.gep(here, [I64(v * self.lanes)], source_etype=I8)
                        left = b.zext(b.load(place, typ=self.small, align=1), self.ints)
                        made.append(b.add(acc, b.mul(left, right[v])))
                    out.append(made)
                return [b.add(w, I64(self.vectors * self.lanes)), out]

            return loop(b, arg["cols"], carried, column)

        return loop(b, arg["taps"], [arg["w"], sums], tap)[1]


class _Planes(_Panel):
    """Square tiles, which leave transposed: a vector holds one column of neighbouring rows."""

    @staticmethod
    def _tile_of(target: Target) -> Int8Tile:
        return planes_tile(target)

    def _finish(self, sums: list[list[Any]], m: Any, left: Any) -> None:
        b, n = self.b, self.lanes
        rows = []
        for i, row in enumerate(sums):
            rows.append(self._words(row, b.add(m, I64(i)))[0])
        while n > 1:
            rows = [self._interleaved(rows[i // 2], rows[(i + self.lanes) // 2], i % 2) for i in range(self.lanes)]
            n //= 2
        whole = b.icmp_signed(">=", left, I64(self.lanes))
        mask = first_lanes(b, left, self.lanes)
        start = b.add(self.arg["y"], b.mul(m, I64(4)))
        for j, column in enumerate(rows):
            with b.if_then(b.icmp_signed(">", self.arg["columns"], I64(j))):
                place = self._pointer(b.add(start, b.mul(self.arg["pitch"], I64(j))), I64(0), I32)
                with b.if_else(whole) as (full, part):
                    with full:
                        b.store(column, place, align=4)
                    with part:
                        name = f"llvm.masked.store.v{self.lanes}i32.p0"
                        llvm_call(b, name, ir.VoidType(), column, place, I32(4), mask)

    def _interleaved(self, x: Any, y: Any, high: int) -> Any:
        start = high * self.lanes // 2
        order = [start + i // 2 + self.lanes * (i % 2) for i in range(self.lanes)]
        return self.b.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, self.lanes), order))
