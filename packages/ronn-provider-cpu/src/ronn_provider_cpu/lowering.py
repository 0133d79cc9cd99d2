"""Lowering: from a node whose sizes are known to calls of native kernels.

    @lower("Softmax", since=13)
    def softmax(c: Lowering) -> None:
        x, y = c.inputs[0], c.outputs[0]
        c.require(x.dtype == F32, "only float32")
        c.call("ronn_codegen.templates.softmax", "softmax_f32", x=x, y=y, ..., chunks=rows, cost=x.size)

A lowering that refuses leaves the node to its NumPy kernel. Modules of lowerings import no numba: they name kernels.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Container, Hashable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import numpy as np

from ronn.families import Families
from ronn.identity import identity
from ronn.ir.types import TensorType
from ronn.mapped import give_back
from ronn.ops import custom
from ronn.ops.schema import schema_of
from ronn.plan.segment import address
from ronn.provider.contract import Call
from ronn.provider.native import At, Counted, KernelCall, NativeWork, Scratch, Status, Word
from ronn.records import dataclass, field
from ronn_codegen.native.library import Generated, Library, word
from ronn_provider_cpu.alike import Calls, lower_alike
from ronn_provider_cpu.index import LOWERINGS

if TYPE_CHECKING:
    from ronn.ir.graph import Node, Value
    from ronn_codegen.native.declare import Signature
    from ronn_codegen.native.machine import Machine
    from ronn_provider_cpu.engine.native import NativeEngine

F32 = np.dtype(np.float32)
F64 = np.dtype(np.float64)
F16 = np.dtype(np.float16)
I64 = np.dtype(np.int64)
I32 = np.dtype(np.int32)
I8 = np.dtype(np.int8)
U8 = np.dtype(np.uint8)
BOOL = np.dtype(np.bool_)

SERIAL = 10_000.0
"""Nanoseconds below which a kernel is not worth sharing out."""
_SHARES_PER_THREAD = 4

F = TypeVar("F", bound=Callable[..., Any])


class Refused(Exception):
    """A lowering does not take a node; the text says why."""


@dataclass(slots=True, eq=False)
class Operand:
    """A value as kernels see it: a tensor of known size in C order, at an address that the plan fills in."""

    value: Value
    shape: tuple[int, ...]
    dtype: np.dtype
    size: int

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def data(self) -> np.ndarray | None:
        """The array of a constant, else None."""
        return self.value.data

    @property
    def strides(self) -> tuple[int, ...]:
        """In elements, of C order."""
        out: list[int] = []
        step = 1
        for d in reversed(self.shape):
            out.append(step)
            step *= d
        return tuple(reversed(out))

    def at(self, offset: int) -> At:
        """The operand's address, ``offset`` bytes on."""
        return At(self.value, offset)


@dataclass(frozen=True, slots=True)
class Temporary:
    """Scratch memory of one call."""

    index: int
    nbytes: int

    @property
    def data(self) -> None:
        """It is no constant."""

    def at(self, offset: int) -> Scratch:
        """Its address, ``offset`` bytes on."""
        return Scratch(self.index, offset)


Argument = Any
"""int, float, Operand, Operand.at(n), Temporary, Temporary.at(n), np.ndarray (kept alive), Status."""


@dataclass(slots=True)
class _Pending:
    module: str
    name: str
    generated: Generated | None
    words: list[Word]
    chunks: int
    cost: float
    flops: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Packing:
    """What ``Lowering.packed`` was asked for, and gave."""

    of: Value
    key: Hashable
    fn: Callable[[np.ndarray], np.ndarray]
    made: np.ndarray


class Lowering:
    """What a lowering knows of its node, and where it puts the calls. One object per node (or fused group)."""

    def __init__(self, nodes: Sequence[Node], context: Context) -> None:
        self.context = context
        self.nodes = tuple(nodes)
        self.node = nodes[-1]
        self.pending: list[_Pending] = []
        self.notes: list[str] = []  # what people may want to know of a native node
        self.packs: list[Packing] = []
        self._inputs: list[Operand | None] | None = None
        self._outputs: list[Operand | None] | None = None
        self._scratch: list[int] = []
        self._keep: list[Any] = []
        self._alias: dict[int, tuple[int, int]] = {}
        self._inplace: list[int] = []
        self._joins: dict[int, int] = {}
        self._counted: dict[int, Counted] = {}

    # --- what there is

    @property
    def machine(self) -> Machine:
        return self.context.library.machine

    @property
    def inputs(self) -> list[Operand | None]:
        """The node's inputs; None for an omitted one."""
        found = self._inputs
        if found is None:
            operand = self.context.operand
            found = self._inputs = [None if v is None else operand(v) for v in self.node.inputs]
        return found

    @property
    def outputs(self) -> list[Operand | None]:
        """The node's outputs; None for one that nobody wants."""
        found = self._outputs
        if found is None:
            operand = self.context.operand
            found = self._outputs = [operand(v) if v.name else None for v in self.node.outputs]
        return found

    def input(self, index: int) -> Operand | None:
        """An input; None when it is omitted or beyond the last."""
        value = self.node.inputs[index] if index < len(self.node.inputs) else None
        return None if value is None else self.context.operand(value)

    def operand(self, value: Value) -> Operand:
        """Any value of the part as an operand. Refuses one whose size is not known."""
        return self.context.operand(value)

    def attr(self, name: str, default: Any = None) -> Any:
        """The attribute, else the schema's default, else ``default``."""
        value = self.node.attributes.get(name)
        if value is None:
            schema = schema_of(self.node)
            value = None if schema is None else schema.defaults.get(name)
        return default if value is None else value

    @property
    def since(self) -> int:
        """The schema version that applies to the node."""
        schema = schema_of(self.node)
        return self.node.version if schema is None else schema.since

    @property
    def precision(self) -> str:
        """``float32``, or ``bf16`` where the session allows products of operands rounded to bfloat16."""
        return str(self.context.options.get("precision", "float32"))

    # --- refusing

    def require(self, condition: Any, reason: str) -> None:
        """Refuses the node unless ``condition`` holds."""
        if not condition:
            raise Refused(reason)

    def refuse(self, reason: str) -> NoReturn:
        """Refuses the node."""
        raise Refused(reason)

    # --- calling

    def call(
        self,
        module: str,
        kernel: str,
        *,
        chunks: int = 1,
        cost: float = 0.0,
        flops: int = 0,
        bytes: int = 0,  # the word of profiles
        **arguments: Argument,
    ) -> None:
        """Adds a kernel call; its arguments by the names of the kernel's parameters.

        chunks: most shares that make sense. cost: nanoseconds of the whole call on one core.
        """
        words = self._words(self.context.library.signature(module, kernel), arguments)
        self.pending.append(_Pending(module, kernel, None, words, chunks, cost, flops, bytes))

    def call_loop(
        self,
        kernel: Generated,
        *,
        chunks: int = 1,
        cost: float = 0.0,
        flops: int = 0,
        bytes: int = 0,
        **arguments: Argument,
    ) -> None:
        """Adds a call of a generated kernel."""
        words = self._words(kernel.signature, arguments)
        self.pending.append(_Pending("", kernel.signature.name, kernel, words, chunks, cost, flops, bytes))

    def temp(self, nbytes: int) -> Temporary:
        """Scratch memory, aligned to 64 bytes, that lives during this call only."""
        self._scratch.append(max(int(nbytes), 1))
        return Temporary(len(self._scratch) - 1, int(nbytes))

    def status(self, message: str) -> Status:
        """A zeroed word; a kernel that sets it fails the run with ``message``."""
        return Status(message)

    def alias(self, out: int, source: int, byte_offset: int = 0) -> None:
        """Output ``out`` is the bytes of input ``source`` from ``byte_offset`` on: no kernel."""
        self._alias[out] = (source, byte_offset)

    def join(self, index: int, byte_offset: int) -> None:
        """Output 0 holds input ``index`` as it is from ``byte_offset`` on; a plan may make it there. The kernels must
        do nothing where they find an input in its place."""
        self._joins[index] = byte_offset

    def counted(self, out: int, memory: Temporary, shape: Sequence[int | None], count: Temporary) -> None:
        """Output ``out`` is found at the start of ``memory``, and the size that ``shape`` leaves open (None) is the
        int64 at ``count``: for lowerings marked ``counted``, whose kernels find out how much there is."""
        self._counted[out] = Counted(memory.index, tuple(shape), count.index)

    def inplace(self, index: int) -> None:
        """Output 0 may overwrite input ``index``: same bytes, each element read before it is written."""
        self._inplace.append(index)

    def packed(self, given: Operand | Temporary, key: Hashable, fn: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """``fn(constant)``, computed once for a constant and key, shared by everybody who holds it.

        Refuses an operand that is no constant.
        """
        data = given.data
        if data is None or isinstance(given, Temporary):
            raise Refused("not a constant")
        made = packed(data, key, fn)
        self.packs.append(Packing(given.value, key, fn, made))
        return made

    def _words(self, signature: Signature, arguments: Mapping[str, Argument]) -> list[Word]:
        if len(arguments) != len(signature.params):
            known = {name for name, _ in signature.params}
            raise TypeError(f"{signature}: missing {known - set(arguments)}, unknown {set(arguments) - known}")
        words: list[Word] = []
        for name, kind in signature.params:
            given = arguments[name]
            words.append(given if type(given) is int and kind == "i64" else self._word(kind, given))
        return words

    def _word(self, kind: str, given: Argument) -> Word:
        if isinstance(given, Operand):
            return At(given.value)
        if isinstance(given, Temporary):
            return Scratch(given.index)
        if isinstance(given, (At, Scratch, Status)):
            return given
        if isinstance(given, np.ndarray):
            if not given.flags.c_contiguous:
                raise TypeError("a constant array must be contiguous")
            self._keep.append(given)
            return address(given)
        return word(kind, given)

    # --- the result

    def finish(self, engine: NativeEngine) -> NativeWork:
        """The native work; the modules of all pending kernels must have been required."""
        library = self.context.library
        kernels = []
        for p in self.pending:
            place = library.address(p.module, p.name) if p.generated is None else library.generated(p.generated)
            chunks = shares(p.chunks, p.cost, engine.threads)
            kernels.append(KernelCall(p.name, place, p.words, chunks, p.cost, p.flops, p.nbytes))
        return NativeWork(engine, kernels, self._scratch, self._alias, self.kept, self._joins, self._counted)

    @property
    def kept(self) -> list[Any]:
        """The arrays that must live as long as the calls: those whose addresses they hold, and what was packed, which
        the next compilation will want again."""
        return [*self._keep, *(p.made for p in self.packs)]

    def take_over(self, other: Lowering, words: Sequence[list[Word]]) -> None:
        """Does what ``other`` does, with other words."""
        theirs = {id(p.made) for p in other.packs}
        self._keep += [a for a in other._keep if id(a) not in theirs]
        self.pending = [
            _Pending(p.module, p.name, p.generated, w, p.chunks, p.cost, p.flops, p.nbytes)
            for p, w in zip(other.pending, words, strict=True)
        ]
        self._scratch, self._alias, self._inplace = other._scratch, other._alias, other._inplace
        self._joins, self._counted, self.notes = other._joins, other._counted, other.notes

    def facts(self) -> tuple[object, ...]:
        """All that it does but for the words of its calls."""
        calls = [(p.module, p.name, p.generated, p.chunks, p.cost, p.flops, p.nbytes) for p in self.pending]
        return calls, self._scratch, self._alias, self._inplace, self._joins, self._counted

    @property
    def read_inputs(self) -> tuple[int, ...]:
        """Inputs whose bytes an output is, or may be."""
        return (*(source for source, _ in self._alias.values()), *self._joins, *self._inplace)

    @property
    def inplace_inputs(self) -> tuple[int, ...]:
        return tuple(self._inplace)


GroupLowering = Lowering
"""The lowering of a fused group: ``nodes`` are its nodes in order, operands are asked for by value."""


def shares(chunks: int, cost: float, threads: int) -> int:
    """Into how many shares a kernel is cut: one where it is small, else a few per thread."""
    if threads <= 1 or chunks <= 1 or cost < SERIAL:
        return 1
    wanted = min(_SHARES_PER_THREAD * threads, max(2, int(cost / (SERIAL / 4))))
    return min(chunks, wanted)


@dataclass(frozen=True)
class Context:
    """What all lowerings of a compilation share."""

    library: Library
    options: Mapping[str, Any] = field(default_factory=dict)
    operands: dict[Value, Operand] = field(default_factory=dict)
    alike: dict[Hashable, Calls] = field(default_factory=dict)

    def operand(self, value: Value) -> Operand:
        """The value as an operand, made once."""
        found = self.operands.get(value)
        if found is None:
            found = self.operands[value] = operand(value)
        return found


def operand(value: Value) -> Operand:
    """The value as an operand. Refuses one that is no tensor of known size, or whose elements have no plain memory."""
    t = value.type
    if not isinstance(t, TensorType) or t.dtype is None or t.shape is None:
        raise Refused(f"%{value.name} has no known size: {t}")
    size = 1
    for d in t.shape:
        if not isinstance(d, int):
            raise Refused(f"%{value.name} has no known size: {t}")
        size *= d
    if t.dtype.bits == 0:
        raise Refused(f"%{value.name} is {t}")
    return Operand(value, cast("tuple[int, ...]", t.shape), t.dtype.numpy, size)


# --- packed constants

_packed: dict[tuple[Hashable, Hashable], tuple[weakref.ref[np.ndarray] | None, weakref.ref[np.ndarray]]] = {}


def packed(data: np.ndarray, key: Hashable, fn: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """``fn(data)``; the same array again while it is alive, for ``data`` or what is known to be equal."""
    known = identity(data)
    place = (id(data) if known is None else known, key)
    found = _packed.get(place)
    if found is not None:
        source, result = found[0], found[1]()
        if result is not None and (source is None or source() is data):
            return result
    made = fn(data)
    give_back(data)

    def forget(ref: weakref.ref[np.ndarray]) -> None:
        held = _packed.get(place)
        if held is not None and held[1] is ref:
            del _packed[place]

    _packed[place] = (weakref.ref(data) if known is None else None, weakref.ref(made, forget))
    return made


# --- the table


@dataclass(frozen=True, slots=True)
class Entry:
    """A lowering and the nodes it is for."""

    fn: Callable[[Lowering], None]
    since: int
    until: int | None
    empty: bool
    counted: bool
    alike: bool


_table: dict[tuple[str, str], list[Entry]] = {}


def lower(
    op: str,
    *,
    domain: str = "",
    since: int = 1,
    until: int | None = None,
    empty: bool = False,
    counted: bool = False,
    alike: bool = False,
) -> Callable[[F], F]:
    """Marks the lowering of an operator for schema versions ``since`` to ``until``.

    ``empty``: it also takes nodes with inputs of no elements. ``counted``: its kernels find out the sizes of outputs,
    so that only those of the inputs are known. ``alike``: see ``ronn_provider_cpu.alike``.
    """

    def mark(fn: F) -> F:
        entries = _table.setdefault((domain, op), [])
        entries.append(Entry(fn, since, until, empty, counted, alike))
        entries.sort(key=lambda e: -e.since)
        return fn

    return mark


_families = Families("ronn_provider_cpu.lower", LOWERINGS)


def add_lowerings(module: str, operators: str) -> None:
    """Has lowerings of another package found: ``module`` is imported for ``operators`` (words: ``my.domain::Op``)."""
    _families.add(module, operators)


def table() -> Mapping[tuple[str, str], list[Entry]]:
    """Every lowering, by domain and operator."""
    _families.all()
    return _table


def forget(domain: str, op: str) -> None:
    """Takes the lowerings of an operator out."""
    _table.pop((domain, op), None)
    lowerings.cache_clear()


@cache
def lowerings(domain: str, op: str) -> Sequence[Entry]:
    """The lowerings of an operator, the newest first."""
    if (domain, op) not in custom.table:  # theirs are registered, not found
        _families.modules(domain, op)
    return _table.get((domain, op), ())


def lower_node(node: Node, context: Context) -> Lowering:
    """The node's lowering, with its calls pending. Raises Refused."""
    entries = lowerings(node.domain, node.op)
    if not entries:
        raise Refused(f"no native kernel for {node.op_id}")
    c = Lowering((node,), context)
    since = c.since
    entry = next((e for e in entries if e.since <= since and (e.until is None or since <= e.until)), None)
    if entry is None:
        raise Refused(f"no native kernel for {node.op_id} of version {since}")
    inputs, outputs = c.inputs, [] if entry.counted else c.outputs
    if outputs and all(o is None or o.size == 0 for o in outputs):
        return c
    if not entry.empty and any(i is not None and i.size == 0 for i in inputs):
        raise Refused("an input has no elements")
    if entry.alike:
        lower_alike(c, entry.fn)
    else:
        entry.fn(c)
    return c


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
    return Call(unreachable, inputs, outputs, c.nodes, inplace=c.inplace_inputs, native=c.finish(engine))


def group_interface(
    nodes: Sequence[Node], needed: Container[Value]
) -> tuple[tuple[Value | None, ...], tuple[Value, ...]]:
    """Values that come from outside of a group, and those of its own that are used outside of it."""
    inside = set(nodes)
    made = {v for n in nodes for v in n.outputs}
    inputs = dict.fromkeys(v for n in nodes for v in n.inputs if v is not None and v not in made)
    outputs = [
        v
        for n in nodes
        for v in n.outputs
        if v.name and (v in needed or any(user not in inside for user in v.consumers))
    ]
    return tuple(inputs), tuple(outputs)
