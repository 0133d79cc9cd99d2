"""Selecting and accumulating along an axis: the k first elements in order, running sums and products.

Elements are compared by keys: int64 in the order of the elements, -0 equal to 0 and NaN above everything, complemented
where the largest come first. Of equal keys the lower position comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from ronn_codegen.native.declare import native
from ronn_codegen.simd.emit import Builder, llvm_call, splat
from ronn_codegen.simd.scalar import peek, poke
from ronn_codegen.simd.target import Target
from ronn_codegen.templates.copy import SIZES
from ronn_codegen.templates.counting import digit_starts
from ronn_codegen.templates.jobs import ACCUMULATED
from ronn_codegen.templates.transpose import by_size, emit_move, load, store

_jit = njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
_at, _put = peek("i64"), poke("i64")
_at8, _at16, _at32 = peek("i8"), peek("i16"), peek("i32")
_f32 = peek("f32")
_I64 = ir.IntType(64)
_DIGITS = 256
_LAST = 2**63 - 1
move = by_size(SIZES, 2, emit_move)


@_jit
def key_of(x: int, size: int, infinity: int, plain: int, largest: int) -> int:
    """The key of the element at x, of ``size`` bytes. ``infinity``: the bits of that of a float, 0 for integers;
    ``plain``: integers without a sign."""
    bits = _at8(x, 0) if size == 1 else _at16(x, 0) if size == 2 else _at32(x, 0) if size == 4 else _at(x, 0)
    if infinity:
        magnitude = bits & (_LAST >> (64 - 8 * size))
        bits = _LAST if magnitude > infinity else -magnitude if bits < 0 else magnitude
    elif plain:
        bits = bits ^ (-_LAST - 1) if size == 8 else bits & ((1 << 8 * size) - 1)
    return ~bits if largest else bits


@_jit
def sink(keys: int, places: int, n: int, key: int, place: int) -> None:
    """Puts (key, place) into the heap of n pairs, whose top is the last in order, in place of its top."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= n:
            break
        a, b = _at(keys, child), _at(places, child)
        if child + 1 < n:
            c, d = _at(keys, child + 1), _at(places, child + 1)
            if c > a or (c == a and d > b):
                child, a, b = child + 1, c, d
        if a < key or (a == key and b < place):
            break
        _put(keys, at, a)
        _put(places, at, b)
        at = child
    _put(keys, at, key)
    _put(places, at, place)


@_jit
def sort(keys: int, places: int, n: int, other: int, counts: int) -> int:
    """Sorts n pairs byte by byte, equal keys as they come. ``other`` has room for as many, ``counts`` for 256 numbers.

    Returns where the places are then; the keys lie ``8 * n`` bytes before them."""
    low, high = _at(keys, 0), _at(keys, 0)
    for i in range(n):
        key = _at(keys, i)
        low, high = min(low, key), max(high, key)
    to, to_places = other, other + 8 * n
    shift = 0
    while shift < 64 and (high - low) >> shift != 0:
        digit_starts(keys, n, counts, 0, low, shift, _DIGITS)
        for i in range(n):
            key = _at(keys, i)
            digit = ((key - low) >> shift) & (_DIGITS - 1)
            at = _at(counts, digit)
            _put(counts, digit, at + 1)
            _put(to, at, key)
            _put(to_places, at, _at(places, i))
        keys, to = to, keys
        places, to_places = to_places, places
        shift += 8
    return places


def _beyond(lanes: int) -> Any:
    """``(x, bound, largest)``: whether any of the floats at x is above (else below) the bound, or either is NaN."""

    @intrinsic
    def beyond(typing: Any, x: Any, bound: Any, largest: Any) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            values = load(builder, args[0], ir.VectorType(ir.FloatType(), lanes))
            bounds = splat(builder, args[1], lanes)
            above = builder.fcmp_unordered(">", values, bounds)
            below = builder.fcmp_unordered("<", values, bounds)
            chosen = builder.select(builder.icmp_signed("!=", args[2], _I64(0)), above, below)
            return llvm_call(builder, f"llvm.vector.reduce.or.v{lanes}i1", ir.IntType(1), chosen)

        return types.boolean(types.intp, types.float32, types.intp), generate

    return beyond


@native("top_k(x, values, indices, room, size, infinity, plain, largest, outer, n, inner, k)")
def top_k(target: Target) -> Callable[..., None]:
    """values and indices[outer, k, inner]: the first k in order of x[outer, n, inner], with their places. ``room`` has
    ``32 * n + 2048`` bytes for each share."""
    lanes = target.lanes(32)
    beyond = _beyond(lanes)

    @_jit
    def select(
        x: int, step: int, size: int, infinity: int, plain: int, largest: int, n: int, k: int, keys: int,
        places: int,
    ) -> None:  # fmt: skip
        """The first k keys and places, in order, by a heap of the k first so far."""
        for i in range(k):  # an unfinished heap grows from its end
            key = key_of(x + i * step, size, infinity, plain, largest)
            at = i
            while at > 0:
                above = (at - 1) // 2
                if _at(keys, above) > key:
                    break
                _put(keys, at, _at(keys, above))
                _put(places, at, _at(places, above))
                at = above
            _put(keys, at, key)
            _put(places, at, i)
        top = _at(keys, 0)
        fast = infinity and size == 4 and step == 4
        i = k
        while i < n:
            if fast:
                bound = _f32(x, _at(places, 0))
                while i + lanes <= n and not beyond(x + 4 * i, bound, largest):
                    i += lanes
            end = min(i + lanes, n)
            while i < end:
                key = key_of(x + i * step, size, infinity, plain, largest)
                if key < top:
                    sink(keys, places, k, key, i)
                    top = _at(keys, 0)
                i += 1
        for left in range(k - 1, 0, -1):
            key, place = _at(keys, left), _at(places, left)
            first, home = _at(keys, 0), _at(places, 0)
            sink(keys, places, left, key, place)
            _put(keys, left, first)
            _put(places, left, home)

    def run(
        x: int, values: int, indices: int, room: int, size: int, infinity: int, plain: int, largest: int, outer: int,
        n: int, inner: int, k: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        keys = room + worker * (32 * n + 8 * _DIGITS)
        step = inner * size
        units = outer * inner
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            o, i = unit // inner, unit % inner
            source, to = x + (o * n * inner + i) * size, o * k * inner + i
            places = keys + 8 * n
            if k * 16 < n or n < 128:
                select(source, step, size, infinity, plain, largest, n, k, keys, places)
            else:
                for j in range(n):
                    _put(keys, j, key_of(source + j * step, size, infinity, plain, largest))
                    _put(places, j, j)
                places = sort(keys, places, n, keys + 16 * n, keys + 32 * n)
            for j in range(k):
                place = _at(places, j)
                move(size, source + place * step, values + (to + j * inner) * size)
                _put(indices, to + j * inner, place)

    return njit(error_model="numpy", nogil=True)(run)


# --- running sums and products

_LLVM = {"f32": ir.FloatType(), "f64": ir.DoubleType(), "i32": ir.IntType(32), "i64": _I64}


def _combined(builder: Builder, kind: str, product: bool, a: Any, b: Any) -> Any:
    op = ("f" if kind[0] == "f" else "") + ("mul" if product else "add")
    return getattr(builder, op)(a, b)


def _emit_chain(builder: Builder, kind: str, product: bool, args: Sequence[Any]) -> None:
    """y[t] from x[t], ``step`` bytes apart, with the sum so far in a register."""
    x, y, step, n, exclusive = args
    llvm = _LLVM[kind]
    leave = builder.icmp_signed("!=", exclusive, _I64(0))
    none = llvm(-0.0 if kind[0] == "f" else 0)  # what leaves even -0 as it is
    first = llvm(1) if product else builder.select(leave, llvm(0), none)
    so_far = cgutils.alloca_once_value(builder, first)
    with cgutils.for_range(builder, n) as loop:
        at = builder.mul(loop.index, step)
        before = builder.load(so_far, typ=llvm)
        after = _combined(builder, kind, product, before, load(builder, builder.add(x, at), llvm))
        store(builder, builder.select(leave, before, after), builder.add(y, at))
        builder.store(after, so_far)


def _emit_rows(builder: Builder, kind: str, product: bool, wide: int, args: Sequence[Any]) -> None:
    """n elements at y: those at a and b combined."""
    a, b, y, n, _ = args
    size = int(kind[1:]) // 8
    vector = ir.VectorType(_LLVM[kind], wide // size)
    whole = builder.sdiv(n, _I64(wide // size))
    for llvm, first, count in ((vector, _I64(0), whole), (_LLVM[kind], builder.mul(whole, _I64(wide // size)), n)):
        step = _I64(wide if llvm is vector else size)
        with cgutils.for_range_slice(builder, first, count, _I64(1)) as (i, _):
            at = builder.mul(i, step)
            parts = [load(builder, builder.add(side, at), llvm) for side in (a, b)]
            store(builder, _combined(builder, kind, product, *parts), builder.add(y, at))


def _by_kind(emit: Callable[[Builder, str, bool, Sequence[Any]], None]) -> Any:
    """``(what, five numbers)``: does what is emitted for ``2 * kind + product``."""
    codes = range(2 * len(ACCUMULATED))
    return by_size(codes, 5, lambda builder, code, args: emit(builder, ACCUMULATED[code // 2], code % 2 == 1, args))


@native("cumulative(x, y, status, what, size, exclusive, reverse, neutral, axis, wide, shape, rank)")
def cumulative(target: Target) -> Callable[..., None]:
    """Running sums or products (``what``: 2 * kind + product) of x along the axis that stands at ``axis`` (int64 where
    ``wide``, else int32). ``neutral`` is the address of 512 elements that change nothing."""
    wide_bytes = target.bits // 8
    chain = _by_kind(_emit_chain)
    combine = _by_kind(lambda builder, kind, product, args: _emit_rows(builder, kind, product, wide_bytes, args))

    def run(
        x: int, y: int, status: int, what: int, size: int, exclusive: int, reverse: int, neutral: int, axis: int,
        wide: int, shape: int, rank: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        along = _at(axis, 0) if wide else _at32(axis, 0)
        if along < 0:
            along += rank
        if along < 0 or along >= rank:
            _put(status, 0, 1)
            return
        outer, n, inner = 1, _at(shape, along), 1
        for d in range(rank):
            if d < along:
                outer *= _at(shape, d)
            elif d > along:
                inner *= _at(shape, d)
        block = inner if inner < 4 else min(inner, 512)
        blocks = (inner + block - 1) // block
        units = outer * blocks
        step = -inner * size if reverse else inner * size
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            first = unit % blocks * block
            count = min(block, inner - first)
            start = (unit // blocks * n + (n - 1 if reverse else 0)) * inner + first
            a, b = x + start * size, y + start * size
            if inner < 4:
                for i in range(count):
                    chain(what, a + i * size, b + i * size, step, n, exclusive)
                continue
            before, given = neutral, neutral if exclusive else a
            for t in range(n):
                combine(what, before, given, b + t * step, count, 0)
                before = b + t * step
                given = a + (t if exclusive else t + 1) * step

    return njit(error_model="numpy", nogil=True)(run)
