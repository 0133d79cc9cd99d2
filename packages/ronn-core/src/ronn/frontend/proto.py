"""The IR back as ONNX: nodes, graphs, functions, whole models, and files of them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from ronn.errors import ModelError
from ronn.frontend.encode import array_to_proto, attribute_to_proto, packed, type_to_proto, value_info
from ronn.ir.graph import Attr, Function, Graph, IRModel, Node, Value
from ronn.ir.types import DType
from ronn.ops.schema import find_schema, schema_of

if TYPE_CHECKING:
    import onnx

__all__ = [
    "array_to_proto", "graph_to_proto", "model_to_proto", "node_to_proto", "save_model", "type_to_proto", "value_info",
]  # fmt: skip

MAX_BYTES = 2**31 - 2**20  # of constants in one protobuf message; what is left is for everything else
EXTERNAL_FROM = 1024  # bytes; smaller constants stay in the model file
_ALIGN = 64
_INPUTS_LIST_CONSTANTS_BEFORE_IR = 4
_TensorWriter = Callable[[np.ndarray, str], "onnx.TensorProto"]


def node_to_proto(node: Node, rename: Mapping[Value, str] | None = None) -> onnx.NodeProto:
    """One node. ``rename`` gives values other names than their own.

    Raises ModelError for an attribute that ONNX cannot hold.
    """
    return _Writer(array_to_proto, {} if rename is None else dict(rename)).node(node, set())


def graph_to_proto(graph: Graph) -> onnx.GraphProto:
    """A graph with its constants and value types. Names that two values share are told apart; outputs keep theirs.

    Raises ModelError for what ONNX cannot hold.
    """
    return _Writer(array_to_proto, {}).graph(graph, set())


def model_to_proto(model: IRModel) -> onnx.ModelProto:
    """A whole model, functions and metadata included. ``load`` of it gives the same model.

    Raises ModelError when its constants are too large for one message (then ``save_model`` can write it), or when it
    holds what ONNX cannot.
    """
    size = sum(a.nbytes for a in _constants(model))
    if size > MAX_BYTES:
        raise ModelError(
            f"{model.source}: constants of {size} bytes do not fit into one ONNX message, which holds less than 2 GiB",
            hint="save_model(model, path) keeps them in a file beside it",
        )
    return _model(model, array_to_proto)


def save_model(model: IRModel, path: str | os.PathLike[str], *, external: bool | None = None) -> None:
    """Writes an ONNX file; with its constants in ``<name>.data`` beside it if ``external``, or if they are too large.

    Files appear whole or not at all. Raises ModelError for what ONNX cannot hold.
    """
    path = Path(path)
    if external is None:
        external = sum(a.nbytes for a in _constants(model)) > MAX_BYTES
    if not external:
        proto = model_to_proto(model)
        _replace(path, lambda file: file.write(proto.SerializeToString()))
        return
    location = path.name + ".data"
    protos: list[onnx.ModelProto] = []

    def write(data: IO[bytes]) -> None:
        protos.append(_model(model, lambda array, name: _external(array, name, data, location)))

    _replace(path.with_name(location), write)
    _replace(path, lambda file: file.write(protos[0].SerializeToString()))


def _replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            write(file)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _external(array: np.ndarray, name: str, data: IO[bytes], location: str) -> onnx.TensorProto:
    import onnx

    dtype = DType.of(array.dtype)
    if dtype is DType.STRING or array.nbytes < EXTERNAL_FROM:
        return array_to_proto(array, name)
    data.write(bytes(-data.tell() % _ALIGN))
    offset = data.tell()
    stored = packed(array, dtype)
    data.write(stored.view(np.uint8).data)
    proto = onnx.TensorProto(name=name, dims=array.shape, data_type=dtype.code)
    proto.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(stored.nbytes))):
        proto.external_data.add(key=key, value=value)
    return proto


def _constants(model: IRModel) -> Iterable[np.ndarray]:
    for graph in (model.graph, *(f.body for f in model.functions.values())):
        yield from _graph_constants(graph)


def _graph_constants(graph: Graph) -> Iterable[np.ndarray]:
    yield from (v.data for v in graph.initializers.values() if v.data is not None)
    for node in graph:
        yield from (a for a in node.attributes.values() if isinstance(a, np.ndarray))
        for sub in node.subgraphs():
            yield from _graph_constants(sub)


def _model(model: IRModel, tensor: _TensorWriter) -> onnx.ModelProto:
    import onnx

    meta = model.metadata
    ir_version = meta.ir_version if meta.ir_version > 0 else onnx.IR_VERSION
    proto = onnx.ModelProto(
        ir_version=ir_version,
        producer_name=meta.producer_name,
        producer_version=meta.producer_version,
        domain=meta.domain,
        model_version=meta.version,
        doc_string=meta.description,
    )
    for key, text in meta.custom.items():
        proto.metadata_props.add(key=key, value=text)
    for domain, version in _imports(model.graph, model.opset_imports, model).items():
        proto.opset_import.add(domain=domain, version=version)
    writer = _Writer(tensor, {})
    graph = writer.graph(model.graph, set())
    if ir_version < _INPUTS_LIST_CONSTANTS_BEFORE_IR:
        listed = list(model.graph.initializers.values())
    else:
        listed = [v for n in model.overridable if (v := model.graph.initializers.get(n)) is not None]
    graph.input.extend(value_info(writer.names[v], v.type) for v in listed)
    graph.doc_string = meta.graph_description
    proto.graph.CopyFrom(graph)
    for function in model.functions.values():
        proto.functions.append(_function(function, model, tensor))
    return proto


def _imports(graph: Graph, declared: Mapping[str, int], model: IRModel) -> dict[str, int]:
    """The opset imports with those that nodes need besides. ModelError when nodes speak versions that differ."""
    found = dict(declared)
    for node in graph.all_nodes():
        if (node.domain, node.op, node.overload) in model.functions:
            found.setdefault(node.domain, node.version)
            continue
        version = found.setdefault(node.domain, node.version)
        if version != node.version and find_schema(node.domain, node.op, version) != schema_of(node):
            raise ModelError(
                f"{model.source}: a model holds one version of each domain, and {node.op_id} changed between "
                f"{version} and {node.version}",
                node=node,
            )
    return found


def _function(function: Function, model: IRModel, tensor: _TensorWriter) -> onnx.FunctionProto:
    import onnx

    writer = _Writer(tensor, {})
    body = writer.graph(function.body, set())
    if body.initializer:
        raise ModelError(f"{model.source}: function {function.name!r} has constants, which ONNX functions cannot have")
    proto = onnx.FunctionProto(
        domain=function.domain,
        name=function.name,
        overload=function.overload,
        input=[i.name for i in body.input],
        output=[o.name for o in body.output],
        node=body.node,
    )
    typed = [i for i in (*body.input, *body.output) if i.HasField("type")]
    proto.value_info.extend([*body.value_info, *typed])
    for name, default in function.attributes.items():
        if default is None:
            proto.attribute.append(name)
        else:
            proto.attribute_proto.append(attribute_to_proto(name, default, None, graph_to_proto))
    for domain, version in _imports(function.body, function.opset_imports, model).items():
        proto.opset_import.add(domain=domain, version=version)
    return proto


class _Writer:
    """Writes graphs; ``names`` holds the name of every value written so far."""

    def __init__(self, tensor: _TensorWriter, names: dict[Value, str]) -> None:
        self.tensor = tensor
        self.names = names

    def graph(self, graph: Graph, outer: set[str]) -> onnx.GraphProto:
        """``outer`` are the names of the graphs around, which this one may not give to anything else."""
        import onnx

        used = set(outer)
        extra = self._name_values(graph, used)
        proto = onnx.GraphProto(name=graph.name)
        proto.input.extend(value_info(self.names[v], v.type) for v in graph.inputs)
        for v in graph.initializers.values():
            assert v.data is not None
            proto.initializer.append(self.tensor(v.data, self.names[v]))
        proto.node.extend(self.node(n, used) for n in graph)
        proto.node.extend(extra)
        for value, name in zip(graph.outputs, graph.output_names, strict=True):
            proto.output.append(value_info(name, value.type))
        listed = set(graph.output_names)
        for node in graph:
            for v in node.outputs:
                if v.type is not None and v.name and self.names[v] not in listed:
                    proto.value_info.append(value_info(self.names[v], v.type))
        return proto

    def _name_values(self, graph: Graph, used: set[str]) -> list[onnx.NodeProto]:
        """Names every value of ``graph``; the Identity nodes that outputs need which cannot have their own name."""
        import onnx

        for value in graph.inputs:
            self._give(value, value.name, used)
        extra: list[onnx.NodeProto] = []
        made = {id(v) for node in graph for v in node.outputs}
        pending: list[tuple[Value, str]] = []
        for value, name in zip(graph.outputs, graph.output_names, strict=True):
            if id(value) in made and value not in self.names and name not in used:
                self._give(value, name, used)
            elif self.names.get(value) != name and not (value.is_const and value.name == name):
                pending.append((value, name))
                used.add(name)
        for value in graph.initializers.values():
            self._give(value, value.name, used)
        for node in graph:
            for value in node.outputs:
                if value not in self.names:
                    if value.name:
                        self._give(value, value.name, used)
                    else:
                        self.names[value] = ""
        for value, name in pending:
            extra.append(onnx.NodeProto(op_type="Identity", input=[self.names[value]], output=[name]))
        return extra

    def _give(self, value: Value, wanted: str, used: set[str]) -> None:
        name, count = wanted or "value", 0
        while name in used:
            count += 1
            name = f"{wanted or 'value'}.{count}"
        used.add(name)
        self.names[value] = name

    def node(self, node: Node, used: set[str]) -> onnx.NodeProto:
        import onnx

        schema = schema_of(node)
        kinds = {} if schema is None else schema.attributes
        proto = onnx.NodeProto(
            op_type=node.op,
            domain=node.domain,
            name=node.name,
            overload=node.overload,
            input=["" if v is None else self.names.get(v, v.name) for v in node.inputs],
            output=[self.names.get(v, v.name) for v in node.outputs],
        )
        for name, value in node.attributes.items():
            proto.attribute.append(self._attribute(node, name, value, kinds.get(name), used))
        return proto

    def _attribute(self, node: Node, name: str, value: Attr, kind: str | None, used: set[str]) -> onnx.AttributeProto:
        try:
            return attribute_to_proto(name, value, kind, lambda graph: self.graph(graph, used))
        except (TypeError, ValueError) as e:
            raise ModelError(f"attribute {name!r} cannot be written as ONNX: {e}", node=node) from e
