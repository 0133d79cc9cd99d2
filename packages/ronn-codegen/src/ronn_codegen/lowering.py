"""Lowering: from a node whose sizes are known to calls of kernels, for every device.

    @lower("Flatten")
    def flatten(c: Lowering) -> None:
        c.require(c.inputs[0].dtype == c.outputs[0].dtype, "the types differ")
        c.alias(0, 0)

A lowering that refuses says why. Modules of lowerings import no compiler: they name kernels, by module and name, or
hand over loops that a device prints (``call_loop``).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Container, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, cast

import numpy as np

from ronn.identity import identity
from ronn.ir.types import TensorType
from ronn.mapped import give_back
from ronn.ops.schema import schema_of
from ronn.plan.segment import address
from ronn.provider.native import At, Counted, Scratch, Status, Word
from ronn.records import dataclass, field
from ronn_codegen.alike import Calls, lower_alike
from ronn_codegen.native.library import Generated, word
from ronn_codegen.table import SHARED, Table

if TYPE_CHECKING:
    from ronn.ir.graph import Node, Value
    from ronn_codegen.native.declare import Signature

F32 = np.dtype(np.float32)
F64 = np.dtype(np.float64)
F16 = np.dtype(np.float16)
I64 = np.dtype(np.int64)
I32 = np.dtype(np.int32)
I8 = np.dtype(np.int8)
U8 = np.dtype(np.uint8)
BOOL = np.dtype(np.bool_)


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
        self.scratch: list[int] = []
        self._keep: list[Any] = []
        self.aliases: dict[int, tuple[int, int]] = {}
        self._inplace: list[int] = []
        self.joins: dict[int, int] = {}
        self.counts: dict[int, Counted] = {}

    # --- what there is

    @property
    def machine(self) -> Any:
        """What the kernels are made for."""
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
        self.scratch.append(max(int(nbytes), 1))
        return Temporary(len(self.scratch) - 1, int(nbytes))

    def status(self, message: str) -> Status:
        """A zeroed word; a kernel that sets it fails the run with ``message``."""
        return Status(message)

    def alias(self, out: int, source: int, byte_offset: int = 0) -> None:
        """Output ``out`` is the bytes of input ``source`` from ``byte_offset`` on: no kernel."""
        self.aliases[out] = (source, byte_offset)

    def join(self, index: int, byte_offset: int) -> None:
        """Output 0 holds input ``index`` as it is from ``byte_offset`` on; a plan may make it there. The kernels must
        do nothing where they find an input in its place."""
        self.joins[index] = byte_offset

    def counted(self, out: int, memory: Temporary, shape: Sequence[int | None], count: Temporary) -> None:
        """Output ``out`` is found at the start of ``memory``, and the size that ``shape`` leaves open (None) is the
        int64 at ``count``: for lowerings marked ``counted``, whose kernels find out how much there is."""
        self.counts[out] = Counted(memory.index, tuple(shape), count.index)

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
        self.scratch, self.aliases, self._inplace = other.scratch, other.aliases, other._inplace
        self.joins, self.counts, self.notes = other.joins, other.counts, other.notes

    def facts(self) -> tuple[object, ...]:
        """All that it does but for the words of its calls."""
        calls = [(p.module, p.name, p.generated, p.chunks, p.cost, p.flops, p.nbytes) for p in self.pending]
        return calls, self.scratch, self.aliases, self._inplace, self.joins, self.counts

    @property
    def read_inputs(self) -> tuple[int, ...]:
        """Inputs whose bytes an output is, or may be."""
        return (*(source for source, _ in self.aliases.values()), *self.joins, *self._inplace)

    @property
    def inplace_inputs(self) -> tuple[int, ...]:
        return tuple(self._inplace)


GroupLowering = Lowering
"""The lowering of a fused group: ``nodes`` are its nodes in order, operands are asked for by value."""


@dataclass(frozen=True)
class Context:
    """What all lowerings of a compilation share. ``library`` knows the device's kernels by module and name:
    ``library.signature(module, kernel)``; ``table`` its lowerings."""

    library: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    operands: dict[Value, Operand] = field(default_factory=dict)
    alike: dict[Hashable, Calls] = field(default_factory=dict)
    table: Table = SHARED

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


# --- lowering


def lower_node(node: Node, context: Context) -> Lowering:
    """The node's lowering, with its calls pending. Raises Refused."""
    entries = context.table.entries(node.domain, node.op)
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
