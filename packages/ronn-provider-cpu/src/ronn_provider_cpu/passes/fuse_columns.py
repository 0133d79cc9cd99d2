"""One-hot encoded string columns that are put side by side."""

from __future__ import annotations

from ronn.ir.graph import Graph, Node, Value
from ronn.passes.edit import Builder, attr, ints, remove_dead, take_over, walk
from ronn.passes.manager import PassContext, define_pass
from ronn.passes.offer import offer
from ronn.passes.rewrite import Refusal
from ronn_provider_cpu.column_ops import DOMAIN


@define_pass("fuse-columns", requires_types=True, keeps_types=True)
def fuse_columns(graph: Graph, context: PassContext) -> bool:
    """Makes one OneHotColumns of OneHotEncoder for each of several string columns and the Concat behind them."""
    changed = False
    for owner, node in walk(graph, context):
        if not context.may_rewrite():
            break
        if node.op == "Concat" and node.domain == "" and len(node.inputs) > 1:
            changed |= _fuse(owner, node, context)
    return changed


def _only_user(graph: Graph, value: Value | None, op: str, domain: str) -> Node | None:
    """The node that makes ``value`` when it is such an operator and nobody else uses it."""
    node = None if value is None else value.producer
    if value is None or node is None or node.op != op or node.domain != domain or node.graph is not graph:
        return None
    return node if len(value.uses) == 1 and not graph.is_output(value) else None


def _fuse(graph: Graph, concat: Node, context: PassContext) -> bool:
    encoders = [_only_user(graph, v, "OneHotEncoder", "ai.onnx.ml") for v in concat.inputs]
    found: list[Node] = []
    for encoder in encoders:
        if encoder is None or not encoder.attributes.get("cats_strings") or not attr(encoder, "zeros", 1):
            return False
        source = encoder.inputs[0]
        if source is None or source.tensor.shape is None or source.tensor.shape[1:] != (1,):
            return False
        categories = list(encoder.attributes["cats_strings"])
        if len(set(categories)) < len(categories):
            return False
        found.append(encoder)
    if int(concat.attributes["axis"]) not in (-1, 2):
        return False
    sources, columns, gathers = _sources(graph, found)
    attributes = {
        "categories": [name for e in found for name in e.attributes["cats_strings"]],
        "counts": [len(e.attributes["cats_strings"]) for e in found],
        "columns": columns,
    }
    b = Builder(graph, concat, context)
    made = offer(b, "OneHotColumns", sources, attributes, domain=DOMAIN, version=1, like=concat.output)
    if isinstance(made, Refusal):
        context.refuse(concat, made.reason)
        return False
    take_over(graph, concat.output, made)
    context.rewrote(b.nodes, detail=concat.label)
    remove_dead([concat, *found, *gathers], graph)
    return True


def _sources(graph: Graph, encoders: list[Node]) -> tuple[list[Value | None], list[int], list[Node]]:
    """The inputs of the fused node: where all columns are picked from one matrix that alone, and which those are."""
    plain = [e.inputs[0] for e in encoders]
    gathers = [_only_user(graph, v, "Gather", "") for v in plain]
    matrix, columns = None, []
    for gather in gathers:
        picked = None if gather is None else ints(gather.inputs[1])
        x = None if gather is None else gather.inputs[0]
        if gather is None or picked is None or len(picked) != 1 or x is None or attr(gather, "axis", 0) not in (1, -1):
            return plain, [], []
        width = None if x.tensor.shape is None or len(x.tensor.shape) != 2 else x.tensor.shape[1]
        if not isinstance(width, int) or not -width <= picked[0] < width or (matrix is not None and x is not matrix):
            return plain, [], []
        matrix = x
        columns.append(picked[0] % width)
    return [matrix], columns, [g for g in gathers if g is not None]
