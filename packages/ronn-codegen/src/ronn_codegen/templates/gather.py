"""Gathering: rows or elements of a tensor at computed positions. Positions are checked: one out of range sets the word
at ``status``. ``wide`` tells indices of int64 from those of int32; sizes and strides are in bytes.

Elements of every type are moved as so many bytes, so each kernel serves all types.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from ronn_codegen.native.declare import native
from ronn_codegen.simd.emit import Builder
from ronn_codegen.simd.scalar import peek, poke
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.tile import choose_value
from ronn_codegen.templates.copy import SIZES, copy_run
from ronn_codegen.templates.transpose import by_size, emit_move, load

_jit = njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
_at, _flag = peek("i64"), poke("i64")
_at32 = peek("i32")
_I64 = ir.IntType(64)
move = by_size(SIZES, 2, emit_move)
"""``(size, x, y)``: copies an element of ``size`` bytes."""


@_jit
def index_at(indices: int, i: int, wide: int, size: int) -> int:
    """Index i counted from the front; -1 where it is not in ``[-size, size - 1]``."""
    found = _at(indices, i) if wide else _at32(indices, i)
    if found < 0:
        found += size
    return found if 0 <= found < size else -1


@intrinsic
def line(
    typing: Any, size: Any, wide: Any, x: Any, indices: Any, y: Any, axis: Any, stride: Any, step: Any, n: Any
) -> Any:
    """y[j] = x[j * step + indices[j] * stride] for n elements of ``size`` bytes; indices are of an axis of ``axis``
    elements, at least one. Returns whether one was out of range: in its place is the first."""

    def element(builder: Builder, size: int, wide: bool, args: Any, j: Any) -> Any:
        """Moves element j; 1 where its index is out of range, else 0."""
        x, indices, y, axis, stride, step, _ = args
        place = builder.add(indices, builder.mul(j, _I64(8 if wide else 4)))
        found = load(builder, place, _I64 if wide else ir.IntType(32))
        if not wide:
            found = builder.sext(found, _I64)
        behind = builder.icmp_signed("<", found, _I64(0))
        found = builder.select(behind, builder.add(found, axis), found)
        fine = builder.icmp_unsigned("<", found, axis)
        source = builder.add(builder.mul(j, step), builder.mul(builder.select(fine, found, _I64(0)), stride))
        emit_move(builder, size, (builder.add(x, source), builder.add(y, builder.mul(j, _I64(size)))))
        return builder.select(fine, _I64(0), _I64(1))

    def emit(builder: Builder, size: int, wide: bool, args: Any) -> Any:
        bad = cgutils.alloca_once_value(builder, _I64(0))
        fours = builder.and_(args[6], _I64(-4))
        for first, end, many in ((_I64(0), fours, 4), (fours, args[6], 1)):
            with cgutils.for_range_slice(builder, first, end, _I64(many)) as (j, _):
                wrong = builder.load(bad, typ=_I64)
                for k in range(many):
                    wrong = builder.or_(wrong, element(builder, size, wide, args, builder.add(j, _I64(k))))
                builder.store(wrong, bad)
        return builder.load(bad, typ=_I64)

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
        which = builder.add(builder.shl(args[0], _I64(1)), builder.and_(args[1], _I64(1)))
        cases = {2 * s + w: partial(emit, builder, s, w, args[2:]) for s in SIZES for w in (False, True)}
        return choose_value(builder, which, cases, _I64(0))

    return types.int64(*[types.intp] * 9), generate


@_jit
def row_start(row: int, table: int, rank: int) -> int:
    """Where row number ``row`` starts. ``table`` holds (size, stride) of ``rank`` dims, outermost first."""
    at = 0
    for d in range(rank - 1, -1, -1):
        size = _at(table, 2 * d)
        at += row % size * _at(table, 2 * d + 1)
        row //= size
    return at


@native("gather(x, indices, y, status, wide, outer, axis, count, inner, block)")
def gather(target: Target) -> Callable[..., None]:
    """y[outer, count, inner] = x[outer, axis, inner] at indices[count]; rows are copied ``block`` bytes at a time."""
    runs = copy_run(target)

    def run(
        x: int, indices: int, y: int, status: int, wide: int, outer: int, axis: int, count: int, inner: int, block: int,
        worker: int, workers: int,
    ) -> None:  # fmt: skip
        if axis == 0:
            _flag(status, 0, 1)
            return
        if inner == 1 or inner == 2 or inner == 4 or inner == 8 or inner == 16:
            at, end = outer * count * worker // workers, outer * count * (worker + 1) // workers
            while at < end:  # as far as the row of indices goes
                o, i = at // count, at % count
                n = min(count - i, end - at)
                table, first = x + o * axis * inner, indices + i * (8 if wide else 4)
                if line(inner, wide, table, first, y + at * inner, axis, inner, 0, n):
                    _flag(status, 0, 1)
                at += n
            return
        pieces = (inner + block - 1) // block
        units = outer * count * pieces
        first, last = units * worker // workers, units * (worker + 1) // workers
        rest, piece = first // pieces, first % pieces
        o, i = rest // count, rest % count
        for _ in range(first, last):
            found = index_at(indices, i, wide, axis)
            if found < 0:
                _flag(status, 0, 1)
            else:
                at = piece * block
                source, place = x + (o * axis + found) * inner + at, y + (o * count + i) * inner + at
                runs(source, 0, place, 0, 1, min(block, inner - at))
            piece += 1
            if piece == pieces:
                piece = 0
                i += 1
                if i == count:
                    i = 0
                    o += 1

    return njit(error_model="numpy", nogil=True)(run)


@native("gather_elements(x, indices, y, status, wide, size, axis, stride, table, rank, rows, n, step)")
def gather_elements(target: Target) -> Callable[..., None]:
    """y[i] = x[... indices[i] ...] for ``rows`` rows of n elements of ``size`` bytes. Row r starts in x where ``table``
    says, its elements lie ``step`` apart, and an index moves by ``stride``."""

    def run(
        x: int, indices: int, y: int, status: int, wide: int, size: int, axis: int, stride: int, table: int, rank: int,
        rows: int, n: int, step: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        if axis == 0:
            _flag(status, 0, 1)
            return
        for row in range(rows * worker // workers, rows * (worker + 1) // workers):
            start, at = x + row_start(row, table, rank), row * n
            if line(size, wide, start, indices + at * (8 if wide else 4), y + at * size, axis, stride, step, n):
                _flag(status, 0, 1)

    return njit(error_model="numpy", nogil=True)(run)


@cache
def coordinates() -> Callable[..., int]:
    """``fn(indices, row, depth, wide, table)``: the sum of ``depth`` indices times their strides; -1 where one is out
    of range. ``table`` holds (size, stride) of the dims."""

    @_jit
    def fn(indices: int, row: int, depth: int, wide: int, table: int) -> int:
        at = 0
        for d in range(depth):
            found = index_at(indices, row * depth + d, wide, _at(table, 2 * d))
            if found < 0:
                return -1
            at += found * _at(table, 2 * d + 1)
        return at

    return fn


@native("gather_nd(x, indices, y, status, wide, depth, table, rows, per_batch, batch, inner, block)")
def gather_nd(target: Target) -> Callable[..., None]:
    """Row r of y, of ``inner`` bytes, is the one of x at the coordinates indices[r, depth]; each ``per_batch`` rows, x
    moves on by ``batch`` bytes."""
    runs, place = copy_run(target), coordinates()

    def run(
        x: int, indices: int, y: int, status: int, wide: int, depth: int, table: int, rows: int, per_batch: int,
        batch: int, inner: int, block: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        pieces = (inner + block - 1) // block
        units = rows * pieces
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            row, at = unit // pieces, unit % pieces * block
            found = place(indices, row, depth, wide, table)
            if found < 0:
                _flag(status, 0, 1)
            else:
                start = x + row // per_batch * batch + found + at
                runs(start, 0, y + row * inner + at, 0, 1, min(block, inner - at))

    return njit(error_model="numpy", nogil=True)(run)


@native("reverse_sequence(x, lengths, y, status, wide, batches, steps, batch_stride, step_stride, inner)")
def reverse_sequence(target: Target) -> Callable[..., None]:
    """The first lengths[b] of the ``steps`` steps of batch b, each of ``inner`` bytes, in reverse; the others as they
    are."""
    runs = copy_run(target)

    def run(
        x: int, lengths: int, y: int, status: int, wide: int, batches: int, steps: int, batch_stride: int,
        step_stride: int, inner: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        units = batches * steps
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            b, t = unit // steps, unit % steps
            length = _at(lengths, b) if wide else _at32(lengths, b)
            if length < 0 or length > steps:
                _flag(status, 0, 1)
            else:
                s = length - 1 - t if t < length else t
                at = b * batch_stride
                runs(x + at + s * step_stride, 0, y + at + t * step_stride, 0, 1, inner)

    return njit(error_model="numpy", nogil=True)(run)
