"""Scattering: updates written to computed positions of a tensor, which ``y`` already holds a copy of. Positions are
checked as in ``gather``. Updates of one place are applied in their order: shares are places that no other share has.

``how`` says what becomes of an update: 0 stores it, else ``16 * (1 + reduction) + kind``, which are places in
``REDUCTIONS`` and ``REDUCTION_KINDS`` of ``ronn_codegen.templates.jobs``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ronn_codegen.native.declare import native
from ronn_codegen.simd import tile as t
from ronn_codegen.simd.emit import Builder, llvm_call
from ronn_codegen.simd.scalar import peek, poke
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.types import Vec
from ronn_codegen.templates.copy import copy_run
from ronn_codegen.templates.gather import coordinates, index_at, move, row_start
from ronn_codegen.templates.jobs import REDUCTION_KINDS, REDUCTIONS
from ronn_codegen.templates.transpose import load, store

_flag, _at, _at32 = poke("i64"), peek("i64"), peek("i32")


def _reduced(builder: Builder, reduction: str, kind: str, old: Any, new: Any, wide: str = "") -> Any:
    """``wide``: the name of a vector type of floats, where the operands are such."""
    floating, signed = kind[0] == "f", kind[0] == "i"
    if reduction == "add":
        return builder.fadd(old, new) if floating else builder.add(old, new)
    if reduction == "mul":
        return builder.fmul(old, new) if floating else builder.mul(old, new)
    name = {"max": "maximum", "min": "minimum"}[reduction] if floating else f"{'s' if signed else 'u'}{reduction}"
    of = wide if wide else f"{kind[0] if floating else 'i'}{kind[1:]}"
    return llvm_call(builder, f"llvm.{name}.{of}", old.type, old, new)


@intrinsic
def update(typing: Any, how: Any, x: Any, y: Any) -> Any:
    """The element at y becomes its reduction with the one at x; ``how`` is not 0."""

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
        end = builder.append_basic_block("updated")
        choice = builder.switch(args[0], end)
        for i, reduction in enumerate(REDUCTIONS):
            for j, kind in enumerate(REDUCTION_KINDS):
                block = builder.append_basic_block("update")
                choice.add_case(ir.Constant(ir.IntType(64), 16 * (1 + i) + j), block)
                builder.position_at_end(block)
                bits = int(kind[1:])
                llvm = {"f32": ir.FloatType(), "f64": ir.DoubleType()}.get(kind, ir.IntType(bits))
                old, new = load(builder, args[2], llvm), load(builder, args[1], llvm)
                store(builder, _reduced(builder, reduction, kind, old, new), args[2])
                builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


def _update_vectors(lanes: int) -> Any:
    """``fn(reduction, x, y, count)``: ``count`` vectors of float32 at y become their reduction with those at x."""
    vec, wide = Vec("f32", lanes), f"v{lanes}f32"

    def emit(builder: Builder, number: Any, x: Any, y: Any, count: Any) -> None:
        start, to = t.pointer(builder, x), t.pointer(builder, y)

        def reduce(reduction: str) -> None:
            def one(i: Any, carried: Any) -> Any:
                offset = t.scaled(builder, i, 4 * lanes)
                place = t.at(builder, to, offset)
                old, new = t.load(builder, vec, place), t.load(builder, vec, t.at(builder, start, offset))
                t.store(builder, vec, _reduced(builder, reduction, "f32", old, new, wide), place)
                return carried

            t.loop(builder, count, [], one)

        t.choose(builder, number, [partial(reduce, r) for r in REDUCTIONS])

    return t.emitted("update_vectors", "i64 i64 i64 i64", emit)


@native(
    "scatter_elements(updates, indices, y, status, wide, how, size, axis, stride, table, rank, rows, n, step, parts)"
)
def scatter_elements(target: Target) -> Callable[..., None]:
    """y[... indices[i] ...] takes updates[i], for ``rows`` rows of n elements of ``size`` bytes; see
    ``gather_elements``. The rows fall into ``parts`` equal parts that have no place in common."""

    def run(
        updates: int, indices: int, y: int, status: int, wide: int, how: int, size: int, axis: int, stride: int,
        table: int, rank: int, rows: int, n: int, step: int, parts: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        part = rows // parts
        for row in range(part * (parts * worker // workers), part * (parts * (worker + 1) // workers)):
            start = y + row_start(row, table, rank)
            for j in range(n):
                found = index_at(indices, row * n + j, wide, axis)
                if found < 0:
                    _flag(status, 0, 1)
                    continue
                source, place = updates + (row * n + j) * size, start + j * step + found * stride
                if how == 0:
                    move(size, source, place)
                else:
                    update(how, source, place)

    return njit(error_model="numpy", nogil=True)(run)


@native("scatter_nd(updates, indices, y, status, wide, how, size, depth, table, rows, inner)")
def scatter_nd(target: Target) -> Callable[..., None]:
    """The row of y at the coordinates indices[r, depth] takes row r of the updates: ``inner`` elements of ``size``
    bytes, of which each share takes a range."""
    runs, place = copy_run(target), coordinates()
    lanes = target.lanes(32)
    update_vectors, floats = _update_vectors(lanes), REDUCTION_KINDS.index("f32")

    def run(
        updates: int, indices: int, y: int, status: int, wide: int, how: int, size: int, depth: int, table: int,
        rows: int, inner: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        first, last = inner * worker // workers, inner * (worker + 1) // workers
        for row in range(rows):
            found = place(indices, row, depth, wide, table)
            if found < 0:
                _flag(status, 0, 1)
            elif how == 0:
                runs(updates + (row * inner + first) * size, 0, y + found + first * size, 0, 1, (last - first) * size)
            else:
                whole = (last - first) // lanes if how & 15 == floats else 0
                source, to = updates + (row * inner + first) * size, y + found + first * size
                update_vectors((how >> 4) - 1, source, to, whole)
                for j in range(whole * lanes, last - first):
                    update(how, source + j * size, to + j * size)

    return njit(error_model="numpy", nogil=True)(run)


@native("tensor_scatter(updates, starts, y, status, wide, circular, batches, outer, axis, length, inner)")
def tensor_scatter(target: Target) -> Callable[..., None]:
    """updates[batches, outer, length, inner] written to y[batches, outer, axis, inner] from starts[batch] on (from 0
    where ``starts`` is 0), past the end or, ``circular``, round it; ``inner`` in bytes."""
    runs = copy_run(target)

    def run(
        updates: int, starts: int, y: int, status: int, wide: int, circular: int, batches: int, outer: int, axis: int,
        length: int, inner: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        units = batches * outer
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            start = 0
            if starts:
                start = _at(starts, unit // outer) if wide else _at32(starts, unit // outer)
            if circular == 0 and (start < 0 or start + length > axis):
                _flag(status, 0, 1)
                continue
            for i in range(length):
                t = (start + i) % axis
                runs(updates + (unit * length + i) * inner, 0, y + (unit * axis + t) * inner, 0, 1, inner)

    return njit(error_model="numpy", nogil=True)(run)
