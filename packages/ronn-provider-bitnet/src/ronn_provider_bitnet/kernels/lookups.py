"""Products of quantised activations with binary and ternary weights by look-up: exact for every input.

All signed sums that five or six (binary) or three (ternary) activations can give are 16-bit numbers of a table, which
is one vector register or two; a permutation of words looks up 32 rows of weights at once. A lane is a row of weights.
Sums of as many words as 16 bits always hold are added up in 32 bits, chunk after chunk along K: the tables of a chunk,
for a few rows of activations, stay in the first-level cache while all of its weights pass in one stream. Weights are
not asked for ahead: the processor sees the stream by itself, and is slower where it is told.

Look-up tables for sums of activations are T-MAC's idea (Wei et al., 2024), which has tables of bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit

from ronn_codegen.simd import ops
from ronn_codegen.simd.activation import activate
from ronn_codegen.simd.emit import llvm_call, splat
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.scalar import peek
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.tile import (
    I64,
    at,
    broadcast,
    choose,
    emitted,
    i64,
    load,
    loop,
    multiply_add,
    pointer,
    scaled,
    store,
)
from ronn_codegen.simd.types import Vec
from ronn_provider_bitnet.kernels.lookup_layout import (
    APART,
    BINARY,
    LANES,
    LINES,
    ROWS,
    TABLE,
    TOGETHER,
    VECTORS,
    Form,
    tile_rows,
)

_HALVES, _BYTES = ir.VectorType(ir.IntType(16), LANES), ir.VectorType(ir.IntType(8), 2 * LANES)
_HALF, _SIGNED = Vec("i16", LANES), Vec("i8", 2 * LANES)
_INT, _FLOAT = Vec("i32", LANES // 2), Vec("f32", LANES // 2)


class Lookups:
    """Emits tables, and the sums over the words of a chunk."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.word = form.tables * TABLE  # bytes of the tables of a word
        self.shifted = form.first < 0
        """Whether activations are made unsigned and digits are signed: else digits are unsigned."""
        self.tables: list[list[tuple[int, Any]]] = []
        """For each table the pairs of neighbouring bytes of a word (at an even offset) and what to multiply them by."""
        for field, start in enumerate(form.starts):
            digits = form.digits(field) + form.first
            pairs = []
            for offset in range(start - start % 2, start + form.fields[field], 2):
                own = [digits[:, i - start] if 0 <= i - start < digits.shape[1] else 0 * digits[:, 0]
                       for i in (offset, offset + 1)]  # fmt: skip
                pairs.append((offset, np.stack(own, axis=1)))
            for entries in range(0, len(digits), LANES):
                self.tables.append([(offset, own[entries : entries + LANES]) for offset, own in pairs])

    def memory(self, b: Any, lines: int) -> tuple[Any, Any]:
        """Where ``fill`` puts tables and, if need be, activations: places on the stack."""
        made = []
        for count in (lines * self.form.most * self.form.tables, self._vectors(self.form.most) + 1):
            place = b.alloca(ir.ArrayType(_HALVES, count))
            place.align = TABLE
            made.append(pointer(b, b.ptrtoint(place, I64)))
        return made[0], made[1]

    def _vectors(self, words: int) -> int:
        return -(-words * self.form.step // TABLE)

    def fill(self, b: Any, tables: Any, other: Any, words: Any, lines: list[Any]) -> None:
        """The tables of ``words`` words of the activations at ``lines``: [words, lines, tables, 32]. Whole vectors of
        activations are read, up to 63 bytes more than the words have."""
        for i, line in enumerate(lines):
            if self.shifted:
                vectors = b.udiv(b.add(b.mul(words, i64(self.form.step)), i64(TABLE - 1)), i64(TABLE))

                def unsigned(j: Any, _: Any, line: Any = line) -> list[Any]:
                    offset = b.mul(j, i64(TABLE))
                    given = load(b, _SIGNED, at(b, line, offset))
                    store(b, _SIGNED, b.xor(given, _fixed([0x80] * 2 * LANES, 8)), at(b, other, offset))
                    return []

                loop(b, vectors, [], unsigned)
                line = other

            def word(_: Any, carried: Any, i: int = i) -> Any:
                place, a = carried
                for j, table in enumerate(self._tables(b, a)):
                    store(b, _HALF, table, at(b, place, i * self.word + j * TABLE))
                return at(b, place, len(lines) * self.word), at(b, a, self.form.step)

            loop(b, words, [tables, line], word)

    def _tables(self, b: Any, a: Any) -> list[Any]:
        """The tables of one word, from the bytes at ``a``."""
        offsets = sorted({offset for table in self.tables for offset, _ in table})
        pairs = {o: b.bitcast(broadcast(b, _HALF, at(b, a, o)), _BYTES) for o in offsets}
        return [self._sums(b, [(pairs[offset], own) for offset, own in table]) for table in self.tables]

    def _sums(self, b: Any, factors: list[tuple[Any, Any]]) -> Any:
        total = None
        for pair, own in factors:
            fixed = _fixed(own.reshape(-1).tolist(), 8)
            operands = (pair, fixed) if self.shifted else (fixed, pair)
            product = llvm_call(b, "llvm.x86.avx512.pmaddubs.w.512", _HALVES, *operands)
            total = product if total is None else b.add(total, product)
        if self.shifted:
            total = b.sub(total, _fixed((128 * sum(own.sum(axis=1) for _, own in factors)).tolist(), 16))
        return total

    def sums(self, b: Any, w: Any, tables: Any, words: Any, lines: int) -> tuple[Any, list[list[Any]]]:
        """Where the words end, and i16 [lines, vectors] sums over ``words`` words from ``w`` on."""
        start = [[ir.Constant(_HALVES, None) for _ in range(VECTORS)] for _ in range(lines)]

        def word(_: Any, carried: Any) -> Any:
            w, place, sums = carried
            sums, last = list(sums), None
            given = [load(b, _HALF, at(b, w, v * TABLE)) for v in range(VECTORS)]
            table = 0
            for width, shift in zip(self.form.widths, self.form.shifts, strict=True):
                numbers = [b.lshr(g, _fixed([shift] * LANES, 16)) if shift else g for g in given]
                count = (1 << width) // LANES
                for line in range(lines):
                    found = [load(b, _HALF, at(b, place, line * self.word + (table + i) * TABLE)) for i in range(count)]
                    if last is not None:
                        *sums[last], found[0] = _in_order(b, [*sums[last], found[0]])
                    sums[line] = [b.add(s, _look_up(b, found, n)) for s, n in zip(sums[line], numbers, strict=True)]
                    last = line if lines > 1 else None
                table += count
            return at(b, w, VECTORS * TABLE), at(b, place, lines * self.word), sums

        end, _, sums = loop(b, words, [w, tables, start], word)
        return end, sums


def _in_order(b: Any, values: list[Any]) -> list[Any]:
    """The same values, none of which is known before all are: what needs one stays behind what makes the others."""
    kinds = [v.type for v in values]
    marks = ",".join(["=v"] * len(values) + [str(i) for i in range(len(values))])
    code = ir.InlineAsm(ir.FunctionType(ir.LiteralStructType(kinds), kinds), "", marks)
    made = b.call(code, values)
    return [b.extract_value(made, i) for i in range(len(values))]


def _look_up(b: Any, tables: list[Any], numbers: Any) -> Any:
    """Entries of one table, or of two; the upper bits of numbers do not count."""
    if len(tables) == 1:
        return llvm_call(b, "llvm.x86.avx512.permvar.hi.512", _HALVES, tables[0], numbers)
    return llvm_call(b, "llvm.x86.avx512.vpermi2var.hi.512", _HALVES, tables[0], numbers, tables[1])


def _fixed(numbers: list[int], bits: int) -> Any:
    kind = ir.VectorType(ir.IntType(bits), len(numbers))
    if len(set(numbers)) == 1:
        return splat(None, ir.Constant(kind.element, numbers[0]), len(numbers))
    return ir.Constant(kind, [n % (1 << bits) for n in numbers])


def _chunk(form: Form, planes: int, grouped: bool) -> Any:
    """The intrinsic (which, first, words, a, plane, a_row, zeros, zeros_plane, zeros_row, packed, panels, sums): the
    products of a chunk's words, of ``tile_rows[which]`` rows of activations, in so many panels, are added to ``sums``
    [panels, rows, 128], or put there where they are the ``first``. Strides in bytes."""
    lookups = Lookups(form)

    def emit(
        b: Any, which: Any, first: Any, words: Any, a: Any, plane: Any, a_row: Any, zeros: Any, zeros_plane: Any,
        zeros_row: Any, packed: Any, panels: Any, sums: Any,
    ) -> None:  # fmt: skip
        tables, other = lookups.memory(b, LINES)
        fresh = b.icmp_signed("!=", first, I64(0))

        def places(base: Any, row: Any, plane_stride: Any, rows: int) -> list[Any]:
            start = pointer(b, base)
            return [at(b, at(b, start, scaled(b, row, r)), scaled(b, plane_stride, p))
                    for r in range(rows) for p in range(planes)]  # fmt: skip

        def wide(value: Any, half: int) -> Any:
            lanes = list(range(half * LANES // 2, (half + 1) * LANES // 2))
            order = ir.Constant(ir.VectorType(ir.IntType(32), LANES // 2), lanes)
            return b.sext(b.shuffle_vector(value, ir.Constant(_HALVES, ir.Undefined), order), _INT.llvm)

        def rows_of(rows: int) -> None:
            lines = places(a, a_row, plane, rows)
            lookups.fill(b, tables, other, words, lines)
            less = [broadcast(b, _INT, p) for p in places(zeros, zeros_row, zeros_plane, rows)] if grouped else []

            def total(found: list[list[Any]], r: int, v: int) -> Any:
                parts = [wide(row[v // 2], v % 2) for row in found[r * planes : (r + 1) * planes]]
                if grouped and form is BINARY:
                    parts = [b.sub(b.add(x, x), y) for x, y in zip(parts, less[r * planes :], strict=False)]
                return parts[0] if planes == 1 else b.add(b.shl(parts[0], _fixed([8] * _INT.lanes, 32)), parts[1])

            def put(found: list[list[Any]], facts: Any, to: Any, add: bool) -> None:
                kind = _FLOAT if grouped else _INT
                for r in range(rows):
                    for v in range(2 * VECTORS):
                        place, value = at(b, to, (r * 2 * VECTORS + v) * TABLE), total(found, r, v)
                        old = load(b, kind, place) if add else ir.Constant(kind.llvm, None)
                        if grouped:
                            factor = load(b, kind, at(b, facts, v * TABLE))
                            value = multiply_add(b, kind, b.sitofp(value, kind.llvm), factor, old)
                        elif add:
                            value = b.add(value, old)
                        store(b, kind, value, place)

            def panel(_: Any, carried: Any) -> Any:
                facts, to = carried
                w, found = lookups.sums(b, at(b, facts, 4 * ROWS) if grouped else facts, tables, words, len(lines))
                with b.if_else(fresh) as (new, more):
                    with new:
                        put(found, facts, to, False)
                    with more:
                        put(found, facts, to, True)
                return w, at(b, to, 4 * ROWS * rows)

            loop(b, panels, [pointer(b, packed), pointer(b, sums)], panel)

        choose(b, which, [partial(rows_of, rows) for rows in tile_rows(planes)])

    return emitted(f"lookups_{form.name}_{planes}_{int(grouped)}", " ".join(["i64"] * 12), emit)


def products(target: Target, form: Form, planes: int, grouped: bool) -> Callable[..., None]:
    chunk, finish = _chunk(form, planes, grouped), activate(target.lanes(32))
    heights = tile_rows(planes)
    most, top, step = form.most, heights[-1], form.step
    binary, lanes = form is BINARY, target.lanes(32)
    ints, floats = VectorType("i32", lanes), VectorType("f32", lanes)
    load_ints, load, put, put_first = ints.load, floats.load, floats.store, floats.store_first
    splat_float, splat_int, number, real = floats.splat, ints.splat, peek("i32"), peek("f32")
    to_float, fma = ops.convert("f32"), ops.fma

    @njit(error_model="numpy", nogil=True)
    def scale_row(sums: Any, stride: Any, y: Any, count: Any, factors: Any, bias: Any, step: Any, zero: Any) -> None:
        """A row of y from its sums, 128 of which lie together."""
        for p in range((count + ROWS - 1) // ROWS):
            for v in range(ROWS // lanes):
                i = p * ROWS + v * lanes
                place, left = p * stride + v * lanes, count - i
                if grouped:
                    value = load(sums, place)
                else:
                    total = load_ints(sums, place)
                    if binary:
                        total = total + total - splat_int(np.int32(zero))
                    value = to_float(total) * load(factors, i)
                value = fma(value, splat_float(step), load(bias, i))
                if left >= lanes:
                    put(y, i, value)
                elif left > 0:
                    put_first(y, i, value, left)

    @njit(error_model="numpy", nogil=True)
    def run(
        a: Any, m: Any, groups: Any, words: Any, wide: Any, n: Any, packed: Any, factors: Any, zeros: Any, scale: Any,
        bias: Any, sums: Any, y: Any, mode: Any, p0: Any, p1: Any, worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        panels, tiles = (n + ROWS - 1) // ROWS, (m + top - 1) // top
        first_row, last_row, first_panel, last_panel = 0, m, 0, panels
        if tiles >= APART * workers:
            first_row, last_row = tiles * worker // workers * top, min(tiles * (worker + 1) // workers * top, m)
            sums += worker * min(TOGETHER, (tiles + workers - 1) // workers * top) * panels * ROWS * 4
        else:
            first_panel, last_panel = panels * worker // workers, panels * (worker + 1) // workers
        begin = first_panel * ROWS
        count = min(last_panel * ROWS, n) - begin
        if count <= 0:
            return
        line = groups * wide
        facts = 4 * ROWS if grouped else 0
        chunks = groups if grouped else (words + most - 1) // most
        for start in range(first_row, last_row, TOGETHER):
            stop = min(start + TOGETHER, last_row)
            at_chunk = packed
            for c in range(chunks):
                now = words if grouped else min(most, words - c * most)
                size = facts + now * VECTORS * TABLE
                k = c * wide if grouped else c * most * step
                row = start
                while row < stop:
                    which = len(heights) - 1
                    while heights[which] > stop - row:
                        which -= 1
                    rows = heights[which]
                    to = sums + 4 * ROWS * ((row - start) * panels + first_panel * rows)
                    chunk(which, c == 0, now, a + row * line + k, m * line, line, zeros + 4 * (row * groups + c),
                          4 * m * groups, 4 * groups, at_chunk + first_panel * size, last_panel - first_panel,
                          to)  # fmt: skip
                    row += rows
                at_chunk += panels * size
            row = start
            while row < stop:
                which = len(heights) - 1
                while heights[which] > stop - row:
                    which -= 1
                rows = heights[which]
                for r in range(rows):
                    zero = 0
                    if binary and not grouped:
                        zero = number(zeros, row + r)
                        if planes == 2:
                            zero = 256 * zero + number(zeros, m + row + r)
                    at_sums = sums + 4 * ROWS * ((row - start) * panels + first_panel * rows + r)
                    scale_row(at_sums, ROWS * rows, y + 4 * ((row + r) * n + begin), count, factors + 4 * begin,
                              bias + 4 * begin, real(scale, row + r), zero)  # fmt: skip
                row += rows
            if mode != 0:
                finish(mode, y + 4 * (start * n + begin), n, stop - start, count, p0, p1)

    made: Callable[..., None] = run
    return made
