"""Value, Node, Graph, Model: an ordered graph that keeps its own use-def links and may be edited while walked."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ronn.ir.dims import Dim
from ronn.ir.types import DType, TensorType, Type
from ronn.records import dataclass, field

if TYPE_CHECKING:
    import numpy as np

    from ronn.frontend.limits import Limits
    from ronn.frontend.pins import Pins
    from ronn.mapped import FileState, MappedFile


class Value:
    """Something that a node makes, a graph takes, or a constant.

    ``data`` is set for constants (initializers): a read-only NumPy array, in ``ml_dtypes`` types where NumPy has none,
    of ``object`` dtype for strings. ``shape_data`` holds the elements of a small integer tensor (rank 0 or 1) as dims
    where inference knows them (a None element is unknown); it is how shape arithmetic stays symbolic.
    """

    __slots__ = ("data", "name", "producer", "shape_data", "type", "uses")

    def __init__(self, name: str, type: Type | None = None, *, data: np.ndarray | None = None) -> None:
        self.name = name
        self.type = type
        self.data = data
        self.shape_data: tuple[Dim | None, ...] | None = None
        self.producer: Node | None = None
        self.uses: dict[tuple[Node, int], None] = {}

    @property
    def is_const(self) -> bool:
        return self.data is not None

    @property
    def tensor(self) -> TensorType:
        """The type as a tensor type; one with unknown dtype and rank where it is unknown or not a tensor."""
        return self.type if isinstance(self.type, TensorType) else _UNKNOWN

    @property
    def dtype(self) -> DType | None:
        return self.tensor.dtype

    @property
    def consumers(self) -> list[Node]:
        """The nodes that use this value, each once, in the order in which the uses were made."""
        return list(dict.fromkeys(node for node, _ in self.uses))

    def __repr__(self) -> str:
        return f"Value(%{self.name}: {self.type})"


_UNKNOWN = TensorType(None, None)


@dataclass(frozen=True, slots=True)
class AttrRef:
    """In a function body: the attribute of the call that stands here."""

    name: str


_NO_GRAPHS: Iterator[Any] = iter(())  # used up from the start, so that everybody may have it

# int, float, str, bytes, np.ndarray (a tensor), Graph, Type, AttrRef, or a list of one of these.
Attr = Any


class Node:
    """One application of an operator. ``version`` is the opset version that the model imports for ``domain``."""

    __slots__ = (
        "_graph", "_next", "_prev", "attributes", "domain", "inputs", "name", "op", "outputs", "overload",
        "provider", "reason", "tags", "version",
    )  # fmt: skip

    def __init__(
        self,
        op: str,
        inputs: Iterable[Value | None] = (),
        outputs: Iterable[Value] = (),
        attributes: Mapping[str, Attr] | None = None,
        *,
        domain: str = "",
        version: int,
        name: str = "",
        overload: str = "",
    ) -> None:
        self.op = op
        self.domain = domain
        self.version = version
        self.name = name
        self.overload = overload
        self.attributes: dict[str, Attr] = dict(attributes) if attributes is not None else {}
        self.inputs: tuple[Value | None, ...] = ()
        self.outputs: tuple[Value, ...] = tuple(outputs)
        self.provider: str | None = None  # set by the partition
        self.reason: str = ""  # why that provider
        self.tags: tuple[str, ...] = ()  # the rewrites that made this node, oldest first
        self._graph: Graph | None = None
        self._prev: Node | None = None
        self._next: Node | None = None
        for out in self.outputs:
            out.producer = self
        self.set_inputs(inputs)

    def set_inputs(self, inputs: Iterable[Value | None]) -> None:
        """Replaces all inputs, keeping the use links right. None stands for an omitted optional input."""
        for i, old in enumerate(self.inputs):
            if old is not None:
                old.uses.pop((self, i), None)
        self.inputs = tuple(inputs)
        for i, new in enumerate(self.inputs):
            if new is not None:
                new.uses[(self, i)] = None

    def set_input(self, index: int, value: Value | None) -> None:
        """Replaces one input; the list grows with omitted inputs when ``index`` lies past its end."""
        inputs = list(self.inputs)
        inputs.extend([None] * (index + 1 - len(inputs)))
        inputs[index] = value
        self.set_inputs(inputs)

    def input(self, index: int) -> Value | None:
        """Input ``index``, None where it is omitted."""
        return self.inputs[index] if index < len(self.inputs) else None

    @property
    def output(self) -> Value:
        """The first output."""
        return self.outputs[0]

    @property
    def graph(self) -> Graph | None:
        """The graph that this node stands in; None once it is removed."""
        return self._graph

    @property
    def op_id(self) -> str:
        """``Relu`` or ``com.microsoft::FastGelu``."""
        return f"{self.domain}::{self.op}" if self.domain else self.op

    @property
    def label(self) -> str:
        """What people call this node: its name, else its operator and first output."""
        return self.name or f"{self.op_id}->%{self.outputs[0].name if self.outputs else ''}"

    def subgraphs(self) -> Iterator[Graph]:
        """The graphs among the attributes (branches and loop bodies)."""
        found: list[Graph] | None = None
        for attr in self.attributes.values():  # asked for very often: most nodes have none
            if isinstance(attr, Graph):
                found = [attr] if found is None else [*found, attr]
            elif isinstance(attr, list) and attr and isinstance(attr[0], Graph):
                found = [*attr] if found is None else [*found, *attr]
        return _NO_GRAPHS if found is None else iter(found)

    def __repr__(self) -> str:
        ins = ", ".join("_" if v is None else f"%{v.name}" for v in self.inputs)
        outs = ", ".join(f"%{v.name}" for v in self.outputs)
        return f"Node({outs} = {self.op_id}({ins}))"


class Graph:
    """Ordered nodes over values. Subgraphs use values of the graphs around them directly.

    ``output_names`` are the public names of the outputs; they stay when a pass replaces an output's value.
    ``rewrites`` counts the rewrites that have led to this graph, as ``RONN_PASS_LIMIT`` does.
    Walking (``for node in graph``) allows inserting and removing nodes, the current one included.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.inputs: list[Value] = []
        self.outputs: list[Value] = []
        self.output_names: list[str] = []
        self.initializers: dict[str, Value] = {}
        self._first: Node | None = None
        self._last: Node | None = None
        self._count = 0
        self._fresh = 0
        self._taken: set[str] | None = None  # names that fresh_name avoids, collected on its first call
        self._nested: dict[Node, None] = {}  # nodes with subgraphs
        self.rewrites = 0

    # --- nodes

    def __iter__(self) -> Iterator[Node]:
        node = self._first
        while node is not None:
            following = node._next
            yield node
            # The node may have been removed, or nodes put behind it, while it was looked at.
            node = node._next if node._graph is self else following
            while node is not None and node._graph is not self:
                node = node._next

    def __reversed__(self) -> Iterator[Node]:
        node = self._last
        while node is not None:
            before = node._prev
            yield node
            node = node._prev if node._graph is self else before
            while node is not None and node._graph is not self:
                node = node._prev

    def __len__(self) -> int:
        return self._count

    @property
    def nodes(self) -> list[Node]:
        """A copy of the node list."""
        return list(self)

    def append(self, node: Node) -> Node:
        """Puts ``node`` at the end."""
        return self._link(node, self._last, None)

    def insert_before(self, anchor: Node, node: Node) -> Node:
        """Puts ``node`` just before ``anchor``."""
        self._own(anchor)
        return self._link(node, anchor._prev, anchor)

    def insert_after(self, anchor: Node, node: Node) -> Node:
        """Puts ``node`` just behind ``anchor``."""
        self._own(anchor)
        return self._link(node, anchor, anchor._next)

    def remove(self, node: Node) -> None:
        """Takes ``node`` out. ValueError while another node or a graph output still uses what it makes."""
        self._own(node)
        for out in node.outputs:
            if self.is_used(out):
                raise ValueError(f"cannot remove {node!r}: %{out.name} is still used")
        node.set_inputs(())
        for sub in node.subgraphs():
            sub.detach()
        self._unlink(node)
        self._nested.pop(node, None)

    def move_before(self, anchor: Node, node: Node) -> None:
        """Moves a node of this graph to just before ``anchor``."""
        self._own(anchor)
        self._own(node)
        if anchor is node:
            return
        self._unlink(node)
        self._link(node, anchor._prev, anchor)

    def _own(self, node: Node) -> None:
        if node._graph is not self:
            raise ValueError(f"{node!r} does not stand in graph {self.name!r}")

    def _link(self, node: Node, prev: Node | None, following: Node | None) -> Node:
        if node._graph is not None:
            raise ValueError(f"{node!r} already stands in a graph")
        node._graph, node._prev, node._next = self, prev, following
        if prev is None:
            self._first = node
        else:
            prev._next = node
        if following is None:
            self._last = node
        else:
            following._prev = node
        self._count += 1
        if node.attributes and next(node.subgraphs(), None) is not None:
            self._nested[node] = None
        return node

    def _unlink(self, node: Node) -> None:
        if node._prev is not None:
            node._prev._next = node._next
        else:
            self._first = node._next
        if node._next is not None:
            node._next._prev = node._prev
        else:
            self._last = node._prev
        node._graph = None
        self._count -= 1

    def detach(self) -> None:
        """Drops every use that this graph (going away) makes of values, its own subgraphs included."""
        for node in self:
            node.set_inputs(())
            for sub in node.subgraphs():
                sub.detach()

    # --- values

    def add_input(self, name: str, type: Type | None) -> Value:
        value = Value(name, type)
        self.inputs.append(value)
        return value

    def add_output(self, value: Value, name: str | None = None) -> None:
        """Makes ``value`` an output, called ``name`` (its own name by default)."""
        self.outputs.append(value)
        self.output_names.append(value.name if name is None else name)

    def constant(self, data: np.ndarray, name: str | None = None) -> Value:
        """A new constant of this graph. The array is made read-only; its name is made unique."""
        import numpy as np

        array = np.asarray(data)
        if array.flags.writeable:
            array = array.view()
            array.flags.writeable = False
        value = Value(self.fresh_name("c") if name is None else self.unique_name(name), data=array)
        value.type = TensorType(DType.of(array.dtype), array.shape)
        self.initializers[value.name] = value
        return value

    def fresh_name(self, stem: str) -> str:
        """A name that no value of this graph or its subgraphs has, and that ``fresh_name`` has not given before."""
        if self._taken is None:
            self._taken = {v.name for v in self.values()}
            self._taken.update(out.name for node in self.all_nodes() for out in node.outputs)
        while True:
            self._fresh += 1
            name = f"{stem}.{self._fresh}"
            if name not in self._taken and name not in self.initializers:
                return name

    def unique_name(self, name: str) -> str:
        """``name``, or a fresh variant of it when a constant has it already."""
        return name if name not in self.initializers else self.fresh_name(name)

    def values(self) -> Iterator[Value]:
        """Every value of this graph (not of subgraphs): inputs, constants, then node outputs in order."""
        yield from self.inputs
        yield from self.initializers.values()
        for node in self:
            yield from node.outputs

    def is_output(self, value: Value) -> bool:
        return any(o is value for o in self.outputs)

    def replace_uses(self, old: Value, new: Value) -> None:
        """Makes every user of ``old``, subgraphs and graph outputs included, use ``new``."""
        for node, index in list(old.uses):
            node.set_input(index, new)
        self._replace_outputs(old, new)

    def _replace_outputs(self, old: Value, new: Value) -> None:
        for i, out in enumerate(self.outputs):
            if out is old:
                self.outputs[i] = new
        for node in self._nested:
            for sub in node.subgraphs():
                sub._replace_outputs(old, new)

    def is_used(self, value: Value) -> bool:
        """Whether a node, or an output of this graph or of its subgraphs, uses ``value``."""
        return bool(value.uses) or self._returns(value)

    def _returns(self, value: Value) -> bool:
        return self.is_output(value) or any(s._returns(value) for n in self._nested for s in n.subgraphs())

    def inner_graphs(self) -> list[Graph]:
        """The graphs that nodes of this one hold, not those inside of them; quicker than to ask each node."""
        return [sub for node in self._nested for sub in node.subgraphs()]

    def is_nested(self, node: Node) -> bool:
        """Whether ``node`` stands in this graph and holds graphs itself."""
        return node in self._nested

    def all_nodes(self) -> Iterator[Node]:
        """Every node, those of subgraphs too, outer before inner."""
        for node in self:
            yield node
            if node in self._nested:
                for sub in node.subgraphs():
                    yield from sub.all_nodes()

    def captures(self) -> list[Value]:
        """The values of graphs around this one that it or its subgraphs use, each once, in order of first use."""
        own: set[int] = set()
        found: dict[int, Value] = {}
        _captures(self, own, found)
        return list(found.values())

    def __str__(self) -> str:
        from ronn.ir.text import print_graph

        return print_graph(self)


def _captures(graph: Graph, own: set[int], found: dict[int, Value]) -> None:
    own.update(id(v) for v in graph.values())
    for node in graph:
        for value in node.inputs:
            if value is not None and id(value) not in own:
                found.setdefault(id(value), value)
        for sub in node.subgraphs():
            _captures(sub, own, found)
    for out in graph.outputs:
        if id(out) not in own:
            found.setdefault(id(out), out)


@dataclass(slots=True)
class Function:
    """A model-local function: a body whose nodes may refer to attributes of the call (``AttrRef``)."""

    domain: str
    name: str
    overload: str
    body: Graph
    attributes: dict[str, Attr | None]  # name -> default, None when the call must give it
    opset_imports: dict[str, int]


@dataclass(slots=True)
class Metadata:
    """What a model file says about itself."""

    producer_name: str = ""
    producer_version: str = ""
    domain: str = ""
    description: str = ""
    graph_name: str = ""
    graph_description: str = ""
    version: int = 0
    ir_version: int = 0
    custom: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class IRModel:
    """A graph with what the whole model needs: opset imports, functions, metadata, where it came from.

    ``overridable`` names the constants of ``graph`` that the file also lists as inputs (IR version 4 and newer): they
    are constants unless a caller gives something else. ``files`` are those that constants of ``graph`` may be views of;
    ``origin`` has those that it was read from, with their state then (the model file first); () for one from memory.
    ``limits`` are the bounds that the file was read within, ``pins`` the hashes that it had to have.
    """

    graph: Graph
    opset_imports: dict[str, int]
    functions: dict[tuple[str, str, str], Function] = field(default_factory=dict)
    metadata: Metadata = field(default_factory=Metadata)
    source: str = "<memory>"
    overridable: tuple[str, ...] = ()
    files: tuple[weakref.ref[MappedFile], ...] = field(default=(), compare=False)
    origin: tuple[tuple[str, FileState], ...] = field(default=(), compare=False)
    limits: Limits | None = field(default=None, compare=False)
    pins: Pins | None = field(default=None, compare=False)

    def check_files(self) -> None:
        """Raises ModelError when a file that constants are still views of has been written since it was loaded."""
        for file in self._open_files():
            file.check()

    def give_files_back(self) -> None:
        """Gives the memory back that reading mapped constants has taken."""
        for file in self._open_files():
            file.give_back()

    def _open_files(self) -> list[MappedFile]:
        return [f for r in self.files if (f := r()) is not None]


_SHARED = 1000  # elements of an attribute that copies of a node share


def clone(graph: Graph, mapping: dict[Value, Value] | None = None) -> Graph:
    """A deep copy: new graph, nodes and values. Constant arrays, long lists of numbers or strings, and values captured
    from outside are shared.

    ``mapping`` (old value -> new value) may hold replacements for captured values, and is filled with every copy.
    """
    mapping = {} if mapping is None else mapping
    out = Graph(graph.name)
    out._fresh, out.rewrites = graph._fresh, graph.rewrites
    for value in graph.inputs:
        out.inputs.append(_copy_value(value, mapping))
    for name, value in graph.initializers.items():
        out.initializers[name] = _copy_value(value, mapping)
    for node in graph:
        out.append(clone_node(node, mapping))
    out.outputs = [mapping.get(v, v) for v in graph.outputs]
    out.output_names = list(graph.output_names)
    return out


def clone_node(node: Node, mapping: dict[Value, Value]) -> Node:
    """A copy of ``node`` with new outputs, inputs taken through ``mapping``, subgraphs copied. Not yet in a graph."""
    attributes = {k: _clone_attr(a, mapping) for k, a in node.attributes.items()}
    new = Node(
        node.op,
        [None if v is None else mapping.get(v, v) for v in node.inputs],
        [_copy_value(v, mapping) for v in node.outputs],
        attributes,
        domain=node.domain,
        version=node.version,
        name=node.name,
        overload=node.overload,
    )
    new.provider, new.reason, new.tags = node.provider, node.reason, node.tags
    return new


def _clone_attr(attr: Attr, mapping: dict[Value, Value]) -> Attr:
    if isinstance(attr, Graph):
        return clone(attr, mapping)
    if _is_graph_list(attr):
        return [clone(g, mapping) for g in attr]
    return list(attr) if isinstance(attr, list) and len(attr) < _SHARED else attr


def _is_graph_list(attr: Attr) -> bool:
    """Whether ``attr`` is a list of graphs. The elements of a list are of one kind, and there may be a million."""
    return isinstance(attr, list) and bool(attr) and isinstance(attr[0], Graph)


def _copy_value(value: Value, mapping: dict[Value, Value]) -> Value:
    new = Value(value.name, value.type, data=value.data)
    new.shape_data = value.shape_data
    mapping[value] = new
    return new
