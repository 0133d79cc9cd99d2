"""Depthwise convolution in float32 on blocked channels, for the common windows; see ``conv_plan``.

A *strip* is a few neighbouring columns of output over many rows, kept in registers row by row: each input vector is
loaded once for a row of taps and multiplied by every weight that needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from itertools import product
from typing import Any

from numba import njit, types
from numba.extending import intrinsic

from ronn_codegen.native.declare import native
from ronn_codegen.simd import tile as t
from ronn_codegen.simd.emit import Builder, splat
from ronn_codegen.simd.modes import CLAMP
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.tile import I64, Value
from ronn_codegen.simd.types import Vec
from ronn_codegen.templates.conv_plan import STRIP_KINDS, WORDS, pixels_of
from ronn_codegen.templates.conv_row import ending_of
from ronn_codegen.templates.conv_tile import sizes_of, words_reader, zeros_address

_run_words = words_reader(
    WORDS,
    "images groups rows rows_a_unit column_taps row_taps x_image x_plane x_column y_image y_block y_step y_row "
    "out_last_lanes out_wide lead trail edge left stride",
)
_STRIP_WORDS = ("top", "high_stride", "in_high", "row_taps", "x_row", "y_row", "wide")
# Addresses: x of the strip's first column of taps in row 0 (which may lie outside), y and residual (0: none) of its
# first column in row 0. column: of the input, at the first tap; first and end: rows of output.
_ARGUMENTS = "plan x w y bias residual column first end clamp low high"
_TYPES = "i64 " * 10 + "f32 f32"


def _emit(lanes: int, pixels: int, taps: int, stride: int) -> Callable[..., None]:
    """What emits the strip of so many columns, for rows of so many taps."""
    vec = Vec("f32", lanes)
    pixel = 4 * lanes
    columns = (pixels - 1) * stride + taps

    def emit(b: Builder, *arguments: Value) -> None:
        given = dict(zip(_ARGUMENTS.split(), arguments, strict=True))
        table = t.pointer(b, given["plan"])
        words = {name: b.load(t.at(b, table, 8 * WORDS[name]), typ=I64, align=8) for name in _STRIP_WORDS}
        sums = [b.alloca(vec.llvm) for _ in range(pixels)]
        x, w, y, residual = (t.pointer(b, given[name]) for name in ("x", "w", "y", "residual"))
        bias = t.load(b, vec, t.pointer(b, given["bias"]))
        low, high = (splat(b, given[name], lanes) for name in ("low", "high"))
        outside, zero = zeros_address(b.module, vec), t.i64(0)
        has_residual, clamps = (b.icmp_signed("!=", given[name], zero) for name in ("residual", "clamp"))
        # The first pixel and the last may have taps outside of the input.
        inside = {
            j: b.icmp_unsigned("<", b.add(given["column"], t.i64(j)), words["wide"])
            for j in range(columns) if j < taps or j >= (pixels - 1) * stride
        }  # fmt: skip

        def row_of_taps(line: Value, weights_at: Value) -> None:
            weights = [t.load(b, vec, t.at(b, weights_at, s * pixel)) for s in range(taps)]
            for j in range(columns):
                place = t.at(b, line, j * pixel)
                if j in inside:
                    place = b.select(inside[j], place, outside)
                value = t.load(b, vec, place)
                for s in range(taps):
                    i, rest = divmod(j - s, stride)
                    if rest == 0 and 0 <= i < pixels:
                        total = b.load(sums[i], typ=vec.llvm)
                        b.store(t.multiply_add(b, vec, value, weights[s], total), sums[i])

        def row(number: Value, _: Any) -> list[Value]:
            down = b.add(given["first"], number)
            top = b.sub(b.mul(down, words["high_stride"]), words["top"])
            first = b.select(b.icmp_signed("<", top, zero), b.sub(zero, top), zero)
            rest = b.sub(words["in_high"], top)
            end = b.select(b.icmp_signed("<", rest, words["row_taps"]), rest, words["row_taps"])
            line = t.at(b, x, b.mul(b.add(top, first), words["x_row"]))
            start = t.at(b, w, b.mul(first, t.i64(taps * pixel)))
            offset = b.mul(down, words["y_row"])
            for place in sums:
                b.store(bias, place)
            with b.if_then(has_residual):
                more = t.at(b, residual, offset)
                for i, place in enumerate(sums):
                    value = t.load(b, vec, t.at(b, more, i * pixel))
                    b.store(b.fadd(b.load(place, typ=vec.llvm), value), place)

            def tap_row(r: Value, _: Any) -> list[Value]:
                row_of_taps(t.at(b, line, b.mul(r, words["x_row"])), t.at(b, start, b.mul(r, t.i64(taps * pixel))))
                return []

            t.loop(b, b.sub(end, first), [], tap_row)
            with b.if_then(clamps):
                for place in sums:
                    value = b.load(place, typ=vec.llvm)
                    # Written so that NaN stays, at one instruction each.
                    value = b.select(b.fcmp_ordered("<", value, low), low, value)
                    b.store(b.select(b.fcmp_ordered(">", value, high), high, value), place)
            target = t.at(b, y, offset)
            for i, place in enumerate(sums):
                t.store(b, vec, b.load(place, typ=vec.llvm), t.at(b, target, i * pixel))
            return []

        t.loop(b, b.sub(given["end"], given["first"]), [], row)

    return emit


@cache
def _strip(lanes: int, most: int) -> Callable[..., None]:
    """``strip(kind, pixels, *_ARGUMENTS)``: a strip for one of ``STRIP_KINDS``."""
    kinds = [t.KINDS[kind] for kind in _TYPES.split()]
    signature = types.void(*(types.intp,) * 2, *(kind[1] for kind in kinds))

    def generate(context: Any, builder: Builder, _: Any, values: Any) -> Any:
        number = builder.add(builder.mul(values[0], t.i64(most)), builder.sub(values[1], t.i64(1)))

        def case(kind: tuple[int, int], pixels: int) -> None:
            if pixels in sizes_of(most, 0):
                name = f"strip_{lanes}_{pixels}_{kind[0]}_{kind[1]}"
                function = t.function_of(builder, name, [k[0] for k in kinds], _emit(lanes, pixels, *kind))
                function.attributes.add("optsize")  # no loop is worth a second copy
                builder.call(function, values[2:])

        t.choose(builder, number, [partial(case, *of) for of in product(STRIP_KINDS, range(1, most + 1))])
        return context.get_dummy_value()

    names = ", ".join(f"p{i}" for i in range(2 + len(kinds)))
    scope: dict[str, Any] = {"made": (signature, generate)}
    exec(f"def strip(typing, {names}):\n    return made\n", scope)
    made: Callable[..., None] = intrinsic(scope["strip"])
    return made


@native("depthwise_f32(plan, kind, x, w, bias, residual, y, residual_last, mode, p0: f32, p1: f32)")
def depthwise_f32(target: Target) -> Callable[..., None]:
    """As ``conv_f32``, for a plan whose ``strip_kind`` is ``kind``."""
    lanes, most = target.lanes(32), pixels_of(target)
    strip, ending = _strip(lanes, most), ending_of(lanes)
    _, _, *middle, half, _ = sizes_of(most, 0)
    few = middle[0] if middle else half
    vector_bytes = 4 * lanes

    @njit(error_model="numpy", nogil=True)
    def run(
        plan: int, kind: int, x: int, w: int, bias: int, residual: int, y: int, residual_last: int, mode: int,
        p0: float, p1: float, worker: int, workers: int,
    ) -> None:  # fmt: skip
        (
            images, blocks, rows, step, column_taps, row_taps, x_image, x_plane, x_column, y_image, y_block, y_step,
            y_row, out_last_lanes, width, lead, trail, edge, left, stride,
        ) = _run_words(plan)  # fmt: skip
        row_units = (rows + step - 1) // step
        units = images * blocks * row_units
        # Strips clamp all lanes: not where zero, which those beyond the last channel hold, would change.
        clamp = 1 if mode == CLAMP and p0 <= 0 and p1 >= 0 else 0
        follows = mode if clamp == 0 else 0
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            part, rest = unit % row_units, unit // row_units
            block, image = rest % blocks, rest // blocks
            first, end = part * step, min((part + 1) * step, rows)
            x_plane_at = x + image * x_image + block * x_plane
            y_offset = image * y_image + block * y_block
            weights = w + block * row_taps * column_taps * vector_bytes
            at = 0
            while at < width:
                left_over = trail - at
                if at < lead or left_over <= 0:
                    pixels = min(edge, (lead if at < lead else width) - at)
                elif left_over >= most:
                    pixels = most
                else:
                    pixels = half if left_over >= half else few if left_over >= few else min(left_over, 2)
                column = at * stride - left
                here = y_offset + at * y_step
                strip(
                    kind, pixels, plan, x_plane_at + column * x_column, weights, y + here, bias + block * vector_bytes,
                    residual + here if residual != 0 and residual_last == 0 else 0, column, first, end, clamp, p0, p1,
                )  # fmt: skip
                at += pixels
            if follows or residual_last:
                valid = out_last_lanes if block == blocks - 1 else lanes
                for r in range(first, end):
                    here = y_offset + r * y_row
                    ending(follows, p0, p1, y + here, residual + here if residual_last else 0, width, y_step, valid)

    return run
