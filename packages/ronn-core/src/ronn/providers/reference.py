"""The ``reference`` provider: ``onnx.reference`` underneath, RONN's own NumPy kernels where that lacks or errs.

It runs everything, slowly, and is what the other providers are compared with. Control flow (If, Loop, Scan,
SequenceMap) is not here: the plan runs it with sub-plans.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from ronn.errors import UnsupportedError
from ronn.ir.types import TensorType
from ronn.ops.schema import find_schema, max_opset, schema_of
from ronn.provider import Call, CompiledPart, Device, KernelContext, KernelSet, No, Part, Provider, Support, Yes

if TYPE_CHECKING:
    import numpy as np

    from ronn.ir.graph import Node, Value

CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})

# Attributes of early opsets that say nothing about the result.
_MEANINGLESS = frozenset({"consumed_inputs"})

_DOMAINS = ("", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training")


class ReferenceProvider(Provider):
    """Claims every node that ``onnx.reference`` can run, directly or through the operator's function body."""

    name = "reference"

    def devices(self) -> Sequence[Device]:
        return (Device("reference", "NumPy kernels of onnx.reference, on the host"),)

    def supports(self, node: Node, device: Device) -> Support:
        if node.domain == "" and node.op in CONTROL_FLOW:
            return No(f"{node.op} is control flow: the plan runs it")
        if any(graph.captures() for graph in node.subgraphs()):
            return No("its subgraph uses values of the graph around it")
        own, refusal = _own_kernels().select(node)
        if own is not None:
            return Yes(score=0.1, note="reference kernel")
        if _implemented(node.domain, node.op, node.version):
            return Yes(score=0.1, note="onnx.reference")
        if node.domain in _DOMAINS:
            return No(f"onnx.reference has no {node.op_id} of opset {node.version}")
        assert isinstance(refusal, No)
        return refusal

    def compile(self, part: Part, device: Device, options: Mapping[str, Any]) -> CompiledPart:
        return CompiledPart([Call(node_function(n), n.inputs, n.outputs, (n,)) for n in part.nodes])


provider = ReferenceProvider


@lru_cache(maxsize=1)
def _own_kernels() -> KernelSet:
    from ronn.providers.reference_ops import kernel_set

    return kernel_set()


@cache
def _implemented(domain: str, op: str, version: int) -> bool:
    import onnx
    from onnx.reference.op_run import RuntimeContextError

    if domain not in _DOMAINS:
        return False
    node = onnx.NodeProto(op_type=op, domain=domain)
    try:
        _loader(domain)(node, version)
    except RuntimeContextError:
        return True  # it has a function body, which depends on the types of a node's inputs
    except Exception:  # onnx.reference has no common base for its refusals
        return False
    return True


def _loader(domain: str) -> Callable[[Any, int], Any]:
    """What finds the implementation of a node without making an evaluator for a whole graph."""
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.ops import aionnx_preview, aionnx_preview_training, aionnxml, load_op

    if domain == "":
        return lambda node, version: load_op("", node.op_type, version, evaluator_cls=ReferenceEvaluator)
    module = {
        "ai.onnx.ml": aionnxml, "ai.onnx.preview": aionnx_preview, "ai.onnx.preview.training": aionnx_preview_training,
    }[domain]  # fmt: skip
    return lambda node, version: module.load_op(domain, node.op_type, version)


def node_function(node: Node) -> Callable[..., Any]:
    """A function of the node's inputs that returns its output, or a tuple of its outputs.

    Arrays that it returns have the inferred dtype, are C-contiguous, and share no memory with the inputs.
    Raises UnsupportedError when nothing implements the node.
    """
    own, _ = _own_kernels().select(node)
    schema = schema_of(node)
    raw = own.bind(KernelContext(node, schema, {})) if own is not None else _onnx_function(node)
    count = len(node.outputs)
    single = own is not None and count == 1
    finish = [_finisher(v) for v in node.outputs]

    def run(*inputs: Any) -> Any:
        import numpy as np

        with np.errstate(all="ignore"):
            result = raw(*inputs)
        if single:
            return finish[0](result, inputs)
        if count == 1:
            return finish[0](result[0], inputs)
        return tuple(f(r, inputs) for f, r in zip(finish, result, strict=False))

    return run


def _onnx_function(node: Node) -> Callable[..., Any]:
    import onnx
    from onnx.reference import ReferenceEvaluator

    from ronn.frontend.proto import node_to_proto

    proto = node_to_proto(node)
    names_in = ["" if v is None else f"i{i}" for i, v in enumerate(node.inputs)]
    del proto.input[:]
    proto.input.extend(names_in)
    del proto.output[:]
    proto.output.extend("" if not v.name else f"o{i}" for i, v in enumerate(node.outputs))
    _complete_attributes(node, proto)
    graph = onnx.GraphProto(name="node", node=[proto])
    for name, value in zip(names_in, node.inputs, strict=True):
        if value is not None:
            graph.input.append(_value_info(name, value))
    opsets = {"": node.version if node.domain == "" else onnx.defs.onnx_opset_version(), node.domain: node.version}
    try:
        evaluator = ReferenceEvaluator(graph, opsets=opsets)
    except Exception as e:  # onnx.reference has no common base for its refusals
        raise UnsupportedError(f"onnx.reference cannot load {node.op_id}: {e}", node=node) from e
    runner = evaluator.rt_nodes_[0]

    def run(*inputs: Any) -> Sequence[Any]:
        outputs: Sequence[Any] = runner.run(*inputs, context={}) if runner.need_context() else runner.run(*inputs)
        return outputs

    return run


def _complete_attributes(node: Node, proto: Any) -> None:
    """Spells out defaults that differ from the newest version's: onnx.reference would take those of the newest."""
    import onnx

    kept = [a for a in proto.attribute if a.name not in _MEANINGLESS]
    del proto.attribute[:]
    proto.attribute.extend(kept)
    schema, newest = schema_of(node), find_schema(node.domain, node.op, max_opset(node.domain))
    if schema is None or newest is None or schema.since == newest.since:
        return
    given = {a.name for a in kept} | _MEANINGLESS
    for name, default in schema.defaults.items():
        if name not in given and newest.defaults.get(name) != default:
            kind = _attr_type(schema.attributes[name])
            proto.attribute.append(onnx.helper.make_attribute(name, default, attr_type=kind))


def _attr_type(name: str) -> int:
    import onnx

    code: int = onnx.AttributeProto.AttributeType.Value(name)
    return code


def _value_info(name: str, value: Value) -> Any:
    import onnx

    info = onnx.ValueInfoProto(name=name)
    if isinstance(value.type, TensorType) and value.type.dtype is not None:
        info.type.tensor_type.elem_type = value.type.dtype.code
        if value.type.is_static:
            shape = info.type.tensor_type.shape
            for size in value.type.static_shape:
                shape.dim.add(dim_value=size)
    return info


def _finisher(value: Value) -> Callable[[Any, Sequence[Any]], Any]:
    wanted = None if value.dtype is None else value.dtype.numpy

    def finish(result: Any, inputs: Sequence[Any]) -> Any:
        return _own(result, wanted, inputs)

    return finish


def _own(result: Any, dtype: np.dtype | None, inputs: Sequence[Any]) -> Any:
    """``result`` in RONN's conventions: arrays of the declared dtype that are contiguous and nobody else's."""
    import numpy as np

    if isinstance(result, (list, tuple)):
        return [_own(r, None, inputs) for r in result]
    if result is None or isinstance(result, dict):
        return result
    array = np.asarray(result.todense() if hasattr(result, "todense") else result)
    if array.dtype.kind in "US":
        array = array.astype(object)
    if dtype is not None and array.dtype != dtype:
        array = array.astype(dtype)
    if not array.flags.c_contiguous or not array.flags.writeable or _shared(array, inputs):
        array = array.copy(order="C")
    return array


def _shared(array: np.ndarray, inputs: Sequence[Any]) -> bool:
    import numpy as np

    for given in inputs:
        if isinstance(given, list):
            if _shared(array, given):
                return True
        elif isinstance(given, np.ndarray) and np.may_share_memory(array, given):
            return True
    return False
