"""Outputs whose size is found out while they are made: NonZero and Compress.

Elements that are not zero are counted by blocks of ``COUNTED_BLOCK`` first, so that every share of the work knows where
its own results go.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ronn_codegen.native.declare import native
from ronn_codegen.simd.emit import Builder, llvm_call, splat
from ronn_codegen.simd.scalar import peek, poke
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.tile import choose_value
from ronn_codegen.templates.copy import SIZES, copy_run
from ronn_codegen.templates.counting import before
from ronn_codegen.templates.jobs import COUNTED_BLOCK
from ronn_codegen.templates.transpose import by_size, emit_move, load

_jit = njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
_at, _put = peek("i64"), poke("i64")
_at8, _at16, _at32 = peek("i8"), peek("i16"), peek("i32")
_I64 = ir.IntType(64)
_GROUP = 64  # elements whose bits fill a word
move = by_size(SIZES, 2, emit_move)


def _of_word(name: str, *flags: Any) -> Any:
    """``(word)``: an LLVM intrinsic of an int64."""

    @intrinsic
    def call(typing: Any, word: Any) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            return llvm_call(builder, f"llvm.{name}.i64", _I64, args[0], *flags)

        return types.int64(types.int64), generate

    return call


ones = _of_word("ctpop")
lowest = _of_word("cttz", ir.Constant(ir.IntType(1), 1))
"""Where the lowest bit is that is set; there must be one."""


@intrinsic
def _group(typing: Any, x: Any, size: Any, keep: Any) -> Any:
    """A bit for each of 64 elements of ``size`` bytes: whether one of its bits that are set in ``keep`` is set."""

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
        def bits(size: int) -> Any:
            kind = ir.VectorType(ir.IntType(8 * size), _GROUP)
            mask = args[2] if size == 8 else builder.trunc(args[2], kind.element)
            kept = builder.and_(load(builder, args[0], kind), splat(builder, mask, _GROUP))
            return builder.bitcast(builder.icmp_signed("!=", kept, ir.Constant(kind, None)), _I64)

        return choose_value(builder, args[1], {size: partial(bits, size) for size in (1, 2, 4, 8)}, _I64(0))

    return types.int64(types.intp, types.intp, types.int64), generate


@_jit
def group(x: int, size: int, keep: int, n: int) -> int:
    """A bit for each of up to 64 elements; no more than n are read."""
    if n >= _GROUP:
        return _group(x, size, keep)
    word = 0
    for i in range(n):
        bits = _at8(x, i) if size == 1 else _at16(x, i) if size == 2 else _at32(x, i) if size == 4 else _at(x, i)
        if bits & keep:
            word |= 1 << i
    return word


@native("count(x, counts, n, size, keep)")
def count(target: Target) -> Callable[..., None]:
    """How many elements of each block of x[n] are not zero. ``keep``: the bits that count (not the sign of a float)."""

    def run(x: int, counts: int, n: int, size: int, keep: int, worker: int, workers: int) -> None:
        blocks = (n + COUNTED_BLOCK - 1) // COUNTED_BLOCK
        for block in range(blocks * worker // workers, blocks * (worker + 1) // workers):
            total, end = 0, min((block + 1) * COUNTED_BLOCK, n)
            for i in range(block * COUNTED_BLOCK, end, _GROUP):
                total += ones(group(x + i * size, size, keep, end - i))
            _put(counts, block, total)

    return njit(error_model="numpy", nogil=True)(run)


@native("nonzero(x, counts, y, total, n, size, keep, shape, rank)")
def nonzero(target: Target) -> Callable[..., None]:
    """Where the elements of x that are not zero stand: y[rank, total], all of it one after another from y on.

    ``counts`` are those of ``count``; ``shape`` holds the ``rank`` sizes of x."""

    def run(
        x: int, counts: int, y: int, total: int, n: int, size: int, keep: int, shape: int, rank: int, worker: int,
        workers: int,
    ) -> None:  # fmt: skip
        blocks = (n + COUNTED_BLOCK - 1) // COUNTED_BLOCK
        first, last = blocks * worker // workers, blocks * (worker + 1) // workers
        at, whole = before(counts, blocks, first)
        if worker == 0:
            _put(total, 0, whole)
        inner = _at(shape, rank - 1)
        place, start, end = y + 8 * (rank - 1) * whole, -1, -1  # the last row that was met goes from start to end
        stop = min(last * COUNTED_BLOCK, n)
        for base in range(first * COUNTED_BLOCK, stop, _GROUP):
            word = group(x + base * size, size, keep, stop - base)
            while word != 0:
                i = base + lowest(word)
                word &= word - 1
                if i >= end:
                    rest = i // inner
                    start, end = rest * inner, rest * inner + inner
                    for d in range(rank - 2, -1, -1):
                        dim = _at(shape, d)
                        _put(y, d * whole + at, rest % dim)
                        rest //= dim
                else:
                    for d in range(rank - 1):
                        _put(y, d * whole + at, _at(y, d * whole + at - 1))
                _put(place, at, i - start)
                at += 1

    return njit(error_model="numpy", nogil=True)(run)


@native("compress(x, places, total, y, outer, n, inner)")
def compress(target: Target) -> Callable[..., None]:
    """y[outer, total, inner] = x[outer, n, inner] at the ``total`` places; inner counts bytes."""
    runs = copy_run(target)

    def run(x: int, places: int, total: int, y: int, outer: int, n: int, inner: int, worker: int, workers: int) -> None:
        kept = _at(total, 0)
        units = outer * kept
        small = inner == 1 or inner == 2 or inner == 4 or inner == 8 or inner == 16
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            o, i = unit // kept, unit % kept
            source = x + (o * n + _at(places, i)) * inner
            if small:
                move(inner, source, y + unit * inner)
            else:
                runs(source, 0, y + unit * inner, 0, 1, inner)

    return njit(error_model="numpy", nogil=True)(run)
