"""What lowerings of quantised products share: packed weights, left sides, calls, quantising on the way in.

A left side is unsigned bytes; signed ones are flipped by 128 first, and so are their zero points. Weights are taken
less their zero points: where those do not fit a signed byte the product runs over parts that add up to them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ronn.provider.native import Scratch
from ronn.records import dataclass, replace
from ronn_codegen.lower._copies import emit
from ronn_codegen.lower._quantised import (
    FLIP,
    NOTHING,
    QUANTIZE,
    SLACK,
    fixed,
    fixed_number,
    flipped,
    limits,
    lut,
    quantise_dynamically,
    unsigned_zero,
)
from ronn_codegen.templates.int8_pack import (
    Int8Tile,
    depthwise_tile,
    pack,
    pad_columns,
    planes_tile,
    rows_table,
    tile_of,
)
from ronn_codegen.templates.jobs import Copies, Side, contiguous
from ronn_provider_cpu.lower._int8_columns import Differences, packed_signed
from ronn_provider_cpu.lowering import I8, U8, Lowering, Operand, Temporary

GEMM = "ronn_codegen.templates.int8_gemm"
CONV = "ronn_codegen.templates.int8_conv"
_DOTS, _PLAIN = 450.0, 90.0  # operations a nanosecond on one core, with and without a dot instruction

Array = np.ndarray
Argument = Any

__all__ = [
    "CONV", "FLIP", "GEMM", "NOTHING", "QUANTIZE", "SLACK", "Left", "Right", "Stages", "Window", "fixed",
    "fixed_number", "flipped", "limits", "lut", "matrix", "matrix_table", "padded_pixels", "pixels",
    "quantise_dynamically", "spills", "to_bytes", "to_words", "transposed", "unsigned_zero", "weights",
]  # fmt: skip


@dataclass(frozen=True)
class Left:
    """Rows of bytes: row m begins at ``place + table[m]``; see ``templates._int8_tile``."""

    place: Argument
    table: Array
    m: int
    taps: int = 1
    row_step: int = 0
    cols: int = 1
    col_step: int = 0
    k: int = 0  # bytes of a tap
    depthwise: bool = False

    @property
    def groups(self) -> int:
        return -(-self.k // 4)


@dataclass(frozen=True)
class Right:
    """Packed weights of N columns, and the sums of each column less its zero point: arrays, or memory of the run.

    Weights less their zero points are ``parts`` packed parts that add up, or one whose columns still have ``zeros``.
    """

    packed: Argument
    sums: Argument
    n: int
    parts: int
    tile: Int8Tile
    zeros: Array | None = None

    def column(self, values: Any, dtype: Any) -> Argument:
        """A value per column as the kernels read them."""
        if isinstance(values, (Temporary, Scratch)):
            return values
        return pad_columns(values, self.n, self.tile, dtype)


@dataclass(frozen=True)
class Stages:
    """Further roundings of an output; see ``BYTES`` in ``templates._int8_tile``. ``affine`` is f32[stages, 2, N]."""

    affine: Array
    limits: Array
    add: Argument = 0
    add_stage: int = -1


# --- right sides


def weights(
    c: Lowering, given: Operand, key: Any, arrange: Any, zero: Array | None, *, depthwise: bool = False,
    planes: bool = False, keep_zeros: bool = False,
) -> Right:  # fmt: skip
    """``arrange(constant - zero point)``, int16[taps, K, N] (or [taps, N]), packed. Zero points are a scalar or of the
    shape that broadcasts to the constant. keep_zeros: they may stay, where one part would not do without."""
    tile = (depthwise_tile if depthwise else planes_tile if planes else tile_of)(c.machine.target)
    data = given.data
    c.require(data is not None and data.dtype in (I8, U8), "weights are not constant bytes")
    zeros = np.zeros((), np.uint8) if zero is None else zero
    full = ("int8", tile, key, zeros.dtype.str, zeros.shape, zeros.tobytes())

    def differences(w: Array) -> Differences:
        return Differences(w, zeros, arrange)

    known = c.packed(given, (*full, "facts"), lambda w: differences(w).facts())
    count, n = int(known[-1]), len(known) - 1
    # Parts cost a dot each for every four values; zero points that stay cost the sums of the rows.
    fours = -(-given.size // max(n, 1) // 4)
    if keep_zeros and not depthwise and fours * -(-n // tile.lanes) * (count - 1) > fours + 25:
        base = 128 if data is not None and data.dtype == U8 else 0
        left = np.broadcast_to(zeros.astype(np.int16) - base, given.shape)
        packed = c.packed(given, (*full, "kept"), lambda w: packed_signed(w, arrange, tile))
        return Right(packed, known[:-1], n, 1, tile, np.asarray(arrange(left))[0, 0])
    c.require(count == 1 or not depthwise, "the weights' zero points are out of reach")

    def packing(w: Array) -> Array:
        return differences(w).packed_depthwise(tile) if depthwise else differences(w).packed(count, tile)

    return Right(c.packed(given, full, packing), known[:-1], n, count, tile)


# --- left sides


@lru_cache(maxsize=256)
def pixel_table(n: int, h: int, w: int, pitch: int, oh: int, ow: int, sh: int, sw: int) -> Array:
    """Where the windows of a convolution begin in ``[n, h, w, pitch]``."""
    i, y, x = np.ogrid[:n, :oh, :ow]
    return rows_table(((i * h + y * sh) * w + x * sw) * pitch)


@lru_cache(maxsize=256)
def matrix_table(rows: int, pitch: int) -> Array:
    return rows_table(np.arange(rows) * pitch)


def matrix(c: Lowering, a: Operand | Temporary, rows: int, k: int) -> Left:
    """``a[rows, k]`` in bytes; copied to rows of whole words where they are not that."""
    if k % 4 == 0 or (isinstance(a, Temporary) and a.nbytes >= rows * k + SLACK):
        return Left(a, matrix_table(rows, k), rows, k=k)
    copied = c.temp(rows * k + SLACK)
    copies = Copies()
    copies.add((rows * k,), 1, Side(0, 0, (1,)), Side(1, 0, (1,)))
    emit(c, copies, [a, copied])
    return Left(copied, matrix_table(rows, k), rows, k=k)


@dataclass(frozen=True)
class Window:
    """A two-dimensional convolution over ``[n, h, w, channels]``; pads are (top, left, bottom, right)."""

    n: int
    h: int
    w: int
    channels: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]
    group: int

    @property
    def padded(self) -> tuple[int, int]:
        return self.h + self.pads[0] + self.pads[2], self.w + self.pads[1] + self.pads[3]

    @property
    def out(self) -> tuple[int, int]:
        return tuple(  # type: ignore[return-value]
            (size - d * (k - 1) - 1) // s + 1
            for size, k, s, d in zip(self.padded, self.kernel, self.strides, self.dilations, strict=True)
        )

    @property
    def folds(self) -> bool:
        """Whether the columns of a filter row lie side by side for one group."""
        return self.group == 1 and (self.dilations[1] == 1 or self.kernel[1] == 1)

    def depthwise(self, filters: int) -> bool:
        return self.group == self.channels == filters > 1

    def arrange(self, v: Array) -> Array:
        """Weights [K, C, R, S] of one group as [taps, K of a tap, N]."""
        k, ch, r, s = v.shape
        if self.folds:
            return v.transpose(2, 3, 1, 0).reshape(r, s * ch, k)
        return v.transpose(2, 3, 1, 0).reshape(r * s, ch, k)


def padded_pixels(c: Lowering, x: Argument, window: Window, nhwc: bool, fill: Argument, spill: bool) -> Argument:
    """The pixels with their padding, channels last, and SLACK readable behind them where they ``spill``."""
    if nhwc and not any(window.pads) and not spill:
        return x
    n, h, w, ch = window.n, window.h, window.w, window.channels
    (high, wide), (top, left, bottom, right) = window.padded, window.pads
    out = c.temp(n * high * wide * ch + SLACK)
    to = contiguous((n, high, wide, ch), 1)
    source = contiguous((n, h, w, ch), 1) if nhwc else (ch * h * w, w, 1, h * w)
    copies = Copies()
    copies.add((n, h, w, ch), 1, Side(0, 0, source), Side(1, top * to[1] + left * to[2], to))
    for rows, at in ((top, 0), (bottom, (top + h) * to[1])):
        copies.add((n, rows * to[1]), 1, Side(2, 0, (0, 0)), Side(1, at, (to[0], 1)))
    for columns, at in ((left, top * to[1]), (right, top * to[1] + (left + w) * to[2])):
        copies.add((n, h, columns * ch), 1, Side(2, 0, (0, 0, 0)), Side(1, at, (to[0], to[1], 1)))
    emit(c, copies, [x, out, fill])
    return out


def spills(c: Lowering, window: Window, filters: int) -> bool:
    """Whether reading whole words (or vectors) runs past the last pixel."""
    if window.depthwise(filters):
        return window.channels % depthwise_tile(c.machine.target).lanes != 0
    per_group = window.channels // window.group
    return (window.kernel[1] * per_group if window.folds else per_group) % 4 != 0


def pixels(place: Argument, window: Window, filters: int, group: int = 0) -> Left:
    """The left side of one group of a convolution whose pixels carry their padding."""
    high, wide = window.padded
    oh, ow = window.out
    ch = window.channels
    table = pixel_table(window.n, high, wide, ch, oh, ow, *window.strides)
    m, row_step = window.n * oh * ow, window.dilations[0] * wide * ch
    if window.folds:
        return Left(place, table, m, window.kernel[0], row_step, k=window.kernel[1] * ch)
    per_group = ch // window.group
    at = place if group == 0 else place.at(group * per_group)
    return Left(
        at, table, m, window.kernel[0], row_step, window.kernel[1], window.dilations[1] * ch, per_group,
        window.depthwise(filters),
    )  # fmt: skip


@lru_cache(maxsize=64)
def _ones(taps: int, k: int, tile: Int8Tile) -> Array:
    """Weights of one column that sum up a left side."""
    return pack(np.ones((taps, k, 1), np.int8), tile)


# --- calls


def _geometry(c: Lowering, left: Left, right: Right, y: Argument, pitch: int) -> dict[str, Any]:
    if right.parts > 1:
        c.require(left.cols == 1, "the weights' zero points are out of reach of a dilated filter")
        left = replace(left, cols=right.parts, col_step=0)
    operations = 2 * left.m * right.n * left.taps * left.cols * (1 if left.depthwise else left.k)
    rate = 20.0 if left.depthwise else _DOTS if c.machine.target.int8_dot else _PLAIN
    return {
        "x": left.place, "table": left.table, "m": left.m, "n": right.n, "w": right.packed, "taps": left.taps,
        "row_step": left.row_step, "cols": left.cols, "col_step": left.col_step, "groups": left.groups, "y": y,
        "pitch": pitch, "flops": operations, "chunks": max(1, left.m // 16) * -(-right.n // right.tile.columns),
        "cost": 200 + operations / rate + left.m * right.n / 15,
        "bytes": left.m * right.n + left.taps * left.cols * left.k * right.n + left.m * left.k,
    }  # fmt: skip


def to_bytes(
    c: Lowering, left: Left, right: Right, y: Argument, pitch: int, *, init: Any, scale: Any, low: float, high: float,
    zero: int, stages: Stages | None = None, less: int = 0,
) -> None:  # fmt: skip
    """The product as bytes: ``init`` is added to the sums and ``less`` times those of the weights' columns taken away,
    ``scale`` is per column, the rest as in ``int8_bytes``."""
    more: dict[str, Any] = {
        "stages": 0,
        "affine": 0,
        "affine_pitch": 0,
        "limits": 0,
        "add": 0,
        "add_pitch": 0,
        "add_stage": 0,
    }
    first = right.column(init, np.int32)
    if stages is not None:
        affine = np.zeros((*stages.affine.shape[:2], first.size), np.float32)
        affine[:, :, : right.n] = stages.affine
        more = {
            "stages": len(affine), "affine": affine, "affine_pitch": 4 * first.size,
            "limits": np.ascontiguousarray(stages.limits, np.float32), "add": stages.add, "add_pitch": pitch,
            "add_stage": stages.add_stage,
        }  # fmt: skip
    c.call(
        CONV if left.depthwise else GEMM, "int8_depthwise_bytes" if left.depthwise else "int8_bytes",
        **_geometry(c, left, right, y, pitch), init=first, zero=less,
        colsum=right.column(right.sums, np.int32) if less else first,
        scale=right.column(scale, np.float32), low=low, high=high, out_zero=zero, **more,
    )  # fmt: skip


def to_words(
    c: Lowering, left: Left, right: Right, y: Argument, pitch: int, *, images: int = 0, zero_at: Argument = 0,
    raw: bool = False, init: Any = 0, scale: Any = 1, factor_at: Argument = 0, bias: Any = 0,
) -> None:  # fmt: skip
    """The product as int32 (``raw``) or float32; zero point and scale of the left side may lie in memory, and so may
    ``init``, with SLACK behind it. Of ``images`` the columns lie ``pitch`` apart; else the rows do."""
    first = right.column(init, np.int32)
    geometry = _geometry(c, left, right, y, pitch)
    rowsum: Argument = 0
    if right.zeros is not None:
        rowsum = c.temp(4 * left.m + SLACK)
        tile = tile_of(c.machine.target)
        ones = Right(_ones(left.taps * left.cols, left.k, tile), np.zeros(1, np.int32), 1, 1, tile)
        to_words(c, left, ones, rowsum, 4, raw=True)
    zeros = 0 if right.zeros is None else right.column(right.zeros, np.int32)
    if images:
        geometry |= {"images": images, "m": left.m // images}
    c.call(
        CONV if left.depthwise else GEMM,
        "int8_depthwise_words" if left.depthwise else "int8_planes" if images else "int8_words",
        **geometry, init=first, colsum=right.column(right.sums, np.int32), zero_at=zero_at,
        scale=right.column(scale, np.float32), factor_at=factor_at, bias=right.column(bias, np.float32), low=-np.inf,
        high=np.inf, rowsum=rowsum, col_zero=zeros, raw=int(raw),
    )  # fmt: skip


def transposed(c: Lowering, x: Argument, y: Argument, n: int, rows: int, columns: int, size: int) -> None:
    """``x[n, rows, columns]`` to ``y[n, columns, rows]``, elements of ``size`` bytes."""
    copies = Copies()
    copies.add(
        (n, columns, rows), size, Side(0, 0, (rows * columns * size, size, columns * size)),
        Side(1, 0, contiguous((n, columns, rows), size)),
    )  # fmt: skip
    emit(c, copies, [x, y])
