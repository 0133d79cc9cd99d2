"""One kernel for all copies between strided arrays: slices, concatenations, padding, broadcasts, transposes.

A copy is a table of jobs (made by ``ronn_codegen.templates.jobs``); a job copies a box of elements from one strided
place to another. Its two inner dims, ``rows`` and ``columns``, are done by a loop for their kind: runs of bytes, one
element repeated, single elements at any stride, or a plane that is transposed in registers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from ronn_codegen.native.declare import native
from ronn_codegen.simd.emit import Builder
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.scalar import peek
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.types import Vec
from ronn_codegen.templates.jobs import EACH, FIELDS, FILL, RUN
from ronn_codegen.templates.transpose import LANE, by_size, load, plane, shuffled, store, vector_of

SIZES = (1, 2, 4, 8, 16)
_I64 = ir.IntType(64)
_jit = njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)


def _scalar(size: int) -> Any:
    return ir.IntType(8 * size) if size <= 8 else ir.VectorType(_I64, size // 8)


@cache
def move(size: int) -> Any:
    """``(x, y)``: copies ``size`` bytes, a power of two, from address x to address y."""

    @intrinsic
    def move_(typing: Any, x: Any, y: Any) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            store(builder, load(builder, args[0], _scalar(size)), args[1])
            return context.get_dummy_value()

        return types.void(types.intp, types.intp), generate

    return move_


def _emit_elements(builder: Builder, size: int, args: Sequence[Any]) -> None:
    x, x_step, y, y_step, n = args
    with cgutils.for_range(builder, n) as loop:
        value = load(builder, builder.add(x, builder.mul(loop.index, x_step)), _scalar(size))
        store(builder, value, builder.add(y, builder.mul(loop.index, y_step)))


def _emit_reversed(builder: Builder, size: int, wide: int, args: Sequence[Any]) -> None:
    value = load(builder, args[0], vector_of(size, wide))
    store(builder, shuffled(builder, value, None, range(wide // size - 1, -1, -1)), args[1])


def _emit_halved(builder: Builder, size: int, wide: int, args: Sequence[Any]) -> None:
    n = wide // size
    # The second vector ends with the last element that is wanted: nothing behind it is read.
    first = load(builder, args[0], vector_of(size, wide))
    second = load(builder, builder.add(args[0], ir.Constant(_I64, wide - size)), vector_of(size, wide))
    order = [2 * i if 2 * i < n else 2 * i + 1 for i in range(n)]
    store(builder, shuffled(builder, first, second, order), args[1])


elements = by_size(SIZES, 5, _emit_elements)  # (size, x, x_step, y, y_step, n): n elements, steps in bytes


@cache
def copy_run(target: Target) -> Callable[..., None]:
    """``fn(x, x_stride, y, y_stride, rows, n)``: rows of n bytes; strides in bytes. Nothing may overlap."""
    wide = target.bits // 8
    four, whole, m16, m8, m4, m2, m1 = (move(b) for b in (4 * wide, wide, 16, 8, 4, 2, 1))

    @_jit
    def fn(x: int, x_stride: int, y: int, y_stride: int, rows: int, n: int) -> None:
        for _ in range(rows):
            if n >= wide:
                i = 0
                while i + 4 * wide <= n:
                    four(x + i, y + i)
                    i += 4 * wide
                while i + wide <= n:
                    whole(x + i, y + i)
                    i += wide
                whole(x + n - wide, y + n - wide)
            elif n >= 16:
                m16(x, y)
                if n > 32:
                    m16(x + 16, y + 16)
                    m16(x + n - 32, y + n - 32)
                m16(x + n - 16, y + n - 16)
            elif n >= 8:
                m8(x, y)
                m8(x + n - 8, y + n - 8)
            elif n >= 4:
                m4(x, y)
                m4(x + n - 4, y + n - 4)
            elif n >= 2:
                m2(x, y)
                m2(x + n - 2, y + n - 2)
            elif n == 1:
                m1(x, y)
            x += x_stride
            y += y_stride

    return fn


@cache
def copy_each(target: Target) -> Callable[..., None]:
    """``fn(size, x, x_row, x_step, y, y_row, y_step, rows, n)``: rows of n elements of ``size`` bytes; strides in
    bytes. Nothing may overlap."""
    wide = target.bits // 8
    back = by_size(SIZES[:4], 2, lambda builder, size, args: _emit_reversed(builder, size, wide, args))
    half = by_size(SIZES[:4], 2, lambda builder, size, args: _emit_halved(builder, size, wide, args))
    quarter = by_size(SIZES[:4], 2, lambda builder, size, args: _emit_halved(builder, size, LANE, args))

    @_jit
    def fn(size: int, x: int, x_row: int, x_step: int, y: int, y_row: int, y_step: int, rows: int, n: int) -> None:
        backward = x_step == -size and y_step == size < LANE
        forward = x_step == 2 * size and y_step == size < LANE
        lanes = wide // size
        for r in range(rows):
            a, b, left = x + r * x_row, y + r * y_row, n
            if backward:
                while left >= lanes:
                    back(size, a - (lanes - 1) * size, b)
                    a -= wide
                    b += wide
                    left -= lanes
            elif forward:
                while left >= lanes:
                    half(size, a, b)
                    a += 2 * wide
                    b += wide
                    left -= lanes
                while left >= LANE // size:
                    quarter(size, a, b)
                    a += 2 * LANE
                    b += LANE
                    left -= LANE // size
            elements(size, a, x_step, b, y_step, left)

    return fn


@cache
def _spread(wide: int) -> Any:
    """``(size, x) -> vector of bytes``: the element at x as often as it fits."""
    vec = Vec("u8", wide)

    @intrinsic
    def spread(typing: Any, size: Any, x: Any) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            end = builder.append_basic_block("spread")
            choice = builder.switch(args[0], end)
            found = [(ir.Constant(vec.llvm, None), builder.block)]
            for s in SIZES:
                block = builder.append_basic_block(f"spread{s}")
                choice.add_case(ir.Constant(_I64, s), block)
                builder.position_at_end(block)
                element = load(builder, args[1], ir.VectorType(ir.IntType(8), s))
                found.append((shuffled(builder, element, None, [i % s for i in range(wide)]), block))
                builder.branch(end)
            builder.position_at_end(end)
            value = builder.phi(vec.llvm)
            for incoming in found:
                value.add_incoming(*incoming)
            return value

        return vec(types.intp, types.intp), generate

    return spread


@cache
def fill_run(target: Target) -> Callable[..., None]:
    """``fn(size, x, x_row, y, y_row, rows, n)``: for each row the element at ``x``, of ``size`` bytes, n times at y."""
    wide = target.bits // 8
    spread, put = _spread(wide), VectorType("u8", wide).store

    @_jit
    def fn(size: int, x: int, x_row: int, y: int, y_row: int, rows: int, n: int) -> None:
        length = n * size
        for r in range(rows):
            a, b = x + r * x_row, y + r * y_row
            if length >= wide:
                value = spread(size, a)
                for i in range(0, length - wide, wide):
                    put(b, i, value)
                put(b, length - wide, value)
            else:
                elements(size, a, 0, b, size, n)

    return fn


@cache
def words(count: int) -> Any:
    """``(address) -> tuple``: ``count`` int64 that lie one after another."""

    @intrinsic
    def words_(typing: Any, address: Any) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            places = [builder.add(args[0], ir.Constant(_I64, 8 * i)) for i in range(count)]
            return context.make_tuple(builder, signature.return_type, [load(builder, p, _I64) for p in places])

        return types.UniTuple(types.intp, count)(types.intp), generate

    return words_


@intrinsic
def pick(typing: Any, which: Any, addresses: Any) -> Any:
    """The number ``which`` of a tuple of addresses."""

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
        table = cgutils.alloca_once_value(builder, args[1])
        return builder.load(builder.gep(table, [args[0]], source_etype=_I64), typ=_I64)

    return types.intp(types.intp, addresses), generate


@native("copy(p0, p1, p2, p3, p4, p5, p6, p7, p8, jobs, count, total)")
def copy(target: Target) -> Callable[..., None]:
    """Runs ``count`` jobs between the addresses p0..p8; ``total`` is the weight of them all."""
    at, job_words = peek("i64"), words(FIELDS - 3)
    runs, each, fill, transposed = copy_run(target), copy_each(target), fill_run(target), plane(target)

    @_jit
    def do(job: int, x: int, y: int, first: int, last: int) -> None:
        """Units ``first`` to ``last`` (not included) of a job."""
        (
            kind, strips, height, rows, n, _, _, xr, xc, _, _, yr, yc, n0, x0, y0, n1, x1, y1, n2, x2, y2, _, x3, y3,
            size,
        ) = job_words(job + 24)  # fmt: skip
        strip, rest = first % strips, first // strips
        i0, rest = rest % n0, rest // n0
        i1, rest = rest % n1, rest // n1
        i2, i3 = rest % n2, rest // n2
        for _ in range(first, last):
            r = strip * height
            h = height if strip + 1 < strips else rows - r
            a = x + r * xr + i0 * x0 + i1 * x1 + i2 * x2 + i3 * x3
            b = y + r * yr + i0 * y0 + i1 * y1 + i2 * y2 + i3 * y3
            if kind == RUN:
                if a != b or xr != yr:  # else the result has taken the place of the source
                    runs(a, xr, b, yr, h, n)
            elif kind == EACH:
                each(size, a, xr, xc, b, yr, yc, h, n)
            elif kind == FILL:
                fill(size, a, xr, b, yr, h, n)
            else:
                transposed(size, a, xc, b, yr, h, n)
            strip += 1
            if strip == strips:
                strip = 0
                i0 += 1
                if i0 == n0:
                    i0 = 0
                    i1 += 1
                    if i1 == n1:
                        i1 = 0
                        i2 += 1
                        if i2 == n2:
                            i2 = 0
                            i3 += 1

    def run(
        p0: int, p1: int, p2: int, p3: int, p4: int, p5: int, p6: int, p7: int, p8: int,
        jobs: int, count: int, total: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        places = (p0, p1, p2, p3, p4, p5, p6, p7, p8)
        low, high = total * worker // workers, total * (worker + 1) // workers
        for j in range(count):
            job = jobs + 8 * FIELDS * j
            start, weight, units = at(job, 0), at(job, 1), at(job, 2)
            first = min(max((low - start + weight - 1) // weight, 0), units)
            last = min(max((high - start + weight - 1) // weight, 0), units)
            if first < last:
                do(job, pick(at(job, 8), places) + at(job, 9), pick(at(job, 12), places) + at(job, 13), first, last)

    return njit(error_model="numpy", nogil=True)(run)
