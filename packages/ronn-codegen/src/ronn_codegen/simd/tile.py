"""Register tiles: loops whose sums stay in vector registers, emitted as LLVM IR.

Kernels that keep dozens of accumulators cost numba's front end seconds when they are written as unrolled Python. Here
they are emitted with llvmlite's builder instead, and called from jitted functions as one intrinsic::

    def emit(builder, kc, a, lda, b, c, ldc):                      # LLVM values
        sums = outer_products(builder, tile, kc, Rows(pointer(builder, a), scaled(builder, lda, 4), 4), ...)
        store_tile(...)

    multiply = emitted("multiply", "i64 i64 i64 i64 i64 i64", emit)

    @njit
    def run(...):
        multiply(kc, a, lda, b, c, ldc)

A tile is a list of rows of vectors (``sums[row][vector]``). Strides are in bytes, as ints or as i64 values. ``loop``
carries any nested list of values, so that tiles can be accumulated over several nested loops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ronn.records import dataclass
from ronn_codegen.simd.emit import I32, Builder, first_lanes, llvm_call, splat, suffix
from ronn_codegen.simd.types import BITS, Vec

Value = Any  # an LLVM value
I64 = ir.IntType(64)
_POINTER = ir.PointerType()
KINDS = {"i64": (I64, types.intp), "f32": (ir.FloatType(), types.float32), "f64": (ir.DoubleType(), types.float64)}


@dataclass(frozen=True)
class TileShape:
    """``rows`` by ``vectors`` accumulators of ``lanes`` elements."""

    rows: int
    vectors: int
    lanes: int
    elem: str = "f32"

    @property
    def columns(self) -> int:
        return self.vectors * self.lanes

    @property
    def vec(self) -> Vec:
        return Vec(self.elem, self.lanes)

    @property
    def size(self) -> int:
        """Bytes of one element."""
        return BITS[self.elem] // 8


@dataclass(frozen=True)
class Rows:
    """The broadcast operand: element (row, step) lies at ``base + row * row_stride + step * step_stride`` bytes."""

    base: Value
    row_stride: Value
    step_stride: Value


@dataclass(frozen=True)
class Panel:
    """The vector operand: vector j of a step lies at ``base + step * step_stride + j * vector_stride`` bytes.

    ``mask`` (lanes) applies to the last vector. Each step asks for what lies ``fetch`` bytes beyond its own first
    vector, to have it in the second-level cache.
    """

    base: Value
    step_stride: Value
    vector_stride: Value | None = None
    mask: Value | None = None
    fetch: Sequence[Value] = ()


# --- values


def i64(value: Value) -> Value:
    """An int as a constant; values stay."""
    return ir.Constant(I64, value) if isinstance(value, int) else value


def scaled(builder: Builder, value: Value, factor: int) -> Value:
    """``value * factor``, folded for ints."""
    return value * factor if isinstance(value, int) else builder.mul(value, i64(factor))


def pointer(builder: Builder, address: Value) -> Value:
    return builder.inttoptr(address, _POINTER)


def at(builder: Builder, base: Value, offset: Value) -> Value:
    """``base`` moved by so many bytes."""
    if isinstance(offset, int) and offset == 0:
        return base
    return builder.gep(base, [i64(offset)], source_etype=ir.IntType(8))


def load(builder: Builder, vec: Vec, base: Value, mask: Value | None = None) -> Value:
    """A vector, with zeros where ``mask`` is not set (those lanes are not read)."""
    align = BITS[vec.elem] // 8
    if mask is None:
        return builder.load(base, typ=vec.llvm, align=align)
    name, zero = f"llvm.masked.load.{suffix(vec)}.p0", ir.Constant(vec.llvm, None)
    return llvm_call(builder, name, vec.llvm, base, ir.Constant(I32, align), mask, zero)


def store(builder: Builder, vec: Vec, value: Value, base: Value, mask: Value | None = None) -> None:
    align = BITS[vec.elem] // 8
    if mask is None:
        builder.store(value, base, align=align)
        return
    name = f"llvm.masked.store.{suffix(vec)}.p0"
    llvm_call(builder, name, ir.VoidType(), value, base, ir.Constant(I32, align), mask)


def broadcast(builder: Builder, vec: Vec, base: Value) -> Value:
    """The element at ``base`` in every lane."""
    return splat(builder, builder.load(base, typ=vec.llvm.element, align=BITS[vec.elem] // 8), vec.lanes)


def mask_of(builder: Builder, count: Value, lanes: int) -> Value:
    """The lanes before ``count``."""
    return first_lanes(builder, count, lanes)


def multiply_add(builder: Builder, vec: Vec, a: Value, b: Value, c: Value) -> Value:
    """a * b + c, fused where the target has it."""
    return llvm_call(builder, f"llvm.fmuladd.{suffix(vec)}", vec.llvm, a, b, c)


def prefetch(builder: Builder, base: Value, *, write: bool = False, locality: int = 3) -> None:
    """Asks for a cache line. It may lie anywhere; ``locality`` is 3 for the first-level cache, 2 for the second."""
    words = [ir.Constant(I32, word) for word in (int(write), locality, 1)]
    llvm_call(builder, "llvm.prefetch.p0", ir.VoidType(), base, *words)


@dataclass(frozen=True)
class Terms:
    """What a step of a tile multiplies: operands of ``elem`` (as wide as the sums' elements, which they are where it is
    None). ``add(builder, vec, x, y, sum)`` is ``sum``, of type ``vec``, plus the products of two operands."""

    elem: str | None = None
    add: Callable[..., Value] = multiply_add

    def operands(self, sums: Vec) -> Vec:
        """The vector type of operands."""
        return sums if self.elem is None else sums.like(self.elem)


FACTORS = Terms()  # elements of the sums' type


# --- control


def _flatten(carried: Any) -> list[Value]:
    if isinstance(carried, (list, tuple)):
        return [value for item in carried for value in _flatten(item)]
    return [carried]


def _rebuild(carried: Any, values: Any) -> Any:
    if isinstance(carried, (list, tuple)):
        return [_rebuild(item, values) for item in carried]
    return next(values)


def loop(builder: Builder, count: Value, carried: Any, body: Callable[[Value, Any], Any]) -> Any:
    """``for i in range(count): carried = body(i, carried)``; returns ``carried`` as it is after the loop."""
    before = builder.block
    head, inside, after = (builder.append_basic_block(name) for name in ("loop", "body", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    index = builder.phi(I64)
    index.add_incoming(i64(0), before)
    phis = []
    for value in _flatten(carried):
        phi = builder.phi(value.type)
        phi.add_incoming(value, before)
        phis.append(phi)
    builder.cbranch(builder.icmp_signed("<", index, i64(count)), inside, after)
    builder.position_at_end(inside)
    results = _flatten(body(index, _rebuild(carried, iter(phis))))
    for phi, value in zip(phis, results, strict=True):
        phi.add_incoming(value, builder.block)
    index.add_incoming(builder.add(index, i64(1)), builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return _rebuild(carried, iter(phis))


def when(builder: Builder, condition: Value, carried: Any, body: Callable[[Any], Any]) -> Any:
    """``carried = body(carried) if condition else carried``."""
    before = builder.block
    inside, after = (builder.append_basic_block(name) for name in ("then", "after"))
    builder.cbranch(condition, inside, after)
    builder.position_at_end(inside)
    before_values = _flatten(carried)
    results = _flatten(body(_rebuild(carried, iter(before_values))))
    last = builder.block
    builder.branch(after)
    builder.position_at_end(after)
    phis = []
    for old, new in zip(before_values, results, strict=True):
        phi = builder.phi(old.type)
        phi.add_incoming(old, before)
        phi.add_incoming(new, last)
        phis.append(phi)
    return _rebuild(carried, iter(phis))


# --- tiles


def zeros(shape: TileShape) -> list[list[Value]]:
    """A tile of zeros, where sums start."""
    return [[ir.Constant(shape.vec.llvm, None) for _ in range(shape.vectors)] for _ in range(shape.rows)]


def outer_products(
    builder: Builder, shape: TileShape, steps: Value, rows: Rows, panel: Panel, sums: list[list[Value]],
    terms: Terms = FACTORS,
) -> list[list[Value]]:  # fmt: skip
    """``sums`` plus the sum over ``steps`` of column(step) times row(step): one vector load per vector and one
    broadcast per row and step. The order of additions to an element is that of the steps, whatever the shape."""
    vec = terms.operands(shape.vec)
    across = shape.lanes * shape.size if panel.vector_stride is None else panel.vector_stride
    row_offsets = [scaled(builder, rows.row_stride, i) for i in range(shape.rows)]
    vector_offsets = [scaled(builder, across, j) for j in range(shape.vectors)]
    # Rows in equal steps would make LLVM step one pointer from row to row, in a chain of additions as long as the tile
    # is high. Out of order, it takes multiples of the stride.
    order = sorted(range(shape.rows), key=lambda i: i + 2 * (i % 2))

    def step(_: Value, carried: Any) -> Any:
        a, b, tile = carried
        masks = [None] * (shape.vectors - 1) + [panel.mask]
        vectors = [
            load(builder, vec, at(builder, b, offset), mask) for offset, mask in zip(vector_offsets, masks, strict=True)
        ]
        for offset in panel.fetch:
            prefetch(builder, at(builder, b, offset), locality=2)
        out: list[list[Value]] = [[] for _ in tile]
        for i in order:
            x = broadcast(builder, vec, at(builder, a, row_offsets[i]))
            out[i] = [terms.add(builder, shape.vec, x, y, z) for y, z in zip(vectors, tile[i], strict=True)]
        return at(builder, a, rows.step_stride), at(builder, b, panel.step_stride), out

    return loop(builder, steps, [rows.base, panel.base, sums], step)[2]


def each(
    builder: Builder, tile: list[list[Value]], base: Value, row_stride: Value, across: int, body: Callable[..., Value]
) -> list[list[Value]]:
    """The tile with ``body(value, address, vector)`` of every vector, whose address lies in an array of rows."""
    out = []
    for i, row in enumerate(tile):
        start = at(builder, base, scaled(builder, row_stride, i))
        out.append([body(value, at(builder, start, j * across), j) for j, value in enumerate(row)])
    return out


# --- functions


def emitted(name: str, params: str, emit: Callable[..., None], *, inline: bool = False) -> Any:
    """An intrinsic for jitted code: what ``emit(builder, *arguments)`` emits, which gives nothing back.

    ``params`` are kinds (``i64 i64 f32``). It becomes an LLVM function of its own, emitted once in each module that
    calls it and never inlined; or, with ``inline``, part of its caller. ``name`` must tell functions of a module apart.
    """
    kinds = [KINDS[kind] for kind in params.split()]
    signature = types.void(*(kind[1] for kind in kinds))

    def generate(context: Any, builder: Builder, _: Any, values: Any) -> Any:
        if inline:
            emit(builder, *values)
        else:
            builder.call(function_of(builder, name, [kind[0] for kind in kinds], emit), values)
        return context.get_dummy_value()

    # numba wants to see as many parameters as there are.
    names = ", ".join(f"p{i}" for i in range(len(kinds)))
    scope: dict[str, Any] = {"made": (signature, generate)}
    exec(f"def {name}(typing, {names}):\n    return made\n", scope)
    return intrinsic(scope[name])


def function_of(builder: Builder, name: str, params: Sequence[Any], emit: Callable[..., None]) -> Any:
    """The function ``name`` of the builder's module, made with ``emit`` when it is not there yet."""
    symbol = f"ronn.{name}"
    found = builder.module.globals.get(symbol)
    if found is not None:
        return found
    function = ir.Function(builder.module, ir.FunctionType(ir.VoidType(), list(params)), symbol)
    function.linkage = "internal"
    for attribute in ("noinline", "nounwind"):
        function.attributes.add(attribute)
    inner = ir.IRBuilder(function.append_basic_block("entry"))
    emit(inner, *function.args)
    inner.ret_void()
    return function


def choose_value(builder: Builder, number: Value, cases: Mapping[int, Callable[[], Value]], otherwise: Value) -> Value:
    """What the case of ``number`` emits, or ``otherwise``."""
    after = builder.append_basic_block("chosen")
    switch = builder.switch(number, after)
    found = [(otherwise, builder.block)]
    for key, case in cases.items():
        block = builder.append_basic_block(f"case{key}")
        switch.add_case(i64(key), block)
        builder.position_at_end(block)
        value = case()
        found.append((value, builder.block))
        builder.branch(after)
    builder.position_at_end(after)
    result = builder.phi(otherwise.type)
    for incoming in found:
        result.add_incoming(*incoming)
    return result


def choose(builder: Builder, number: Value, cases: Sequence[Callable[[], None]]) -> None:
    """Emits ``cases[number]()``; nothing happens for another number."""
    after = builder.append_basic_block("chosen")
    switch = builder.switch(number, after)
    for i, case in enumerate(cases):
        block = builder.append_basic_block(f"case{i}")
        switch.add_case(i64(i), block)
        builder.position_at_end(block)
        case()
        builder.branch(after)
    builder.position_at_end(after)
