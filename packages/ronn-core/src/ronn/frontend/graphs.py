"""GraphProto and FunctionProto to Graph: scopes, order, constants, attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.errors import ModelError, nearest
from ronn.frontend import limits
from ronn.frontend.check import check_node
from ronn.frontend.limits import DEFAULTS, LimitError, Limits
from ronn.frontend.names import text
from ronn.frontend.opset import canonical_domain, version_for
from ronn.frontend.order import node_order
from ronn.frontend.refused import hint_of
from ronn.frontend.tensors import TensorReader
from ronn.frontend.types import read_type
from ronn.frontend.weights import Weights
from ronn.ir.graph import Attr, AttrRef, Function, Graph, Node, Value
from ronn.ir.types import DType, TensorType, Type
from ronn.ops.infer import without_shape

if TYPE_CHECKING:
    import onnx

CallKey = tuple[str, str, str]  # domain, name, overload of a model-local function


class Scope:
    """Names that a graph sees: its own, then those of the graphs around it."""

    def __init__(self, outer: Scope | None = None) -> None:
        self.outer = outer
        self.own: dict[str, Value] = {}
        self.depth: int = 0 if outer is None else outer.depth + 1

    def find(self, name: str) -> Value | None:
        scope: Scope | None = self
        while scope is not None:
            value = scope.own.get(name)
            if value is not None:
                return value
            scope = scope.outer
        return None

    def names(self) -> Iterator[str]:
        scope: Scope | None = self
        while scope is not None:
            yield from scope.own
            scope = scope.outer


class GraphReader:
    """Builds the graphs of one file. Problems are ``ModelError``s that name the file, and the node if there is one."""

    def __init__(
        self,
        source: str,
        tensors: TensorReader,
        ir_version: int,
        weights: Weights | None = None,
        bounds: Limits = DEFAULTS,
    ) -> None:
        self.source = source
        self.bounds = bounds
        self.tensors = tensors
        self.ir_version = ir_version
        self.weights = weights
        self.functions: frozenset[CallKey] = frozenset()
        self.overridable: list[str] = []
        self.node_count = 0

    def error(self, message: str, hint: str | None = None) -> ModelError:
        return ModelError(f"{self.source}: {message}", hint=hint)

    @contextmanager
    def about(self, what: str) -> Iterator[None]:
        """Turns a ValueError inside into a ModelError about ``what``."""
        try:
            yield
        except ValueError as e:
            raise self.error(f"{what}: {e}", hint_of(e)) from e

    # --- graphs

    def model_graph(self, proto: onnx.GraphProto, imports: dict[str, int]) -> Graph:
        """The main graph. Before IR version 4 the inputs list the initializers too: those are no inputs."""
        graph = self._graph(proto, Scope(), imports, None)
        twice = _first_repeated(graph.output_names)
        if twice is not None:
            raise self.error(f"graph lists the output {twice!r} more than once")
        return graph

    def _graph(
        self, proto: onnx.GraphProto, scope: Scope, imports: dict[str, int], refs: frozenset[str] | None
    ) -> Graph:
        self.bounds.check_depth(scope.depth, "graphs are nested")
        graph = Graph(text(proto.name))
        declared = self._declared(proto)
        for value in self._constants(proto, self.weights if scope.depth == 0 else None):
            self._define(value, scope)
            graph.initializers[value.name] = value
        for info in proto.input:
            name = text(info.name)
            if name in graph.initializers:
                if scope.depth == 0 and self.ir_version >= 4 and name not in self.overridable:
                    self.overridable.append(name)
                continue
            with self.about(f"input {name!r}"):
                self._name(name)
                value = Value(name, read_type(info.type, self.bounds))
            self._define(value, scope)
            graph.inputs.append(value)
        weights = self.weights if scope.depth == 0 else None
        self._nodes(graph, proto.node, scope, declared, imports, refs, weights)
        for info in proto.output:
            name = text(info.name)
            found = scope.find(name)
            if found is None:
                raise self.error(f"nothing makes the graph output {name!r}", _guess(name, scope))
            if found.type is None:
                found.type = declared.get(name)
            graph.add_output(found, name)
        return graph

    def _declared(self, proto: onnx.GraphProto | onnx.FunctionProto) -> dict[str, Type | None]:
        found: dict[str, Type | None] = {}
        infos: list[onnx.ValueInfoProto] = list(proto.value_info)
        if hasattr(proto, "initializer"):
            infos.extend(proto.output)
        for info in infos:
            with self.about(f"value {info.name!r}"):
                type = read_type(info.type, self.bounds)
            if type is not None:
                found[text(info.name)] = type
        return found

    def _constants(self, proto: onnx.GraphProto, weights: Weights | None) -> Iterator[Value]:
        seen: dict[str, np.ndarray] = {}
        stored: list[tuple[str, Any, bool]] = [(text(t.name), t, False) for t in proto.initializer]
        stored += [(text(t.values.name), t, True) for t in proto.sparse_initializer]
        for index, (name, tensor, sparse) in enumerate(stored):
            with self.about(f"initializer {name!r}"):
                self._name(name)
                if sparse:
                    array = self.tensors.read_sparse(tensor)
                elif weights is None:
                    array = self.tensors.read(tensor)
                else:
                    array = self.tensors.read(tensor, partial(weights.take, index))
            if name in seen:
                if _same(seen[name], array):
                    continue
                raise self.error(f"initializer {name!r} is there twice, with different data")
            seen[name] = array
            yield Value(name, TensorType(DType.from_code(_code(tensor, sparse)), array.shape), data=array)

    def _define(self, value: Value, scope: Scope) -> None:
        if value.name in scope.own:
            raise self.error(f"the name {value.name!r} is given to more than one value")
        scope.own[value.name] = value

    def _name(self, name: str) -> None:
        if not name:
            raise ValueError("has no name")
        if len(name) > limits.MAX_NAME:
            raise ValueError(f"has a name of {len(name)} characters")

    # --- nodes

    def _nodes(
        self,
        graph: Graph,
        protos: Sequence[onnx.NodeProto],
        scope: Scope,
        declared: dict[str, Type | None],
        imports: dict[str, int],
        refs: frozenset[str] | None,
        weights: Weights | None = None,
    ) -> None:
        self.node_count += len(protos)
        try:
            self.bounds.check_nodes(self.node_count)
        except LimitError as e:
            raise self.error(str(e), e.hint) from e
        nodes = list(protos)
        order, loop = node_order(nodes, scope)
        if loop:
            names = " -> ".join(repr(_label(nodes[i])) for i in loop[:8]) + (" ..." if len(loop) > 8 else "")
            raise self.error(f"nodes wait for one another in a circle: {names}")
        for i in order:
            stored = None if weights is None else partial(_taken, weights, i)
            graph.append(self._node(nodes[i], scope, declared, imports, refs, stored))

    def _node(
        self,
        proto: onnx.NodeProto,
        scope: Scope,
        declared: dict[str, Type | None],
        imports: dict[str, int],
        refs: frozenset[str] | None,
        stored: Callable[[int], np.ndarray | None] | None = None,
    ) -> Node:
        """``stored`` gives the raw data of the tensor that attribute ``n`` of a parsed node lacks."""
        domain, op, overload = canonical_domain(text(proto.domain)), text(proto.op_type), text(proto.overload)
        local = (domain, op, overload) in self.functions
        try:
            if not proto.op_type:
                raise ValueError("has no operator")
            node = Node(
                op,
                [self._input(text(name), scope) for name in proto.input],
                [self._output(text(name), scope, declared) for name in proto.output],
                domain=domain,
                version=imports.get(domain, 1) if local else version_for(domain, imports),
                name=text(proto.name),
                overload=overload,
            )
            for n, attribute in enumerate(proto.attribute):
                key = text(attribute.name)
                if key in node.attributes:
                    raise ValueError(f"attribute {key!r} is given twice")
                raw = None if stored is None else partial(stored, n)
                node.attributes[key] = self.attribute(attribute, scope, imports, refs, raw)
        except ValueError as e:
            raise self._node_error(proto, str(e), hint=hint_of(e)) from e
        if not local:
            wrong = check_node(node)
            if wrong is not None:
                raise self._node_error(proto, wrong, node)
        # Only now: a graph among the attributes must not see what its own node makes.
        for value in node.outputs:
            if value.name and scope.own.setdefault(value.name, value) is not value:
                raise self._node_error(proto, f"gives two outputs the name {value.name!r}")
        return node

    def _input(self, name: str, scope: Scope) -> Value | None:
        if not name:
            return None
        value = scope.find(name)
        if value is None:
            hint = _guess(name, scope)
            more = f": {hint}" if hint else ""
            raise ValueError(f"input {name!r} is made by no node, and is no input or initializer{more}")
        return value

    def _output(self, name: str, scope: Scope, declared: dict[str, Type | None]) -> Value:
        if name in scope.own:
            raise ValueError(f"output {name!r} has the name of another value of this graph")
        if len(name) > limits.MAX_NAME:
            raise ValueError(f"has an output with a name of {len(name)} characters")
        return Value(name, declared.get(name) if name else None)

    def _node_error(
        self, proto: onnx.NodeProto, message: str, node: Node | None = None, hint: str | None = None
    ) -> ModelError:
        domain = canonical_domain(text(proto.domain))
        op = f"{domain}::{text(proto.op_type)}" if domain else text(proto.op_type)
        error = ModelError(f"{self.source}: node {_label(proto)!r} ({op}): {message}", node=node, hint=hint)
        error.node_label, error.op = _label(proto), op
        return error

    # --- attributes

    def attribute(
        self,
        proto: onnx.AttributeProto,
        scope: Scope,
        imports: dict[str, int],
        refs: frozenset[str] | None,
        raw: Callable[[], np.ndarray | None] | None = None,
    ) -> Attr:
        """The value of an attribute. ``refs`` are the attributes that it may refer to: None outside of functions.
        ``raw`` gives a tensor's data where the proto was parsed without it."""
        if not proto.name:
            raise ValueError("has an attribute without a name")
        if proto.ref_attr_name:
            ref = text(proto.ref_attr_name)
            if refs is None or ref not in refs:
                where = "outside of a function" if refs is None else "which the function does not have"
                raise ValueError(f"attribute {proto.name!r} refers to attribute {ref!r}, {where}")
            return AttrRef(ref)
        kind = proto.type or _guess_kind(proto)
        read = _PLAIN.get(kind)
        if read is not None:
            return read(proto)
        try:
            match kind:
                case 4:
                    return self.tensors.read(proto.t) if raw is None else self.tensors.read(proto.t, raw)
                case 9:
                    return [self.tensors.read(t) for t in proto.tensors]
                case 11:
                    return self.tensors.read_sparse(proto.sparse_tensor)
                case 12:
                    return [self.tensors.read_sparse(t) for t in proto.sparse_tensors]
                case 13:
                    return read_type(proto.tp, self.bounds)
                case 14:
                    return [read_type(t, self.bounds) for t in proto.type_protos]
        except ValueError as e:
            raise ValueError(f"attribute {proto.name!r}: {e}") from e
        match kind:
            case 5:
                return self._graph(proto.g, Scope(scope), imports, refs)
            case 10:
                return [self._graph(g, Scope(scope), imports, refs) for g in proto.graphs]
        raise ValueError(f"attribute {proto.name!r} has the unknown kind {kind}")

    # --- functions

    def function(self, proto: onnx.FunctionProto, imports: dict[str, int]) -> Function:
        """A model-local function; ``imports`` are its own opset imports on top of the model's."""
        domain, function = canonical_domain(text(proto.domain)), text(proto.name)
        scope = Scope()
        body = Graph(function)
        # The dims of a function's types are named for its own use: a caller's N is another N.
        declared = {name: without_shape(type) for name, type in self._declared(proto).items()}
        for name in map(text, proto.input):
            with self.about(f"input {name!r} of function {function!r}"):
                self._name(name)
            value = Value(name, declared.get(name))
            self._define(value, scope)
            body.inputs.append(value)
        attributes: dict[str, Attr | None] = dict.fromkeys(map(text, proto.attribute))
        with self.about(f"function {function!r}"):
            for default in proto.attribute_proto:
                attributes[text(default.name)] = self.attribute(default, Scope(), imports, None)
        self._nodes(body, proto.node, scope, declared, imports, frozenset(attributes))
        for name in map(text, proto.output):
            found = scope.find(name)
            if found is None:
                raise self.error(f"nothing makes the output {name!r} of function {function!r}", _guess(name, scope))
            body.add_output(found, name)
        return Function(domain, function, text(proto.overload), body, attributes, imports)


def _string(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _taken(weights: Weights, node: int, attribute: int) -> np.ndarray | None:
    return weights.take((node, attribute))


_LONG = 1000
"""Elements of a list from which on equal ones are one object: tree ensembles have lists of a million."""
_FIRST_INT, _LAST_INT = -5, 256  # of these Python has one object each anyway


def _numbers(values: Sequence[Any], dtype: Any) -> list[Any]:
    if len(values) < _LONG:
        return list(values)
    array = np.array(values, dtype)
    if dtype is np.int64 and array.min() >= _FIRST_INT and array.max() <= _LAST_INT:
        return list(values)
    bits, where = np.unique(array.view(np.int64), return_inverse=True)
    distinct = np.empty(bits.size, object)
    distinct[:] = bits.view(dtype).tolist()
    shared: list[Any] = distinct[where].tolist()
    return shared


def _strings(values: Sequence[bytes]) -> list[str | bytes]:
    known: dict[bytes, str | bytes] = {}
    return [known[s] if s in known else known.setdefault(s, _string(s)) for s in values]


# AttributeProto.AttributeType -> how to read it, for the kinds that need nothing else.
_PLAIN: dict[int, Any] = {
    1: lambda a: float(a.f),
    2: lambda a: int(a.i),
    3: lambda a: _string(a.s),
    6: lambda a: _numbers(a.floats, np.float64),
    7: lambda a: _numbers(a.ints, np.int64),
    8: lambda a: _strings(a.strings),
}
_FIELD_KINDS = (
    ("f", 1), ("i", 2), ("s", 3), ("t", 4), ("g", 5), ("sparse_tensor", 11), ("tp", 13), ("floats", 6), ("ints", 7),
    ("strings", 8), ("tensors", 9), ("graphs", 10), ("sparse_tensors", 12), ("type_protos", 14),
)  # fmt: skip


def _guess_kind(proto: onnx.AttributeProto) -> int:
    """The kind of an attribute that does not say it, as files of IR version 1 may."""
    present = {field.name for field, _ in proto.ListFields()}
    kinds = [kind for name, kind in _FIELD_KINDS if name in present]
    if len(kinds) != 1:
        raise ValueError(f"attribute {proto.name!r} does not say its kind, and holds {len(kinds)} values")
    return kinds[0]


def _label(proto: onnx.NodeProto) -> str:
    first = next(map(text, proto.output), "")
    return text(proto.name) if proto.name else f"{text(proto.op_type)}->%{first}"


def _guess(name: str, scope: Scope) -> str | None:
    names = [n for n, _ in zip(scope.names(), range(2000), strict=False)]
    found = nearest(name[:200], names)
    return f"did you mean {found!r}?" if found else None


def _first_repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _code(tensor: Any, sparse: bool) -> int:
    return int(tensor.values.data_type if sparse else tensor.data_type)
