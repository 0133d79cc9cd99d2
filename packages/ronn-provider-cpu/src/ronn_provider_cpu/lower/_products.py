"""Plans of matrix products: which kernel, where the operands lie, and what must be packed when."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ronn.ops.fused import ACTIVATION_ARITY
from ronn.records import dataclass, replace
from ronn_codegen.native.library import Library
from ronn_codegen.simd.modes import mode_of
from ronn_codegen.templates.gemm_shape import (
    ROW_ELEMENTS,
    ROW_VECTORS,
    Tile,
    block_of_steps,
    guard,
    last_step,
    packed_size,
    tile_of,
)
from ronn_provider_cpu.lower import _bf16 as bf16
from ronn_provider_cpu.lower._right_operand import pack_right
from ronn_provider_cpu.lowering import F32, F64, Lowering, Operand, Temporary

_PACK, _DOT = (f"ronn_codegen.templates.{name}" for name in ("gemm_pack", "gemv"))
_GEMM = ("ronn_codegen.templates.gemm", "gemm_f32")
_GEMM64 = "ronn_codegen.templates.gemm64"
# A row-major B is packed at run time from this size on; below, reading it where it lies is as quick.
_PACKED_ROWS, _PACKED_STEPS = 192, 512
# Sums along k, whose lanes are added up at the end, pay with so many steps for each row (of A) or column (of B).
_DOT_STEPS, _DOT_ROWS, _DOT_COLUMNS = 32, 32, 8
_STREAMED = 1 << 19  # bytes of a B that few rows of A pass over once


@dataclass(frozen=True)
class Matrix:
    """An operand as matrices ``rows x columns``, one for each index of ``batch``; strides in elements."""

    operand: Operand | Temporary
    rows: int
    columns: int
    row: int
    column: int
    batch: tuple[int, ...] = ()

    @property
    def step(self) -> int:
        """Elements from one matrix to the next."""
        return self.rows * self.columns

    @property
    def transposed(self) -> Matrix:
        return replace(self, rows=self.columns, columns=self.rows, row=self.column, column=self.row)

    def arrays(self, data: np.ndarray) -> np.ndarray:
        """The operand's array as [batch, rows, columns]."""
        count = math.prod(self.batch)
        if self.column == 1:
            return data.reshape(count, self.rows, self.columns)
        return data.reshape(count, self.columns, self.rows).swapaxes(1, 2)

    def offsets(self, batch: tuple[int, ...], step: int) -> np.ndarray:
        """int64[batch]: which matrix belongs to each index of a broadcast batch, times ``step``."""
        numbers = np.arange(math.prod(self.batch), dtype=np.int64).reshape(self.batch)
        return np.broadcast_to(numbers, batch).reshape(-1) * step


def matrix(x: Operand, *, transposed: bool = False) -> Matrix:
    """The last two dims of an operand as matrices; of vectors the one dim is a row."""
    *batch, rows, columns = x.shape if x.rank > 1 else (1, *x.shape)
    made = Matrix(x, rows, columns, columns, 1, tuple(batch))
    return made.transposed if transposed else made


@dataclass(frozen=True)
class Source:
    """What is added to a product: element (i, j) lies at ``i * row + j * column`` elements."""

    operand: Operand
    row: int
    column: int


def source(x: Operand, rows: int, columns: int) -> Source:
    """An operand that broadcasts to ``rows x columns``."""
    high, wide = (1, 1, *x.shape)[-2:]
    return Source(x, wide if high > 1 else 0, 1 if wide > 1 else 0)


@dataclass(frozen=True)
class Epilogue:
    """alpha * A @ B + beta * source, then an activation."""

    alpha: float = 1.0
    beta: float = 1.0
    source: Source | None = None
    mode: tuple[int, float, float] = (0, 0.0, 0.0)


def epilogue(c: Lowering, added: Source | None, alpha: float = 1.0, beta: float = 1.0) -> Epilogue:
    """With the activation that the node's attributes name. Refuses one that is not known."""
    name = str(c.node.attributes.get("activation", ""))
    params = [float(p) for p in c.node.attributes.get("activation_params", ())]
    c.require(ACTIVATION_ARITY.get(name) == len(params), f"activation {name!r} with parameters {params}")
    return Epilogue(float(alpha), float(beta), None if beta == 0.0 else added, mode_of(name, params))


def product(c: Lowering, a: Matrix, b: Matrix, y: Operand, e: Epilogue) -> None:
    """Adds the calls for Y = epilogue(A @ B), with batches that broadcast."""
    c.require(y.dtype in (F32, F64), "only float32 and float64")
    if a.batch and math.prod(b.batch) == 1 and a.column == 1 and (e.source is None or e.source.row == 0):
        a = replace(a, rows=a.rows * math.prod(a.batch), batch=())
    batch = np.broadcast_shapes(a.batch, b.batch)
    if b.columns == 1 and a.rows > 1:
        a, b = b.transposed, a.transposed
        s = e.source
        e = replace(e, source=None if s is None else Source(s.operand, s.column, s.row))
    if y.dtype == F64:
        _wide(c, a, b, y, e, batch)
    elif _few_rows(a, b):
        _dot(c, b.transposed, a, b.operand, y, e, batch, across=True)
    elif _few_columns(a, b):
        _dot(c, a, b.transposed, _along_k(c, b), y, e, batch, across=False)
    elif not bf16.stored(c, a, b, y, e, batch):
        _general(c, a, b, y, e, batch)


def _table(a: Matrix, b: Matrix, b_step: int, y_step: int, batch: tuple[int, ...]) -> Any:
    """int64[batch, 4]: offsets of A, B, Y and the source; 0 for one product."""
    count = math.prod(batch)
    if count == 1:
        return 0
    of_y = np.arange(count, dtype=np.int64) * y_step
    columns = [a.offsets(batch, a.step), b.offsets(batch, b_step), of_y, np.zeros(count, np.int64)]
    return np.ascontiguousarray(np.stack(columns, 1))


def _added(e: Epilogue, columns: int) -> dict[str, Any]:
    s = e.source
    if s is None:
        return {"source": 0, "source_row": 0, "source_kind": 0}
    kind = ROW_VECTORS if s.column == 1 or columns == 1 else ROW_ELEMENTS
    return {"source": s.operand, "source_row": s.row, "source_kind": kind}


def _measures(a: Matrix, b: Matrix, batch: tuple[int, ...], size: int) -> dict[str, Any]:
    """Estimates of the work for the executor and for profiles."""
    count = math.prod(batch)
    flops = 2 * count * a.rows * a.columns * b.columns
    a_bytes, b_bytes = (size * math.prod(x.batch) * x.step for x in (a, b))
    moved = a_bytes + b_bytes + size * count * a.rows * b.columns
    return {"cost": 50 + max(flops * size / 400, moved / 20), "flops": flops, "bytes": moved}


def _few_rows(a: Matrix, b: Matrix) -> bool:
    """Whether B is better read along k, as it lies, than packed."""
    fits = a.rows <= max(2, min(_DOT_ROWS, a.columns // _DOT_STEPS))
    return fits and b.row == 1 and a.column == 1 and (b.columns == 1 or b.operand.data is None)


def _few_columns(a: Matrix, b: Matrix) -> bool:
    """Whether columns of B would leave most lanes empty, and sums along k pay."""
    contiguous = a.column == 1 and (b.row == 1 or b.operand.data is not None)
    return contiguous and b.columns <= _DOT_COLUMNS and b.rows >= _DOT_STEPS * max(b.columns, 4)


def _along_k(c: Lowering, b: Matrix) -> Operand | Temporary | np.ndarray:
    """B with columns that are contiguous; those of a constant can be made so."""
    if b.row == 1:
        return b.operand
    shape = (math.prod(b.batch), b.rows, b.columns)
    return c.packed(b.operand, "columns", lambda data: np.ascontiguousarray(data.reshape(shape).transpose(0, 2, 1)))


def _dot(
    c: Lowering, matrix: Matrix, vectors: Matrix, b: Operand | Temporary | np.ndarray, y: Operand, e: Epilogue,
    batch: tuple[int, ...], *, across: bool,
) -> None:  # fmt: skip
    """Rows of ``matrix`` by those of ``vectors``; the result has a row for each vector, or (not ``across``) each row
    of the matrix. ``b`` holds the right operand of the two."""
    m, count, k = matrix.rows, vectors.rows, matrix.columns
    columns = m if across else count
    a, x = (b, vectors.operand) if across else (matrix.operand, b)
    measures = _measures(matrix, vectors.transposed, batch, 4)
    table = _table(matrix, vectors, vectors.step, m * count, batch)
    mode, p0, p1 = e.mode
    c.call(
        _DOT, "dot_f32", m=m, count=count, k=k, batch=math.prod(batch), offsets=table,
        a=a, a_row=k, x=x, x_row=k, y=y, y_row=1 if across else columns, y_column=columns if across else 1,
        **_added(e, columns), alpha=e.alpha, beta=e.beta, mode=mode, p0=p0, p1=p1,
        chunks=math.prod(batch) * -(-m // 4), **measures,
    )  # fmt: skip


def _general(c: Lowering, a: Matrix, b: Matrix, y: Operand, e: Epilogue, batch: tuple[int, ...]) -> None:
    tile, given = tile_of(c.machine.target), b
    halved = bf16.takes(c, a, b)
    measures = _measures(a, b, batch, 2 if halved else 4)
    if halved:
        a, b = bf16.words(c, a, b)
    m, k, n = a.rows, a.columns, b.columns
    size, kc = packed_size(k, n, tile), block_of_steps(m, k, tile)
    packed = {"b_step": tile.columns, "b_last": last_step(n, tile), "b_panel": k * tile.columns, "tail": 0}
    if given.operand.data is not None:
        held: Any = bf16.constant(c, given, tile) if halved else _constant(c, given, tile)
        place = packed
    elif b.column != 1 or (m >= _PACKED_ROWS and k >= _PACKED_STEPS):
        count = math.prod(b.batch)
        held, place = c.temp(4 * count * size), packed
        c.call(
            _PACK, "pack_f32", k=k, n=n, batch=count, b=b.operand, b_row=b.row, b_column=b.column, b_batch=b.step,
            packed=held, packed_batch=size, chunks=count * -(-n // tile.columns) * -(-k // 128),
            cost=50 + count * size / 5, bytes=8 * count * size,
        )  # fmt: skip
    else:
        held, size = b.operand, b.step
        place = {"b_step": b.row, "b_last": b.row, "b_panel": tile.columns, "tail": guard(k, n, b.row, tile)}
        if 4 * k * n > _STREAMED and m <= 16:
            kc = min(kc, 8 if m <= 4 else 16)
    mode, p0, p1 = e.mode
    module, kernel = bf16.GEMM if halved else _GEMM
    c.call(
        module, kernel, m=m, n=n, k=k, kc=kc, batch=math.prod(batch), offsets=_table(a, b, size, m * n, batch),
        a=a.operand, a_row=a.row, a_step=a.column, b=held, **place, c=y, c_row=n, **_added(e, n),
        alpha=e.alpha, beta=e.beta, mode=mode, p0=p0, p1=p1,
        chunks=math.prod(batch) * tile.tiles(m, n), **measures,
    )  # fmt: skip


def _constant(c: Lowering, b: Matrix, tile: Tile) -> np.ndarray:
    assert isinstance(b.operand, Operand)
    key, library = ("gemm", tile, b.rows, b.columns, b.row, b.batch), c.context.library
    return c.packed(b.operand, key, lambda data: _packed(library, data, b, tile))


def _packed(library: Library, data: np.ndarray, b: Matrix, tile: Tile) -> np.ndarray:
    """The packed form of a constant: float32[batch, packed elements]."""
    return pack_right(library, b.arrays(data), tile)


def _wide(c: Lowering, a: Matrix, b: Matrix, y: Operand, e: Epilogue, batch: tuple[int, ...]) -> None:
    """float64: B is read where it lies."""
    c.require(e.mode[0] == 0, "float64 with an activation")
    c.require(b.column == 1 or b.operand.data is not None, "float64 with a transposed operand")
    tile = tile_of(c.machine.target, 64)
    m, k, n = a.rows, a.columns, b.columns
    held: Any = b.operand
    if b.column != 1:
        shape = (math.prod(b.batch), n, k)
        held = c.packed(
            b.operand, "transposed", lambda data: np.ascontiguousarray(data.reshape(shape).transpose(0, 2, 1))
        )
    c.call(
        _GEMM64, "gemm_f64", m=m, n=n, k=k, kc=block_of_steps(m, k, tile), batch=math.prod(batch),
        offsets=_table(a, b, b.step, m * n, batch), a=a.operand, a_row=a.row, a_step=a.column, b=held, b_step=n,
        b_last=n, b_panel=tile.columns, tail=guard(k, n, n, tile), c=y, c_row=n, **_added(e, n), alpha=e.alpha,
        beta=e.beta, mode=0, p0=0.0, p1=0.0, chunks=math.prod(batch) * tile.tiles(m, n),
        **_measures(a, b, batch, 8),
    )  # fmt: skip
