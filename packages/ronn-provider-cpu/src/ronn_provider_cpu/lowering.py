"""Lowering for the host CPU: its own table of lowerings, and calls of native kernels made of what they leave.

    @lower("Softmax", since=13)
    def softmax(c: Lowering) -> None:
        x, y = c.inputs[0], c.outputs[0]
        c.require(x.dtype == F32, "only float32")
        c.call("ronn_codegen.templates.softmax", "softmax_f32", x=x, y=y, ..., chunks=rows, cost=x.size)

A lowering that refuses leaves the node to its NumPy kernel. Modules of lowerings import no numba: they name kernels.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from ronn.provider.contract import Call
from ronn.provider.native import KernelCall, NativeWork
from ronn_codegen.lowering import (
    BOOL,
    F16,
    F32,
    F64,
    I8,
    I32,
    I64,
    U8,
    Argument,
    Context,
    GroupLowering,
    Lowering,
    Operand,
    Refused,
    Temporary,
    group_interface,
    lower_node,
    packed,
)
from ronn_codegen.table import SHARED, Table
from ronn_provider_cpu.index import LOWERINGS

if TYPE_CHECKING:
    from ronn.ir.graph import Value
    from ronn_codegen.native.library import Library
    from ronn_provider_cpu.engine.native import NativeEngine

__all__ = [
    "BOOL", "F16", "F32", "F64", "I8", "I32", "I64", "TABLE", "U8", "Argument", "Context", "GroupLowering", "Lowering",
    "Operand", "Refused", "Temporary", "add_lowerings", "context", "lower", "lower_node", "packed", "to_call",
]  # fmt: skip

TABLE = Table("ronn_provider_cpu.lower", LOWERINGS, SHARED)
lower = TABLE.lower
add_lowerings = TABLE.add

SERIAL = 10_000.0
"""Nanoseconds below which a kernel is not worth sharing out."""
_SHARES_PER_THREAD = 4


def context(library: Library, options: Mapping[str, Any] | None = None) -> Context:
    """What the lowerings of one compilation for the CPU share."""
    return Context(library, {} if options is None else options, table=TABLE)


def shares(chunks: int, cost: float, threads: int) -> int:
    """Into how many shares a kernel is cut: one where it is small, else a few per thread."""
    if threads <= 1 or chunks <= 1 or cost < SERIAL:
        return 1
    wanted = min(_SHARES_PER_THREAD * threads, max(2, int(cost / (SERIAL / 4))))
    return min(chunks, wanted)


def work(c: Lowering, engine: NativeEngine) -> NativeWork:
    """The native work; the modules of all pending kernels must have been required."""
    library = c.context.library
    kernels = []
    for p in c.pending:
        place = library.address(p.module, p.name) if p.generated is None else library.generated(p.generated)
        chunks = shares(p.chunks, p.cost, engine.threads)
        kernels.append(KernelCall(p.name, place, p.words, chunks, p.cost, p.flops, p.nbytes))
    return NativeWork(engine, kernels, c.scratch, c.aliases, c.kept, c.joins, c.counts)


def unreachable(*_: Any, **__: Any) -> NoReturn:
    """In the place of the function of a call that runs natively."""
    raise AssertionError("a native call was run as Python")


def to_call(c: Lowering, engine: NativeEngine, needed: Container[Value], spent: Container[Value] = frozenset()) -> Call:
    """The plan's call of a lowering of one node or group; ``needed`` are the values used outside of the part, ``spent``
    constants that have lost their arrays."""
    inputs: tuple[Value | None, ...]
    if len(c.nodes) == 1:
        inputs, outputs = c.node.inputs, c.node.outputs
    else:
        inputs, outputs = group_interface(c.nodes, needed)
    inputs = tuple([None if v is None or v in spent else v for v in inputs])
    return Call(unreachable, inputs, outputs, c.nodes, inplace=c.inplace_inputs, native=work(c, engine))
