"""Bodies: what an operator stands for, read from ONNX's functions and nodes or from RONN's text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ronn.custom.signature import REQUIRED
from ronn.errors import ModelError, OptionError
from ronn.ir.graph import Function, Graph
from ronn.ops.schema import max_opset

if TYPE_CHECKING:
    import onnx

    from ronn.custom.registry import CustomOp


def read_body(given: Any, op: CustomOp) -> Function:
    """The body of an operator. OptionError for one that cannot be read, or has other inputs or outputs.

    given: an ``onnx.FunctionProto``; a list of ``onnx.NodeProto`` (of the newest opset, or a pair of it and the opset
    imports), whose inputs and outputs are called as those of the operator; or text: ONNX's (``<opset_import: ["" : 18]>
    Name <alpha> (x) => (y) { ... }``) or RONN's (``graph name(%x) { ... }``, attributes as ``&alpha``).
    """
    try:
        graph, imports = _read(given, op)
    except (ModelError, ValueError) as e:
        text = e.message if isinstance(e, ModelError) else str(e)
        raise OptionError(f"the body of {op.op_id} cannot be read: {text}") from e
    signature = op.signature
    for what, there, wanted in (
        ("inputs", len(graph.inputs), len(signature.inputs)),
        ("outputs", len(graph.outputs), len(signature.outputs)),
    ):
        if there != wanted:
            raise OptionError(f"the body of {op.op_id} has {there} {what}, the function {wanted}")
    if any((n.domain, n.op) == (op.domain, op.name) for n in graph.all_nodes()):
        raise OptionError(f"the body of {op.op_id} calls {op.op_id} itself")
    defaults = {a.name: None if a.default is REQUIRED else a.default for a in signature.attributes.values()}
    return Function(op.domain, op.name, "", graph, defaults, imports)


def _read(given: Any, op: CustomOp) -> tuple[Graph, dict[str, int]]:
    import onnx

    if isinstance(given, Graph):
        return given, {n.domain: n.version for n in given.all_nodes()}
    if isinstance(given, str) and given.lstrip().startswith(("graph", "opset")):
        from ronn.ir.text import parse

        graph = parse(given)
        return graph, {n.domain: n.version for n in graph.all_nodes()}
    if isinstance(given, str):
        try:
            given = onnx.parser.parse_function(given)
        except onnx.parser.ParseError as e:
            raise ValueError(str(e).strip()) from e
    if not isinstance(given, onnx.FunctionProto):
        given = _function(given, op)
    return _of_proto(given, op)


def _function(given: Any, op: CustomOp) -> onnx.FunctionProto:
    import onnx

    pair = isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], dict)
    nodes, imports = given if pair else (given, {"": max_opset("")})
    if not isinstance(nodes, Sequence) or not all(isinstance(n, onnx.NodeProto) for n in nodes):
        raise ValueError("it is no onnx.FunctionProto, no list of onnx.NodeProto and no text")
    return onnx.helper.make_function(
        op.domain,
        op.name,
        [p.name for p in op.signature.inputs],
        list(op.signature.outputs),
        nodes,
        [onnx.helper.make_opsetid(d, v) for d, v in imports.items()],
        list(op.signature.attributes),
    )


def _of_proto(proto: onnx.FunctionProto, op: CustomOp) -> tuple[Graph, dict[str, int]]:
    from ronn.frontend.external import ExternalData
    from ronn.frontend.graphs import GraphReader
    from ronn.frontend.opset import read_imports
    from ronn.frontend.tensors import TensorReader

    unknown = {*proto.attribute, *(a.name for a in proto.attribute_proto)} - set(op.signature.attributes)
    if unknown:
        raise ValueError(f"it has the attributes {', '.join(sorted(unknown))}, which the function does not have")
    reader = GraphReader(f"body of {op.op_id}", TensorReader(ExternalData(None)), 10)
    imports = read_imports(proto.opset_import, 10)
    return reader.function(proto, imports).body, imports
