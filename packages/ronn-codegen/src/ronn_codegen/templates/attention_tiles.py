"""Pieces of attention that stay in registers: products, the packing of keys, the softmax of a row."""

from __future__ import annotations

from functools import partial
from typing import Any

from llvmlite import ir

from ronn_codegen.simd import elementary
from ronn_codegen.simd.emit import EMIT, I32, splat, tree
from ronn_codegen.simd.tile import (
    Panel,
    Rows,
    TileShape,
    at,
    choose,
    each,
    emitted,
    i64,
    load,
    loop,
    mask_of,
    outer_products,
    pointer,
    store,
    when,
    zeros,
)  # fmt: skip
from ronn_codegen.simd.types import Vec
from ronn_codegen.simd.vectors import Vector, fma, largest, select
from ronn_codegen.templates.attention_layout import Blocks


def products(blocks: Blocks, vectors: int) -> Any:
    """The intrinsic (rows, steps, a, a_row, b, b_step, out, out_row, more): out[rows, columns] = a[rows, steps] @
    b[steps, columns], added to what is there with ``more``. rows <= ``blocks.rows``; strides in bytes."""

    def emit(
        b: Any, rows: Any, steps: Any, a: Any, a_row: Any, panel: Any, b_step: Any, out: Any, out_row: Any, more: Any
    ) -> None:
        def emit_rows(count: int) -> None:
            shape = TileShape(count, vectors, blocks.lanes)
            vec, across, to = shape.vec, 4 * blocks.lanes, pointer(b, out)

            def old(sums: Any) -> Any:
                return each(b, sums, to, out_row, across, lambda value, place, _: load(b, vec, place))

            tile = when(b, b.icmp_signed("!=", more, i64(0)), zeros(shape), old)
            factors, right = Rows(pointer(b, a), a_row, 4), Panel(pointer(b, panel), b_step)
            tile = outer_products(b, shape, steps, factors, right, tile)

            def put(value: Any, place: Any, _: int) -> Any:
                store(b, vec, value, place)
                return value

            each(b, tile, to, out_row, across, put)

        choose(b, b.sub(rows, i64(1)), [partial(emit_rows, i + 1) for i in range(blocks.rows)])

    return emitted(f"attention_products_{vectors}", " ".join(["i64"] * 9), emit)


def transposed(b: Any, rows: list[Any], lanes: int) -> list[Any]:
    """``lanes`` vectors as the columns of the square that they are."""
    step = 1
    while step < lanes:
        new = list(rows)
        for i in range(lanes):
            if i & step:
                continue
            first, second = rows[i], rows[i + step]
            low = [n if not n & step else lanes + n - step for n in range(lanes)]
            high = [n + step if not n & step else lanes + n for n in range(lanes)]
            new[i], new[i + step] = (
                b.shuffle_vector(first, second, ir.Constant(ir.VectorType(I32, lanes), order)) for order in (low, high)
            )
        rows = new
        step *= 2
    return rows


def key_packing(blocks: Blocks) -> Any:
    """The intrinsic (k, k_row, count, size, to): keys k[count, size], rows k_row bytes apart, to
    to[panels][size, padded to vectors][columns]; keys beyond ``count`` up to whole vectors are the last."""
    lanes, vectors = blocks.lanes, blocks.vectors
    vec, line = Vec("f32", lanes), 4 * blocks.columns

    def emit(b: Any, k: Any, k_row: Any, count: Any, size: Any, to: Any) -> None:
        base, out = pointer(b, k), pointer(b, to)
        whole = b.sdiv(size, i64(lanes))
        rest = b.sub(size, b.mul(whole, i64(lanes)))
        depth = b.add(whole, b.zext(b.icmp_signed(">", rest, i64(0)), i64(0).type))
        panel_bytes = b.mul(depth, i64(lanes * line))
        last = b.sub(count, i64(1))

        def group(number: Any, _: Any) -> Any:
            first = b.mul(number, i64(lanes))
            rows = []
            for i in range(lanes):
                key = b.add(first, i64(i))
                key = b.select(b.icmp_signed("<", key, last), key, last)
                rows.append(at(b, base, b.mul(key, k_row)))
            panel = b.sdiv(number, i64(vectors))
            inside = b.sub(number, b.mul(panel, i64(vectors)))
            place = b.add(b.mul(panel, panel_bytes), b.mul(inside, i64(4 * lanes)))

            def square(part: Any, mask: Any) -> None:
                columns = transposed(
                    b, [load(b, vec, at(b, row, b.mul(part, i64(4 * lanes))), mask) for row in rows], lanes
                )
                start = at(b, at(b, out, place), b.mul(part, i64(lanes * line)))
                for i, column in enumerate(columns):
                    store(b, vec, column, at(b, start, i * line))

            def full(part: Any, carried: Any) -> Any:
                square(part, None)
                return carried

            loop(b, whole, [], full)

            def tail(carried: Any) -> Any:
                square(whole, mask_of(b, rest, lanes))
                return carried

            when(b, b.icmp_signed(">", rest, i64(0)), [], tail)
            return []

        loop(b, b.sdiv(b.add(count, i64(lanes - 1)), i64(lanes)), [], group)

    return emitted("attention_pack_keys", "i64 i64 i64 i64 i64", emit)


# --- softmax


# As ``elementary.exp``: a minimax polynomial on half an octave.
_EXP = (1.0, 1.0, 0.5, 0.16666512191295624, 0.0416661873459816, 0.008369598537683487, 0.0013951718574389815)


def _exp_of_negative(x: Vector) -> Vector:
    """e ** x for x <= 0, and 0 instead of subnormal results."""
    shifted = fma(x, 1.4426950408889634, 1.5 * 2.0**23)  # the nearest integer is in the low bits
    n = shifted - 1.5 * 2.0**23
    r = fma(n, 2.1219444005469057e-4, fma(n, -0.693359375, x))
    y = elementary.horner(r, _EXP)
    scaled = (y.as_("i32") + (shifted.as_("i32") << 23)).as_("f32")
    return select(x < -87.0, 0.0, scaled)


def softmax_row(lanes: int) -> Any:
    """The intrinsic (s, count, scale, cap, mask, kind, state) for the scores s[count] of one query.

    They become s * scale, bounded by ``cap`` (0: not), with the mask (``MASK_ADDED`` numbers, ``MASK_BOOLEAN`` bytes
    that keep), and then exponentials below the running maximum state[0]; those up to the next whole vector are 0.
    state[1], the sum, is updated; state[2] becomes the factor for what was summed before.
    """
    vec, small = Vec("f32", lanes), Vec("u8", lanes)

    def emit(b: Any, s: Any, count: Any, scale: Any, cap: Any, mask: Any, kind: Any, state: Any) -> None:
        scores, looked, states = (pointer(b, address) for address in (s, mask, state))
        whole = b.sdiv(count, i64(lanes))
        rest = b.sub(count, b.mul(whole, i64(lanes)))
        vectors = b.sdiv(b.add(count, i64(lanes - 1)), i64(lanes))
        zero = ir.Constant(ir.FloatType(), 0.0)

        def place(index: Any) -> Any:
            return at(b, scores, b.mul(index, i64(4 * lanes)))

        def wide(value: Any) -> Vector:
            return Vector(b, vec, splat(b, value, lanes))

        def vector(index: Any) -> Vector:
            return Vector(b, vec, load(b, vec, place(index)))

        def scaled(carried: Any) -> Any:
            def body(index: Any, inner: Any) -> Any:
                store(b, vec, (vector(index) * wide(scale)).value, place(index))
                return inner

            loop(b, vectors, [], body)
            return [ir.Constant(ir.FloatType(), 1.0)]

        def bounded() -> None:
            def body(index: Any, carried: Any) -> Any:
                limit = wide(cap)
                store(b, vec, (elementary.tanh(vector(index) / limit) * limit).value, place(index))
                return carried

            when(b, b.fcmp_ordered(">", cap, zero), [], lambda carried: loop(b, vectors, carried, body))

        def masked(boolean: bool) -> None:
            def keep(index: Any, lanes_of: Any) -> None:
                if boolean:
                    bytes_ = load(b, small, at(b, looked, b.mul(index, i64(lanes))), lanes_of)
                    kept = b.icmp_unsigned("!=", bytes_, ir.Constant(small.llvm, None))
                    value = Vector(b, vec, b.select(kept, vector(index).value, wide(_infinite(b)).value))
                else:
                    added = load(b, vec, at(b, looked, b.mul(index, i64(4 * lanes))), lanes_of)
                    value = vector(index) + Vector(b, vec, added)
                store(b, vec, value.value, place(index))

            def body(index: Any, carried: Any) -> Any:
                keep(index, None)
                return carried

            def tail(carried: Any) -> Any:
                keep(whole, mask_of(b, rest, lanes))
                return carried

            loop(b, whole, [], body)
            when(b, b.icmp_signed(">", rest, i64(0)), [], tail)

        # A positive scale alone is applied on the way.
        plain = b.and_(b.icmp_signed("==", kind, i64(0)), b.fcmp_ordered("==", cap, zero))
        plain = b.and_(plain, b.fcmp_ordered(">", scale, zero))
        (left,) = when(b, b.not_(plain), [scale], scaled)
        bounded()
        choose(b, kind, [lambda: None, partial(masked, False), partial(masked, True)])

        def close(carried: Any) -> Any:
            last = b.select(mask_of(b, rest, lanes), vector(whole).value, wide(_infinite(b)).value)
            store(b, vec, last, place(whole))
            return carried

        when(b, b.icmp_signed(">", rest, i64(0)), [], close)
        least = wide(_infinite(b)).value

        def higher(index: Any, peaks: Any) -> Any:
            return largest(vector(index), Vector(b, vec, peaks)).value

        peaks = loop(b, vectors, least, higher)
        top = tree(b, vec, peaks, lambda _, __, pair: b.select(b.fcmp_ordered(">", *pair), *pair))
        top = b.fmul(top, left)
        old = b.load(states, typ=ir.FloatType(), align=4)
        top = b.select(b.fcmp_ordered(">", top, old), top, old)
        base = b.select(b.fcmp_ordered("==", top, _infinite(b)), zero, top)
        low = wide(base)

        def exponential(index: Any, totals: Any) -> Any:
            e = _exp_of_negative(fma(vector(index), wide(left), -low))
            store(b, vec, e.value, place(index))
            return (Vector(b, vec, totals) + e).value

        totals = loop(b, vectors, ir.Constant(vec.llvm, None), exponential)
        factor = b.extract_element(_exp_of_negative(wide(old) - low).value, ir.Constant(I32, 0))
        before = b.load(at(b, states, 4), typ=ir.FloatType(), align=4)
        total = b.fadd(b.fmul(before, factor), tree(b, vec, totals, EMIT["add"]))
        b.store(top, states, align=4)
        b.store(total, at(b, states, 4), align=4)
        b.store(factor, at(b, states, 8), align=4)

    return emitted("attention_softmax", "i64 i64 f32 f32 i64 i64 i64", emit)


def _infinite(b: Any) -> Any:
    return ir.Constant(ir.FloatType(), float("-inf"))
