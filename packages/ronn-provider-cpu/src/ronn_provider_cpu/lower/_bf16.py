"""Operands in bfloat16, where a session asks for ``precision="bf16"``: which products take them, and how they are made.

Elements are rounded to nearest, ties to even, in pairs along the dim that is summed over: words of 32 bits. Sums stay
in float32. Constants are rounded and packed once, activations in every run, just before the product.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn_codegen.aligned import aligned_empty
from ronn_codegen.native.library import Library
from ronn_codegen.templates.conv_plan import BLOCKED, ConvPlan
from ronn_codegen.templates.gemm_shape import ROW_VECTORS, Tile, block_of_steps, packed_size, tile_of
from ronn_codegen.templates.pair_plan import PairPlan, direct_cycles, pairs
from ronn_codegen.templates.winograd_plan import WinogradPlan
from ronn_provider_cpu.lowering import Argument, Lowering, Operand

if TYPE_CHECKING:
    from ronn_provider_cpu.lower._products import Epilogue, Matrix

CONV = ("ronn_codegen.templates.conv_bf16", "conv_bf16")
GEMM = ("ronn_codegen.templates.gemm_bf16", "gemm_bf16")
STORED = ("ronn_codegen.templates.gemm", "gemm_halves_f32")
MODULE = "ronn_codegen.templates.bf16"
_PACK = "ronn_codegen.templates.gemm_pack"

# Rounding A pays from so many columns of B on, rounding B (unless it is constant) from so many rows of A.
_COLUMNS, _ROWS, _STEPS = 32, 64, 8
_NO_DOT = "this processor has no dot of bfloat16"
_FEW_ROWS = 4  # up to which the dot is made of other instructions: they cost less than widening a constant first
_NEAR, _MOST = 64, 64  # rows of a panel that lie in the nearest cache as float32; shares, each with scratch of its own


def takes(c: Lowering, a: Matrix, b: Matrix) -> bool:
    """Whether the product of two matrices of float32 is taken in bfloat16."""
    if c.precision != "bf16":
        return False
    if c.machine.target.bf16_dot:
        return _noted(c, _refusal(a, b))
    return _emulated(c, a, b) and _noted(c, "")


def _emulated(c: Lowering, a: Matrix, b: Matrix) -> bool:
    """Whether to make do without the instruction: for few rows by a constant."""
    few = a.rows <= (_FEW_ROWS if c.machine.target.fma else 1)
    return few and b.operand.data is not None and not _refusal(a, b)


def _noted(c: Lowering, refusal: str) -> bool:
    """Notes what is computed how; whether there is no refusal."""
    how = "bfloat16" if c.machine.target.bf16_dot else f"float32, with weights stored as bfloat16: {_NO_DOT}"
    c.notes.append(f"float32: {refusal}" if refusal else how)
    return not refusal


def _refusal(a: Matrix, b: Matrix) -> str:
    if a.column != 1:
        return "the left operand is transposed"
    if b.columns < _COLUMNS or a.columns < _STEPS:
        return "the product is too small"
    if b.operand.data is None and a.rows < _ROWS:
        return "the right operand changes and meets few rows"
    return ""


def stored(c: Lowering, a: Matrix, b: Matrix, y: Operand, e: Epilogue, batch: tuple[int, ...]) -> bool:
    """Adds the call of a product with a constant that is stored as bfloat16, for processors without the dot: products
    are float32's. Whether it takes this one."""
    if c.precision != "bf16" or c.machine.target.bf16_dot or _emulated(c, a, b):
        return False
    if not _noted(c, _unstored(a, b, e, batch)):
        return False
    tile, m, k, n = tile_of(c.machine.target), a.rows, a.columns, b.columns
    held = constant(c, b, tile)
    # Few rows read each panel once: what is made of it should not leave the nearest cache.
    kc = min(k, _NEAR) if m <= tile.rows else block_of_steps(m, k, tile)
    kc += kc % 2
    panels, apart = -(-n // tile.columns), 4 * kc * tile.columns
    mode, p0, p1 = e.mode
    flops, moved = 2 * m * k * n, 2 * k * n + 4 * m * (k + n)
    c.call(
        *STORED, m=m, n=n, k=k, kc=kc, a=a.operand, a_row=k, w=held, scale=0, c=y, c_row=n,
        source=0 if e.source is None else e.source.operand, source_kind=0 if e.source is None else ROW_VECTORS,
        mode=mode, p0=p0, p1=p1, room=c.temp(apart * min(panels, _MOST)), apart=apart, chunks=min(panels, _MOST),
        cost=50 + max(flops / 100, moved / 20) + k * n / 16, flops=flops, bytes=moved,
    )  # fmt: skip
    return True


def _unstored(a: Matrix, b: Matrix, e: Epilogue, batch: tuple[int, ...]) -> str:
    if b.operand.data is None:
        return f"{_NO_DOT}, and the right operand is no constant"
    if a.column != 1 or b.columns < _COLUMNS or a.columns < _STEPS:
        return _refusal(a, b)
    plain = e.source is None or (e.source.row == 0 and e.source.column == 1 and e.beta == 1)
    if np.prod(batch, dtype=np.int64) != 1 or e.alpha != 1 or not plain:
        return f"{_NO_DOT}, and there is more than one product and a bias"
    return ""


def constant(c: Lowering, b: Matrix, tile: Tile) -> np.ndarray:
    """The packed form of a constant B: int32[batch, packed words]."""
    assert isinstance(b.operand, Operand)
    key, library = ("gemm bf16", tile, b.rows, b.columns, b.row, b.batch), c.context.library
    return c.packed(b.operand, key, lambda data: _packed(library, data, b, tile))


def words(c: Lowering, a: Matrix, b: Matrix) -> tuple[Any, Any]:
    """Both operands with words in the place of pairs along k. A constant B keeps its data."""
    k = a.columns
    pairs = -(-k // 2)
    left = c.temp(4 * a.rows * pairs * _count(a))
    _pairs(c, a.operand, left, a.rows * _count(a), k)
    made = replace(a, operand=left, columns=pairs, row=pairs)
    if b.operand.data is not None:
        return made, replace(b, rows=pairs)
    count = _count(b)
    right = c.temp(4 * count * pairs * b.columns)
    if b.row == 1:
        _pairs(c, b.operand, right, b.columns * count, k)
        return made, replace(b, operand=right, rows=pairs, column=pairs)
    c.call(
        MODULE, "bf16_row_pairs", x=b.operand, y=right, rows=k, columns=b.columns, batch=count, x_row=b.row,
        x_batch=b.step, y_batch=pairs * b.columns, chunks=count * pairs, cost=50 + count * b.step / 5,
        bytes=6 * count * b.step,
    )  # fmt: skip
    return made, replace(b, operand=right, rows=pairs)


def _count(x: Matrix) -> int:
    return int(np.prod(x.batch, dtype=np.int64))


def convolution(c: Lowering, plan: ConvPlan, tiles: WinogradPlan | None, w: Operand) -> PairPlan | None:
    """The plan in words of a convolution that takes bfloat16; None where float32, by Winograd's algorithm (``tiles``)
    or as it is defined, is faster or the only way."""
    if c.precision != "bf16":
        return None
    made = pairs(plan, direct_cycles(plan) if tiles is None else tiles.cycles)
    refusal = ""
    if not c.machine.target.bf16_dot:
        refusal = _NO_DOT
    elif w.data is None:
        refusal = "the weights are no constant"
    elif plan.kind != BLOCKED:
        refusal = "the input has few channels" if plan.plain else "each channel has its own filter"
    elif any(plan.y_steps):
        refusal = "it is part of a transposed convolution"
    elif made is None:
        refusal = "Winograd's algorithm is faster" if tiles is not None else "rounding the input does not pay"
    return made if _noted(c, refusal) else None


def convolved_words(c: Lowering, plan: PairPlan, x: Argument) -> Argument:
    """The blocked input of a convolution in words."""
    made = c.temp(2 * plan.input_elements)
    _pairs(c, x, made, 1, plan.input_elements)
    return made


def _pairs(c: Lowering, x: Any, y: Any, rows: int, columns: int) -> None:
    c.call(
        MODULE, "bf16_pairs", x=x, y=y, rows=rows, columns=columns, x_row=columns, y_row=-(-columns // 2),
        chunks=rows * -(-columns // 256), cost=50 + rows * columns / 8, bytes=6 * rows * columns,
    )  # fmt: skip


def _packed(library: Library, data: np.ndarray, b: Matrix, tile: Tile) -> np.ndarray:
    given = np.ascontiguousarray(data)
    count, k, n = _count(b), b.rows, b.columns
    pairs = -(-k // 2)
    rounded = np.empty((count, pairs * n), np.int32)
    if b.row == 1:
        strides = 1, pairs
        library.kernel(MODULE, "bf16_pairs")(given.ctypes.data, rounded.ctypes.data, count * n, k, b.column, pairs)
    else:
        strides = n, 1
        library.kernel(MODULE, "bf16_row_pairs")(
            given.ctypes.data, rounded.ctypes.data, k, n, count, b.row, b.step, pairs * n
        )
    out = aligned_empty((count, packed_size(pairs, n, tile)), np.int32)
    library.kernel(_PACK, "pack_f32")(
        pairs, n, count, rounded.ctypes.data, *strides, pairs * n, out.ctypes.data, out.shape[1]
    )
    return out
