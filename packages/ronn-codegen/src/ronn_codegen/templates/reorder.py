"""Between plain layouts and blocked channels, in float32.

Blocked is ``[N, ceil(C / L), P, L]``: P pixels, L lanes, lanes beyond C zero. Plain is ``[N, C, P]`` or, channels last,
``[N, P, C]``. From and to ``[N, C, P]`` square tiles of L x L are transposed in registers, so that every load and store
is a whole vector.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ronn_codegen.native.declare import native
from ronn_codegen.simd.emit import I32, Builder, llvm_call, splat
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.scalar import peek
from ronn_codegen.simd.target import Target

_TILE = 128  # pixels of one unit of work
_FLOAT, _I64 = ir.FloatType(), ir.IntType(64)


def _transposed(builder: Builder, rows: list[Any]) -> list[Any]:
    """The columns of a square of as many vectors as each has lanes."""
    lanes = len(rows)
    step = 1
    while step < lanes:
        upper = ir.Constant(ir.VectorType(I32, lanes), [lanes + i - step if i & step else i for i in range(lanes)])
        lower = ir.Constant(ir.VectorType(I32, lanes), [lanes + i if i & step else i + step for i in range(lanes)])
        for r in range(lanes):
            if not r & step:
                a, b = rows[r], rows[r + step]
                rows[r] = builder.shuffle_vector(a, b, upper)
                rows[r + step] = builder.shuffle_vector(a, b, lower)
        step *= 2
    return rows


@cache
def transposer(lanes: int) -> tuple[Any, Any, Any]:
    """Three intrinsics that transpose a square tile of float32, given addresses and the distance of rows in elements.

    ``whole(source, source_step, target, target_step)`` reads and writes all of it. ``ragged(..., rows, rows_out)``
    reads the first rows (others count as zero) and writes the first rows_out of the result; both are at least 1.
    ``partial(..., rows, columns, rows_out, columns_out)`` neither reads nor writes anything else.
    """
    vector = ir.VectorType(_FLOAT, lanes)
    zero = ir.Constant(vector, None)
    iota = ir.Constant(ir.VectorType(I32, lanes), list(range(lanes)))
    numbers = [ir.Constant(_I64, r) for r in range(lanes)]

    def place(builder: Builder, address: Any, step: Any, row: Any) -> Any:
        pointer = builder.inttoptr(address, ir.PointerType())
        return builder.gep(pointer, [builder.mul(step, row)], source_etype=_FLOAT)

    def mask(builder: Builder, row: Any, rows: Any, columns: Any) -> Any:
        count = builder.select(builder.icmp_signed("<", row, rows), columns, numbers[0])
        return builder.icmp_signed("<", iota, splat(builder, builder.trunc(count, I32), lanes))

    @intrinsic
    def whole(typing: Any, source: Any, source_step: Any, target: Any, target_step: Any) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            source, source_step, target, target_step = args
            rows = [builder.load(place(builder, source, source_step, r), typ=vector, align=4) for r in numbers]
            for r, row in zip(numbers, _transposed(builder, rows), strict=True):
                builder.store(row, place(builder, target, target_step, r), align=4)
            return context.get_dummy_value()

        return types.void(*(types.intp,) * 4), generate

    @intrinsic
    def ragged(
        typing: Any, source: Any, source_step: Any, target: Any, target_step: Any, rows: Any, rows_out: Any
    ) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            source, source_step, target, target_step, rows, rows_out = args
            found = []
            for r in numbers:
                there = builder.icmp_signed("<", r, rows)
                at = place(builder, source, source_step, builder.select(there, r, numbers[0]))
                found.append(builder.select(there, builder.load(at, typ=vector, align=4), zero))
            # The last row first: those beyond the end go where a later store puts the right one.
            end = builder.sub(rows_out, numbers[1])
            for r, row in zip(reversed(numbers), reversed(_transposed(builder, found)), strict=True):
                at = builder.select(builder.icmp_signed("<", r, end), r, end)
                builder.store(row, place(builder, target, target_step, at), align=4)
            return context.get_dummy_value()

        return types.void(*(types.intp,) * 6), generate

    @intrinsic
    def partial(
        typing: Any, source: Any, source_step: Any, target: Any, target_step: Any,
        rows: Any, columns: Any, rows_out: Any, columns_out: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            source, source_step, target, target_step, rows, columns, rows_out, columns_out = args
            align, kind = ir.Constant(I32, 4), f"v{lanes}f32.p0"
            found = [
                llvm_call(
                    builder, f"llvm.masked.load.{kind}", vector, place(builder, source, source_step, r), align,
                    mask(builder, r, rows, columns), zero,
                )
                for r in numbers
            ]  # fmt: skip
            for r, row in zip(numbers, _transposed(builder, found), strict=True):
                at = place(builder, target, target_step, r)
                wanted = mask(builder, r, rows_out, columns_out)
                llvm_call(builder, f"llvm.masked.store.{kind}", ir.VoidType(), row, at, align, wanted)
            return context.get_dummy_value()

        return types.void(*(types.intp,) * 8), generate

    return whole, ragged, partial


def _planar(target: Target, blocking: bool) -> Callable[..., None]:
    """Between ``[n, c, pixels]`` and blocked channels: square tiles, transposed on their way."""
    lanes = target.lanes(32)
    whole, ragged, partial = transposer(lanes)

    @njit(error_model="numpy", nogil=True)
    def run(x: int, y: int, n: int, c: int, pixels: int, worker: int, workers: int) -> None:
        blocks = (c + lanes - 1) // lanes
        tiles = (pixels + _TILE - 1) // _TILE
        total = n * blocks * tiles
        for work in range(total * worker // workers, total * (worker + 1) // workers):
            first = work % tiles * _TILE
            block = work // tiles % blocks
            image = work // tiles // blocks
            rows = min(c - block * lanes, lanes)
            plain = 4 * (image * c + block * lanes) * pixels
            blocked = 4 * (image * blocks + block) * pixels * lanes
            last = min(first + _TILE, pixels)
            for p in range(first, last, lanes):
                here = min(last - p, lanes)
                if blocking:
                    source, step, to, step_out = x + plain + 4 * p, pixels, y + blocked + 4 * p * lanes, lanes
                    given, wanted, across, across_out = rows, lanes, here, lanes
                    high, high_out = rows, here
                else:
                    source, step, to, step_out = x + blocked + 4 * p * lanes, lanes, y + plain + 4 * p, pixels
                    given, wanted, across, across_out = lanes, rows, lanes, here
                    high, high_out = here, rows
                if here == lanes and rows == lanes:
                    whole(source, step, to, step_out)
                elif here == lanes:
                    ragged(source, step, to, step_out, given, wanted)
                else:
                    partial(source, step, to, step_out, high, across, high_out, across_out)

    return run


def _channels_last(target: Target, blocking: bool) -> Callable[..., None]:
    """Between ``[n, pixels, c]`` and blocked channels: vectors of channels go as they are."""
    lanes = target.lanes(32)
    vector = VectorType("f32", lanes)
    load, load_first, store, store_first = vector.load, vector.load_first, vector.store, vector.store_first

    @njit(error_model="numpy", nogil=True)
    def run(x: int, y: int, n: int, c: int, pixels: int, worker: int, workers: int) -> None:
        blocks = (c + lanes - 1) // lanes
        tiles = (pixels + _TILE - 1) // _TILE
        total = n * tiles
        for work in range(total * worker // workers, total * (worker + 1) // workers):
            first = work % tiles * _TILE
            image = work // tiles
            last = min(first + _TILE, pixels)
            for block in range(blocks):
                plain = 4 * (image * pixels * c + block * lanes)
                blocked = 4 * (image * blocks + block) * pixels * lanes
                left = c - block * lanes
                for p in range(first, last):
                    if blocking:
                        if left >= lanes:
                            store(y + blocked, p * lanes, load(x + plain, p * c))
                        else:
                            store(y + blocked, p * lanes, load_first(x + plain, p * c, left))
                    elif left >= lanes:
                        store(y + plain, p * c, load(x + blocked, p * lanes))
                    else:
                        store_first(y + plain, p * c, load(x + blocked, p * lanes), left)

    return run


@native("block_f32(x, y, n, c, pixels)")
def block_f32(target: Target) -> Callable[..., None]:
    """``x[n, c, pixels]`` to blocked ``y``."""
    return _planar(target, True)


@native("unblock_f32(x, y, n, c, pixels)")
def unblock_f32(target: Target) -> Callable[..., None]:
    """Blocked ``x`` to ``y[n, c, pixels]``."""
    return _planar(target, False)


@native("block_last_f32(x, y, n, c, pixels)")
def block_last_f32(target: Target) -> Callable[..., None]:
    """``x[n, pixels, c]`` to blocked ``y``."""
    return _channels_last(target, True)


@native("unblock_last_f32(x, y, n, c, pixels)")
def unblock_last_f32(target: Target) -> Callable[..., None]:
    """Blocked ``x`` to ``y[n, pixels, c]``."""
    return _channels_last(target, False)


@cache
def lane_mover(lanes: int) -> Any:
    """An intrinsic ``(source, target, first, at, count, written)``: lanes from ``first`` on become those from ``at`` on
    of the vector at target. ``count`` lanes are read; ``written`` lanes are written, those not read as zero."""
    vector = ir.VectorType(_FLOAT, lanes)
    iota = ir.Constant(ir.VectorType(I32, lanes), list(range(lanes)))

    @intrinsic
    def move(typing: Any, source: Any, target: Any, first: Any, at: Any, count: Any, written: Any) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            source, target, first, at, count, written = args
            align, kind = ir.Constant(I32, 4), f"v{lanes}f32.p0"

            def lanes_from_at(number: Any) -> Any:
                low, high = (splat(builder, builder.trunc(v, I32), lanes) for v in (at, builder.add(at, number)))
                return builder.and_(builder.icmp_signed(">=", iota, low), builder.icmp_signed("<", iota, high))

            place = builder.gep(
                builder.inttoptr(source, ir.PointerType()), [builder.sub(first, at)], source_etype=_FLOAT
            )
            zero = ir.Constant(vector, None)
            read = llvm_call(builder, f"llvm.masked.load.{kind}", vector, place, align, lanes_from_at(count), zero)
            to = builder.inttoptr(target, ir.PointerType())
            mask = lanes_from_at(written)
            llvm_call(builder, f"llvm.masked.store.{kind}", ir.VoidType(), read, to, align, mask)
            return context.get_dummy_value()

        return types.void(*(types.intp,) * 6), generate

    return move


@native("regroup_f32(x, y, n, x_blocks, y_blocks, pixels, jobs, count)")
def regroup_f32(target: Target) -> Callable[..., None]:
    """Lanes of blocked ``x`` into blocked ``y``, as ``regroup_jobs`` says."""
    lanes = target.lanes(32)
    vector = VectorType("f32", lanes)
    load, store, move, get = vector.load, vector.store, lane_mover(lanes), peek("i64")

    @njit(error_model="numpy", nogil=True)
    def run(
        x: int, y: int, n: int, x_blocks: int, y_blocks: int, pixels: int, jobs: int, count: int, worker: int,
        workers: int,
    ) -> None:  # fmt: skip
        tiles = (pixels + _TILE - 1) // _TILE
        total = n * count * tiles
        for work in range(total * worker // workers, total * (worker + 1) // workers):
            tile = work % tiles * _TILE
            job = work // tiles % count * 6
            image = work // tiles // count
            first, at, moved, written = get(jobs, job + 1), get(jobs, job + 3), get(jobs, job + 4), get(jobs, job + 5)
            source = x + 4 * (image * x_blocks + get(jobs, job)) * pixels * lanes
            to = y + 4 * (image * y_blocks + get(jobs, job + 2)) * pixels * lanes
            for p in range(tile, min(tile + _TILE, pixels)):
                if moved == lanes:
                    store(to, p * lanes, load(source, p * lanes))
                else:
                    move(source + 4 * p * lanes, to + 4 * p * lanes, first, at, moved, written)

    return run
