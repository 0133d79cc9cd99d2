"""Transposing planes of elements in registers.

A tile of N x N elements is N vectors of N elements: each is loaded along the source's contiguous dim, and stored along
the destination's. Between, elements are interleaved inside 128-bit lanes, then whole lanes change places. Planes with
two to four rows or columns that lie side by side (pixels of few channels) are interleaved or taken apart instead.

The intrinsics take the size of an element, in bytes, as their first argument and branch on it: one copy of the loops
around them serves every size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ronn_codegen.simd.emit import I32, Builder
from ronn_codegen.simd.target import Target

LANE = 16  # bytes of the part of a vector inside which elements move freely
PLANE_SIZES = (1, 2, 4, 8)
_POINTER = ir.PointerType()
_I64 = ir.IntType(64)


def by_size(sizes: Sequence[int], arity: int, emit: Callable[[Builder, int, Sequence[Any]], None]) -> Any:
    """An intrinsic ``(size, *addresses and numbers)`` that does what ``emit`` emits for that size."""
    signature = types.void(*[types.intp] * (1 + arity))

    def generate(context: Any, builder: Builder, _: Any, args: Any) -> Any:
        end = builder.append_basic_block("sized")
        choice = builder.switch(args[0], end)
        for size in sizes:
            block = builder.append_basic_block(f"size{size}")
            choice.add_case(ir.Constant(_I64, size), block)
            builder.position_at_end(block)
            emit(builder, size, args[1:])
            builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    if arity == 2:

        @intrinsic
        def two(typing: Any, size: Any, a: Any, b: Any) -> Any:
            return signature, generate

        return two
    if arity == 4:

        @intrinsic
        def four(typing: Any, size: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
            return signature, generate

        return four

    @intrinsic
    def five(typing: Any, size: Any, a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
        return signature, generate

    return five


def load(builder: Builder, address: Any, kind: Any) -> Any:
    """What lies at an integer address of any alignment."""
    return builder.load(builder.inttoptr(address, _POINTER), typ=kind, align=1)


def store(builder: Builder, value: Any, address: Any) -> None:
    builder.store(value, builder.inttoptr(address, _POINTER), align=1)


def shuffled(builder: Builder, a: Any, b: Any, order: Sequence[int]) -> Any:
    """The elements of a and b (None: a alone) that ``order`` lists."""
    second = ir.Constant(a.type, ir.Undefined) if b is None else b
    return builder.shuffle_vector(a, second, ir.Constant(ir.VectorType(I32, len(order)), list(order)))


def vector_of(size: int, wide: int) -> Any:
    """The LLVM vector of ``wide`` bytes with elements of ``size`` bytes."""
    return ir.VectorType(ir.IntType(8 * size), wide // size)


# --- square tiles


def tile_bytes(target: Target, size: int) -> int:
    """Bytes of a row of the tile for elements of ``size`` bytes: as wide as fits with the whole tile in registers."""
    wide = target.bits // 8
    while wide > LANE and wide // size > target.registers // 2:
        wide //= 2
    return wide


def _inside_lanes(builder: Builder, rows: list[Any], lanes: int, k: int) -> list[Any]:
    """The k x k transposes of the blocks that ``k`` rows of ``lanes`` lanes of k elements hold."""
    n = lanes * k

    def interleaved(high: int) -> list[int]:
        start = high * k // 2
        return [lane * k + start + i // 2 + n * (i % 2) for lane in range(lanes) for i in range(k)]

    for _ in range(k.bit_length() - 1):
        rows = [shuffled(builder, rows[i // 2], rows[i // 2 + k // 2], interleaved(i % 2)) for i in range(k)]
    return rows


def _across_lanes(builder: Builder, rows: list[Any], lanes: int, k: int) -> list[Any]:
    """The transpose of ``lanes`` rows of ``lanes`` lanes of k elements each."""
    if lanes == 1:
        return rows

    def of(*picked: int) -> list[int]:
        return [lane * k + i for lane in picked for i in range(k)]

    if lanes == 2:
        return [shuffled(builder, rows[0], rows[1], of(j, 2 + j)) for j in range(2)]
    halves = [shuffled(builder, rows[i], rows[i + 1], of(j, j + 1, 4 + j, 5 + j)) for i in (0, 2) for j in (0, 2)]
    orders = [of(j % 2, 2 + j % 2, 4 + j % 2, 6 + j % 2) for j in range(4)]
    return [shuffled(builder, halves[j // 2], halves[2 + j // 2], orders[j]) for j in range(4)]


def _emit_tile(builder: Builder, size: int, wide: int, args: Sequence[Any]) -> None:
    n, k, lanes = wide // size, LANE // size, wide // LANE
    x, x_stride, y, y_stride = args
    rows = []
    for _ in range(n):
        rows.append(load(builder, x, vector_of(size, wide)))
        x = builder.add(x, x_stride)
    blocks = [_inside_lanes(builder, rows[i : i + k], lanes, k) for i in range(0, n, k)]
    columns = [_across_lanes(builder, [block[c] for block in blocks], lanes, k) for c in range(k)]
    for j in range(n):
        store(builder, columns[j % k][j // k], y)
        y = builder.add(y, y_stride)


# --- few channels


def _joined(builder: Builder, parts: list[Any], n: int) -> Any:
    """The vectors ``parts``, of n elements each, one after another."""
    whole = parts[0]
    for i, part in enumerate(parts[1:], 1):
        # Both operands of a shuffle have one length: the next part is repeated to it.
        grown = shuffled(builder, part, None, [j % n for j in range(i * n)])
        whole = shuffled(builder, whole, grown, range((i + 1) * n))
    return whole


def _emit_weave(builder: Builder, size: int, wide: int, count: int, apart: bool, args: Sequence[Any]) -> None:
    """``count`` vectors that lie ``x_stride`` apart become one run at y that takes an element of each in turn; or,
    ``apart``, the run at x becomes ``count`` vectors that lie ``y_stride`` apart."""
    n = wide // size
    x, x_stride, y, y_stride = args
    step = ir.Constant(_I64, wide)
    parts = []
    for _ in range(count):
        parts.append(load(builder, x, vector_of(size, wide)))
        x = builder.add(x, step if apart else x_stride)
    whole = _joined(builder, parts, n)
    for i in range(count):
        if apart:
            order = [j * count + i for j in range(n)]
        else:
            order = [(i * n + j) % count * n + (i * n + j) // count for j in range(n)]
        store(builder, shuffled(builder, whole, None, order), y)
        y = builder.add(y, y_stride if apart else step)


def _weaves(wide: int) -> Any:
    """``(size, x, x_stride, y, y_stride, how)``: ``how`` is the count (2, 3, 4), negative to take apart."""

    def emit(builder: Builder, size: int, args: Sequence[Any]) -> None:
        end = builder.append_basic_block("woven")
        choice = builder.switch(args[4], end)
        for count in (2, 3, 4):
            for apart in (False, True):
                block = builder.append_basic_block("weave")
                choice.add_case(ir.Constant(_I64, -count if apart else count), block)
                builder.position_at_end(block)
                _emit_weave(builder, size, wide, count, apart, args[:4])
                builder.branch(end)
        builder.position_at_end(end)

    return by_size(PLANE_SIZES, 5, emit)


def emit_move(builder: Builder, size: int, args: Sequence[Any]) -> None:
    """Copies ``size`` bytes from address 0 to address 1."""
    kind = ir.IntType(8 * size) if size <= 8 else ir.VectorType(_I64, size // 8)
    store(builder, load(builder, args[0], kind), args[1])


@cache
def plane(target: Target) -> Callable[..., None]:
    """``fn(size, x, x_stride, y, y_stride, rows, columns)``: element (r, c) of the result, at
    ``y + r * y_stride + c * size``, is the one at ``x + c * x_stride + r * size`` (bytes; size 1, 2, 4 or 8)."""
    whole = {size: tile_bytes(target, size) for size in PLANE_SIZES}
    wide1, wide2, wide4, wide8 = whole.values()
    tile = by_size(PLANE_SIZES, 4, lambda builder, size, args: _emit_tile(builder, size, whole[size], args))
    small = by_size(PLANE_SIZES, 4, lambda builder, size, args: _emit_tile(builder, size, LANE, args))
    move = by_size(PLANE_SIZES, 2, emit_move)
    full = target.bits // 8
    weave, narrow = _weaves(full), _weaves(LANE)

    @njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
    def fn(size: int, x: int, x_stride: int, y: int, y_stride: int, rows: int, columns: int) -> None:
        n = (wide1 if size == 1 else wide2 if size == 2 else wide4 if size == 4 else wide8) // size
        if min(rows, columns) < n:
            n = LANE // size
        if min(rows, columns) >= n:  # the last tiles overlap those before
            for j in range(0, columns, n):
                c = min(j, columns - n)
                for i in range(0, rows, n):
                    r = min(i, rows - n)
                    a, b = x + c * x_stride + r * size, y + r * y_stride + c * size
                    if n * size > LANE:
                        tile(size, a, x_stride, b, y_stride)
                    else:
                        small(size, a, x_stride, b, y_stride)
            return
        how, length, a_step, b_step = 0, 0, x_stride, y_stride
        if columns <= 4 and y_stride == columns * size:
            how, length, a_step = columns, rows, size
        elif rows <= 4 and x_stride == rows * size:
            how, length, b_step = -rows, columns, size
        if how * how > 1 and length >= LANE // size:
            n = (full if length >= full // size else LANE) // size
            for i in range(0, length, n):
                j = min(i, length - n)
                if n * size == full:
                    weave(size, x + j * a_step, x_stride, y + j * b_step, y_stride, how)
                else:
                    narrow(size, x + j * a_step, x_stride, y + j * b_step, y_stride, how)
            return
        for r in range(rows):
            for c in range(columns):
                move(size, x + c * x_stride + r * size, y + r * y_stride + c * size)

    return fn
