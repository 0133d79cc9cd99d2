"""The register tile of convolutions, emitted as LLVM IR: ``pixels`` neighbours of a row by ``blocks`` vectors.

Per step of the innermost loop a tile loads ``blocks`` vectors of weights and broadcasts one input value a pixel, for
``pixels * blocks`` multiply-adds of whole vectors. Taps outside of the input are left out by the caller for slices and
rows; for columns they read zeros at the first and the last pixel of a tile. The caller sees to it that all pixels
between lie inside for every tap, and for a tile of one pixel that it asks for the taps inside only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from itertools import product
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ronn_codegen.simd import tile as t
from ronn_codegen.simd.emit import Builder, splat
from ronn_codegen.simd.tile import FACTORS, I64, Terms, Value
from ronn_codegen.simd.types import Vec
from ronn_codegen.templates.conv_plan import BLOCKS, GEOMETRY

# Addresses of the tile's first pixel (x and w: at the first tap). bias 0: add to what y holds; residual 0: none;
# column: of the input, at the first tap; steps of the innermost loop in a channel block, and in the last one; counts of
# taps. ``fetch`` is where weights that are needed later lie: each step of the innermost loop asks for a line and moves
# on by ``fetch_step``. ``next_x`` bytes beyond this tile's input lies that of the next, fetched pixel by pixel.
ARGUMENTS = (
    "geometry", "x", "w", "y", "bias", "residual", "column", "channel_blocks", "steps", "last_steps",
    "slices", "rows", "columns", "clamp", "fetch", "fetch_step", "next_x", "low", "high",
)  # fmt: skip
_AHEAD = 2048  # bytes of weights that are fetched into the first-level cache before they are needed
_LINE = 64  # bytes of a line of the caches
_TYPES = "i64 " * 17 + "f32 f32"


class _Words(dict[str, Any]):
    """Arguments and geometry by name."""

    def __init__(self, builder: Builder, arguments: tuple[Value, ...]) -> None:
        super().__init__(zip(ARGUMENTS, arguments, strict=True))
        table = t.pointer(builder, self["geometry"])
        for i, word in enumerate(GEOMETRY):
            self[word] = builder.load(t.at(builder, table, 8 * i), typ=I64, align=8)


def words_reader(words: Mapping[str, int], names: str) -> Any:
    """An intrinsic ``(plan) -> tuple`` of the words with these names. One call costs the compiler less than many."""
    places = [words[name] for name in names.split()]

    @intrinsic
    def read(typing: Any, plan: Any) -> Any:
        result = types.UniTuple(types.int64, len(places))

        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            table = t.pointer(builder, args[0])
            values = [builder.load(t.at(builder, table, 8 * place), typ=I64, align=8) for place in places]
            return context.make_tuple(builder, result, values)

        return result(types.intp), generate

    return read


def zeros_address(module: Any, vec: Vec) -> Value:
    """The address of a vector of zeros."""
    name = f"ronn.zeros{vec.lanes}"
    if name not in module.globals:
        kind = ir.ArrayType(ir.FloatType(), vec.lanes)
        variable = ir.GlobalVariable(module, kind, name)
        variable.linkage, variable.global_constant, variable.align = "internal", True, 64
        variable.initializer = ir.Constant(kind, None)
    return module.globals[name]


def _emit(lanes: int, pixels: int, blocks: int, depthwise: bool, terms: Terms) -> Callable[..., None]:
    """What emits the tile of one size."""
    vec = Vec("f32", lanes)
    items = terms.operands(vec)
    vector_bytes = 4 * lanes
    step_bytes = blocks * vector_bytes  # of weights
    p, q = range(pixels), range(blocks)
    far = lanes >= 16  # smaller tiles have no loads to spare for what later ones need

    def emit(b: Builder, *arguments: Value) -> None:
        words = _Words(b, arguments)
        sums = [[b.alloca(vec.llvm) for _ in q] for _ in p]
        y = t.pointer(b, words["y"])
        places = _places(b, y, words)
        _start(b, words, sums, places)
        outside = zeros_address(b.module, vec)

        def multiply(sources: list[Value], w: Value, read: Callable[..., Value]) -> None:
            """One step: what ``read`` gives of each pixel by each vector of weights."""
            weights = [t.load(b, items, t.at(b, w, j * vector_bytes)) for j in q]
            for source, row in zip(sources, sums, strict=True):
                value = read(b, items, source)
                for weight, place in zip(weights, row, strict=True):
                    b.store(terms.add(b, vec, value, weight, b.load(place, typ=vec.llvm)), place)

        def column(x: Value, w: Value, steps: Value, s: Value, fetch: Value) -> Value:
            """One column of taps; returns where ``fetch`` is after it."""
            at = t.at(b, x, b.mul(s, words["x_tap"]))
            sources = [t.at(b, at, b.mul(words["x_step"], t.i64(i))) for i in p]
            if pixels > 1:
                place = b.add(words["column"], b.mul(s, words["dilation"]))
                for i in (0, pixels - 1):
                    here = b.add(place, b.mul(words["stride"], t.i64(i)))
                    inside = b.icmp_unsigned("<", here, words["wide"])
                    sources[i] = b.select(inside, sources[i], outside)
            start = t.at(b, w, b.mul(s, tap_bytes))
            if depthwise:
                multiply(sources, start, t.load)
                return fetch

            def step(i: Value, ahead: list[Value]) -> list[Value]:
                down = b.mul(i, words["x_inner"])
                here = [t.at(b, source, down) for source in sources]
                weights = t.at(b, start, b.mul(i, t.i64(step_bytes)))
                for line in range(0, step_bytes, _LINE):
                    t.prefetch(b, t.at(b, weights, _AHEAD + line))
                if far:
                    later, pixel = ahead
                    t.prefetch(b, later, locality=2)
                    t.prefetch(b, t.at(b, later, half_step), locality=2)
                    t.prefetch(b, pixel)
                    ahead = [t.at(b, later, words["fetch_step"]), t.at(b, pixel, words["x_step"])]
                multiply(here, weights, t.broadcast)
                return ahead

            ahead = t.loop(b, steps, [fetch, t.at(b, at, words["next_x"])] if far else [], step)
            return ahead[0] if far else fetch

        tap_bytes = b.mul(words["tap_steps"], t.i64(step_bytes))
        down_bytes = b.mul(words["column_taps"], tap_bytes)
        deep_bytes = b.mul(words["row_taps"], down_bytes)
        block_bytes = b.mul(words["deep_taps"], deep_bytes)
        half_step = b.lshr(words["fetch_step"], t.i64(1))
        last = b.sub(words["channel_blocks"], t.i64(1))
        x, w = (t.pointer(b, words[name]) for name in ("x", "w"))

        def channel_block(c: Value, fetch: Value) -> Value:
            steps = b.select(b.icmp_signed("==", c, last), words["last_steps"], words["steps"])
            x_c, w_c = t.at(b, x, b.mul(c, words["x_plane"])), t.at(b, w, b.mul(c, block_bytes))

            def deep(d: Value, fetch: Value) -> Value:
                x_d, w_d = t.at(b, x_c, b.mul(d, words["x_deep"])), t.at(b, w_c, b.mul(d, deep_bytes))

                def row(r: Value, fetch: Value) -> Value:
                    x_r, w_r = t.at(b, x_d, b.mul(r, words["x_down"])), t.at(b, w_d, b.mul(r, down_bytes))
                    return t.loop(b, words["columns"], fetch, lambda s, place: column(x_r, w_r, steps, s, place))

                return t.loop(b, words["rows"], fetch, row)

            return t.loop(b, words["slices"], fetch, deep)

        t.loop(b, words["channel_blocks"], t.pointer(b, words["fetch"]), channel_block)
        _finish(b, words, sums, places)

    def _places(b: Builder, base: Value, words: _Words) -> list[list[Value]]:
        rows = [t.at(b, base, b.mul(words["y_step"], t.i64(i))) for i in p]
        return [[t.at(b, row, b.mul(words["y_block"], t.i64(j))) for j in q] for row in rows]

    def _start(b: Builder, words: _Words, sums: list[list[Value]], places: list[list[Value]]) -> None:
        again = b.icmp_signed("==", words["bias"], t.i64(0))
        with b.if_else(again) as (then, otherwise):
            with then:
                for row, at in zip(sums, places, strict=True):
                    for place, source in zip(row, at, strict=True):
                        b.store(t.load(b, vec, source), place)
            with otherwise:
                bias = t.pointer(b, words["bias"])
                values = [t.load(b, vec, t.at(b, bias, j * vector_bytes)) for j in q]
                for row in sums:
                    for place, value in zip(row, values, strict=True):
                        b.store(value, place)
                with b.if_else(b.icmp_signed("!=", words["residual"], t.i64(0))) as (added, alone):
                    with added:
                        _add(b, words, sums)
                    with alone:
                        for place in (place for at in places for place in at):
                            t.prefetch(b, place, write=True)

    def _add(b: Builder, words: _Words, sums: list[list[Value]]) -> None:
        """Adds the residual, and asks for that of the next tile."""
        residual = _places(b, t.pointer(b, words["residual"]), words)
        next_tile = b.mul(words["y_step"], t.i64(pixels))
        for row, at in zip(sums, residual, strict=True):
            for place, source in zip(row, at, strict=True):
                t.prefetch(b, t.at(b, source, next_tile))
                b.store(b.fadd(b.load(place, typ=vec.llvm), t.load(b, vec, source)), place)

    def _finish(b: Builder, words: _Words, sums: list[list[Value]], places: list[list[Value]]) -> None:
        with b.if_then(b.icmp_signed("!=", words["clamp"], t.i64(0))):
            low, high = (splat(b, words[name], lanes) for name in ("low", "high"))
            for place in (place for row in sums for place in row):
                value = b.load(place, typ=vec.llvm)
                # Written so that NaN stays, at one instruction each.
                value = b.select(b.fcmp_ordered("<", value, low), low, value)
                b.store(b.select(b.fcmp_ordered(">", value, high), high, value), place)
        for row, at in zip(sums, places, strict=True):
            for place, target in zip(row, at, strict=True):
                t.store(b, vec, b.load(place, typ=vec.llvm), target)

    return emit


def sizes_of(most: int, blocks: int) -> tuple[int, ...]:
    """The pixels of the tiles that there are: all up to ``most``, but a few for depthwise convolutions."""
    if blocks:
        return tuple(range(1, most + 1))
    return (1, 2, 4, 7, 14) if most == 14 else (1, 2, 3, 6)


@cache
def conv_tile(lanes: int, pixels: int, terms: Terms) -> Callable[..., None]:
    """``tile(pixels, blocks, *ARGUMENTS)``: runs the tile of that size, of at most ``pixels`` pixels; for 0 blocks the
    one of depthwise convolutions, which multiply elements only."""
    kinds = [t.KINDS[kind] for kind in _TYPES.split()]
    signature = types.void(*(types.intp,) * 2, *(kind[1] for kind in kinds))

    def generate(context: Any, builder: Builder, _: Any, values: Any) -> Any:
        number = builder.add(builder.mul(values[1], t.i64(pixels)), builder.sub(values[0], t.i64(1)))

        def case(q: int, p: int) -> None:
            if p in sizes_of(pixels, q) and (q > 0 or terms is FACTORS):
                emit = _emit(lanes, p, max(q, 1), q == 0, terms)
                tile = t.function_of(builder, f"conv_{lanes}_{p}_{q}", [kind[0] for kind in kinds], emit)
                tile.attributes.add("optsize")  # no loop is worth a second copy
                builder.call(tile, values[2:])

        t.choose(builder, number, [partial(case, *size) for size in product(range(BLOCKS + 1), range(1, pixels + 1))])
        return context.get_dummy_value()

    names = ", ".join(f"p{i}" for i in range(2 + len(kinds)))
    scope: dict[str, Any] = {"made": (signature, generate)}
    exec(f"def tile(typing, {names}):\n    return made\n", scope)
    made: Callable[..., None] = intrinsic(scope["tile"])
    return made
