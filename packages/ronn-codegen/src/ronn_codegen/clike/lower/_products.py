"""Plans of matrix products for C-like devices: which kernel, and what is packed when.

    product(c, matrix(a), matrix(b), y)

Operands are matrices with strides of their own, so that transposed, batched and broadcast ones need no copies.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ronn.ops.fused import ACTIVATION_ARITY
from ronn.records import dataclass, replace
from ronn_codegen.clike.kernel import Kernel
from ronn_codegen.clike.lower._matrices import (
    Matrix,
    Source,
    below,
    kind_of_array,
    matrix,
    offsets_of,
    source,
    steps_of,
    strided,
)
from ronn_codegen.clike.render.epilogue import ACTIVATIONS
from ronn_codegen.clike.templates import gemm_strips as strips
from ronn_codegen.clike.templates._finish import Finish, Loads, finish
from ronn_codegen.clike.templates.gemm import Form, TiledProduct, size, tile_of
from ronn_codegen.clike.templates.gemm import Operand as Side
from ronn_codegen.loops.language import FLOATS, HALVES
from ronn_codegen.loops.write import Value as Element
from ronn_codegen.lowering import Lowering, Operand, Temporary

DIRECT_ROWS = 24
"""Rows of A up to which a contiguous B is read where it lies: for more it is packed first."""
TURNED_ROWS = 8
"""Rows of A up to which a product with a B whose columns are contiguous is computed as that of the transposes."""
WIDENED_COLUMNS = 32
"""Columns of B from which on float16 and bfloat16 elements of A become float32 before."""
_NUMPY = {"f32": np.float32, "f64": np.float64, "u32": np.uint32, "u64": np.uint64}

__all__ = ["Epilogue", "Matrix", "Source", "Terms", "call", "epilogue", "matrix", "plain", "product", "source"]


class Terms:
    """What an epilogue may take beside the sum: elements of arrays and numbers."""

    def __init__(self, loads: Loads) -> None:
        self._loads = loads
        self.sources: dict[str, Source] = {}
        self.numbers: dict[str, float] = {}

    def load(self, given: Source) -> Element:
        """The element of an array; float16 and bfloat16 widened."""
        name = f"s{len(self.sources)}"
        self.sources[name] = given
        return self._loads.array(name, given.stored)

    def number(self, value: float, kind: str = "f32") -> Element:
        """A number, f32 or f64, which may differ from node to node with the same kernel."""
        name = f"p{len(self.numbers)}"
        self.numbers[name] = value
        return self._loads.number(name, kind)


Epilogue = Callable[[Element, Terms], Element]
"""What is stored, from a sum (float32, float64, or an integer) and terms; see ``ronn_codegen.loops.write.Value``. The
result is converted to the type of the output."""


def plain(total: Element, _: Terms) -> Element:
    """The sum."""
    return total


def epilogue(c: Lowering, added: Source | None, alpha: float = 1.0, beta: float = 1.0) -> Epilogue:
    """alpha * sum + beta * source, then the activation that the node's attributes name. Refuses one that is not
    known."""
    name = str(c.node.attributes.get("activation", ""))
    params = [float(p) for p in c.node.attributes.get("activation_params", ())]
    c.require(ACTIVATION_ARITY.get(name) == len(params), f"activation {name!r} with parameters {params}")

    def make(total: Element, terms: Terms) -> Element:
        kind = total.dtype
        if kind in FLOATS:
            value = total if alpha == 1 else total * terms.number(alpha, kind)
        else:
            c.require(alpha == int(alpha) and beta == int(beta), "integers times a fraction")
            value = total if alpha == 1 else total * int(alpha)
        if added is not None and beta != 0:
            other = terms.load(added).cast(kind)
            if beta != 1:
                other = other * (terms.number(beta, kind) if kind in FLOATS else int(beta))
            value = value + other
        if name:
            c.require(kind in FLOATS, "an activation of integers")
            value = ACTIVATIONS[name][1](value, *params)
        return value

    return make


def product(
    c: Lowering, a: Matrix, b: Matrix, y: Operand | Matrix, e: Epilogue = plain, *, a_zero: Source | None = None,
    b_zero: Source | None = None, sums: str = "",
) -> None:  # fmt: skip
    """Adds the calls for Y = e(A @ B), with batches that broadcast.

    ``y``: an operand in C order, or matrices in it. ``a_zero``, ``b_zero``: zero points of bytes, one for each row of A
    or column of B, or one for all (strides of 0). ``sums``: the type that sums are kept in; float32 for float16 and
    bfloat16, int32 for bytes, by default that of the operands.
    """
    form = sums if sums else _sums(a.stored, b.stored)
    batch = np.broadcast_shapes(a.batch, b.batch)
    if not isinstance(y, Matrix):
        y = Matrix(y, a.rows, b.columns, b.columns, 1, batch, steps_of(batch, a.rows * b.columns))
    terms: list[Terms] = []

    def make(total: Element, loads: Loads) -> Element:
        terms.append(Terms(loads))
        return e(total, terms[0])

    done = finish(form, y.stored, make)
    used = {p.name for p in done.arrays}
    _Plan(c, a, b, y, batch, form, done, terms[0], used, a_zero, b_zero).run()


def _sums(a: str, b: str) -> str:
    if a in HALVES or b in HALVES:
        return "f32"
    return "i32" if a in ("i8", "u8") else a


@dataclass
class _Plan:
    c: Lowering
    a: Matrix
    b: Matrix
    y: Matrix
    batch: tuple[int, ...]
    sums: str
    finish: Finish
    terms: Terms
    used: set[str]
    a_zero: Source | None
    b_zero: Source | None

    def run(self) -> None:
        target = self.c.machine
        bytes_ = self.a.stored in ("i8", "u8") and self.sums == "i32"
        staged = "i16" if bytes_ else self.added
        self._merge()
        tile = None if target.cached else tile_of(target, size(staged), size(staged))
        if tile is None:
            self._strips(bytes_)
            return
        a, b = (Side(x.stored, staged, z is not None) for x, z in ((self.a, self.a_zero), (self.b, self.b_zero)))
        form = Form(a, b, self.added, self.y.stored, self.finish)
        kernel = TiledProduct(form, tile, self.a.column == 1, self.b.row == 1)
        zeros = self._zero("a", self.a_zero, "row") | self._zero("b", self.b_zero, "column")
        self._call(kernel, self.a, self.b, zeros, {"b_row": self.b.row, "b_column": self.b.column})

    @property
    def added(self) -> str:
        """The type that sums are added up in: integers wrap."""
        if self.a.stored in ("i8", "u8") and self.sums == "i32":
            return "i32"
        return {"i32": "u32", "i64": "u64"}.get(self.sums, self.sums)

    def _strips(self, bytes_: bool) -> None:
        c, sums = self.c, self.added
        self._turn()
        a, b = self._widened(), self.b
        strip = strips.strip_of(c.machine, sums, a.rows)
        alike = strips.same(b.stored, sums)
        zero = self.b_zero
        held: Any
        fixed = zero is None or isinstance(zero.operand, np.ndarray)
        if b.operand.data is not None and fixed:
            of_b, held = self._packed(strip, bytes_)
        elif zero is None and alike and b.column == 1 and (a.rows <= DIRECT_ROWS or b.columns == 1):
            of_b, held = replace(b, kind=sums), b.place
            strip = strips.wide(strip)
        else:
            of_b, held = self._pack(strip, "i16" if bytes_ else sums)
        step, panel = (b.row, strip.columns) if of_b.row else (strip.columns, b.rows * strip.columns)
        side = Side(of_b.stored, of_b.stored)
        form = Form(Side(a.stored, a.stored, self.a_zero is not None), side, sums, self.y.stored, self.finish)
        kernel = strips.StripProduct(form, strip, of_b.row == 0)
        self._call(kernel, a, of_b, self._zero("a", self.a_zero, "row"), {"b_step": step, "b_panel": panel}, held)

    def _turn(self) -> None:
        """Few rows of A by a B whose columns are contiguous are taken the other way round: the elements of B are then
        read one after the other, and nothing of it is packed."""
        a, b = self.a, self.b
        if a.rows > TURNED_ROWS or b.row != 1 or b.column == 1 or b.operand.data is not None:
            return
        if self.a_zero is not None or self.b_zero is not None:
            return
        self.a, self.b, self.y = b.transposed, a.transposed, self.y.transposed
        if a.rows == 1:
            self.b = replace(self.b, column=1)
        turned = {n: replace(x, row=x.column, column=x.row) for n, x in self.terms.sources.items()}
        self.terms.sources |= turned

    def _widened(self) -> Matrix:
        """A, float16 and bfloat16 as float32 where each element is read often."""
        a = self.a
        if a.stored not in HALVES or not isinstance(a.operand, Operand) or self.b.columns < WIDENED_COLUMNS:
            return a
        held = self.c.temp(4 * a.operand.size)
        call(self.c, strips.widen(a.stored), x=a.operand, y=held, n=a.operand.size, bytes=6 * a.operand.size)
        return replace(a, operand=held, kind="f32")

    def _pack(self, strip: strips.Strip, kind: str) -> tuple[Matrix, Temporary]:
        """B packed at each run."""
        c, b = self.c, self.b
        of_b = self._panels(strip, kind)
        count = math.prod(b.batch)
        held = c.temp(count * of_b.start * size(kind))
        kernel = strips.pack(Side(b.stored, kind, self.b_zero is not None), strip.columns)
        call(
            c, kernel, k=b.rows, n=b.columns, count=count, offsets=b.offsets(b.batch), b=b.place, b_row=b.row,
            b_column=b.column, **self._zero("b", self.b_zero, "column"), packed=held,
            bytes=count * b.rows * b.columns * (size(b.stored) + size(kind)),
        )  # fmt: skip
        return replace(of_b, start=0), held

    def _packed(self, strip: strips.Strip, bytes_: bool) -> tuple[Matrix, np.ndarray]:
        """A constant B packed once: bytes less their zero points, as int8 where they fit."""
        b, zero, sums = self.b, self.b_zero, self.added
        less: Any = 0 if zero is None else zero.operand
        assert isinstance(b.operand, Operand)
        key: tuple[object, ...] = (
            "strips",
            strip.columns,
            sums,
            b.rows,
            b.columns,
            b.row,
            b.column,
            b.batch,
            b.steps,
            b.start,
        )
        if zero is not None:
            key = (*key, less.tobytes(), zero.column)

        def arrange(data: np.ndarray) -> np.ndarray:
            values = strided(data, b)
            if bytes_:
                values = values.astype(np.int16) - np.asarray(less, np.int16).reshape(-1)
                if values.size == 0 or (values.min() >= -128 and values.max() < 128):
                    values = values.astype(np.int8)
            else:
                values = values.astype(_NUMPY[sums], copy=False)
            return strips.packed(values, strip.columns)

        held = self.c.packed(b.operand, key, arrange)
        return replace(self._panels(strip, kind_of_array(held)), start=0), held

    def _panels(self, strip: strips.Strip, kind: str) -> Matrix:
        """B as panels, each matrix ``start`` elements behind the one before."""
        b = self.b
        each = -(-b.columns // strip.columns) * b.rows * strip.columns
        return Matrix(Temporary(0, 0), b.rows, b.columns, 0, 0, b.batch, steps_of(b.batch, each), each, kind)

    def _merge(self) -> None:
        """Matrices of A that stand below each other, by the same B, become one."""
        rows, batch = self.a.rows, self.batch
        sources = {n: x for n, x in self.terms.sources.items() if n in self.used}
        zero = self.a_zero is None or self.a_zero.row == 0
        if not batch or math.prod(self.b.batch) != 1 or not zero:
            return
        parts: list[Matrix | Source] = [self.a, self.y, *sources.values()]
        if not all(below(x.batch, x.steps, x.row, rows, batch) for x in parts):
            return
        whole = rows * math.prod(batch)
        self.a, self.y = (replace(x, rows=whole, batch=(), steps=()) for x in (self.a, self.y))
        self.b = replace(self.b, batch=(), steps=())
        self.terms.sources |= {n: replace(x, batch=(), steps=()) for n, x in sources.items()}
        self.batch = ()

    def _zero(self, name: str, zero: Source | None, along: str) -> dict[str, Any]:
        if zero is None:
            return {}
        step = zero.row if along == "row" else zero.column
        return {f"{name}_zero": zero.operand, f"{name}_zero_step": step}

    def _call(
        self, kernel: Any, a: Matrix, b: Matrix, zeros: dict[str, Any], of_b: dict[str, int], held: Any = None
    ) -> None:
        count = math.prod(self.batch)
        sources = {n: s for n, s in self.terms.sources.items() if n in self.used}
        columns = [x.offsets(self.batch) for x in (a, b, self.y)]
        columns += [offsets_of(s.batch, s.steps, self.batch) for s in sources.values()]
        given: dict[str, Any] = {"offsets": np.ascontiguousarray(np.stack(columns, 1)) if count > 1 else 0}
        for name, s in sources.items():
            given |= {name: s.operand, f"{name}_row": s.row, f"{name}_column": s.column}
        numbers = {p.name for p in self.finish.numbers}
        given |= {name: value for name, value in self.terms.numbers.items() if name in numbers}
        flops = 2 * count * a.rows * a.columns * b.columns
        call(
            self.c, kernel, m=a.rows, n=b.columns, k=a.columns, batch=count, a=a.place, a_row=a.row,
            a_column=a.column, b=b.place if held is None else held, **of_b, y=self.y.place, y_row=self.y.row,
            y_column=self.y.column, **zeros, **given, flops=flops,
        )  # fmt: skip


def call(c: Lowering, kernel: Kernel, **arguments: Any) -> None:
    """Adds a call of a kernel of C-like devices."""
    c.call_loop(kernel, **arguments)  # type: ignore[arg-type]  # devices of this kind build no object code
