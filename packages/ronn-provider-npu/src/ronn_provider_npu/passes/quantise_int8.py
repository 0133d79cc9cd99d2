"""Quantises a float model for a profile that multiplies int8 only, where a session gives data to calibrate with."""

from __future__ import annotations

from ronn.errors import ModelError, OptionError
from ronn.ir.graph import Graph, IRModel, Node, Value, clone_node
from ronn.passes.manager import PassContext, define_pass
from ronn_provider_npu.profiles import DeviceProfile
from ronn_provider_npu.profiles.claims import PRODUCTS
from ronn_provider_npu.quantize.kept import kept_or_made


@define_pass("quantise-int8", requires_types=True)
def quantise_int8(graph: Graph, context: PassContext) -> bool:
    """Puts int8 operators in the place of a float graph, by the option `calibration` of the provider."""
    given = context.options.get("provider", {})
    calibration, name = given.get("calibration"), given.get("profile")
    if not calibration or not name or not context.may_rewrite() or not _has_float_products(graph):
        return False
    model = IRModel(graph, _imports(graph, context), dict(context.functions))
    try:
        found = kept_or_made(model, str(calibration), DeviceProfile.of(str(name)))
    except ModelError as e:
        raise OptionError(
            f"the model cannot be quantised while a session is made: {e}",
            hint="`ronn npu quantize` makes a file of it beforehand",
        ) from e
    context.rewrote(put_in(graph, found), detail="quantised to int8")
    return True


def _has_float_products(graph: Graph) -> bool:
    """Whether products of floats are there, and nothing quantised yet."""
    if any(n.op in ("QuantizeLinear", "DequantizeLinear") or n.op.startswith("QLinear") for n in graph):
        return False
    return any(
        n.op in PRODUCTS and v is not None and v.dtype is not None and v.dtype.numpy.kind == "f"
        for n in graph
        for v in n.inputs[:1]
    )


def _imports(graph: Graph, context: PassContext) -> dict[str, int]:
    """The opsets of the graph's nodes: passes may have made some of newer ones than the model imports."""
    newest = max((n.version for n in graph.all_nodes() if n.domain == ""), default=context.opset)
    return {**context.opset_imports, "": max(context.opset, newest)}


def put_in(graph: Graph, made: Graph) -> list[Node]:
    """Has ``graph`` be what ``made``, of the same inputs and outputs, is; its inputs stay the same values."""
    types = [v.type for v in graph.outputs]
    graph.outputs = []
    for node in reversed(graph):
        graph.remove(node)
    graph.initializers.clear()
    mapping: dict[Value, Value] = dict(zip(made.inputs, graph.inputs, strict=True))
    for name, value in made.initializers.items():
        assert value.data is not None
        mapping[value] = graph.constant(value.data, name)
    nodes = [graph.append(clone_node(node, mapping)) for node in made]
    graph.outputs = [mapping[v] for v in made.outputs]
    for value, kind in zip(graph.outputs, types, strict=True):
        if value.type is None:
            value.type = kind
    return nodes
