"""Squared distances that a Scan takes row by row, as converters of nearest-neighbour models write them."""

from __future__ import annotations

from ronn.ir.graph import Graph, Node, Value
from ronn.passes.edit import Builder, attr, ints, is_used, remove_dead, take_over, walk
from ronn.passes.manager import PassContext, define_pass
from ronn.passes.offer import offer
from ronn.passes.rewrite import Refusal

MS = "com.microsoft"


@define_pass("fuse-distances", requires_types=True, keeps_types=True)
def fuse_distances(graph: Graph, context: PassContext) -> bool:
    """Makes CDist of a Scan over points whose body subtracts one from a matrix and sums the squares of each row."""
    changed = False
    for owner, node in walk(graph, context):
        if not context.may_rewrite():
            break
        if node.op == "Scan" and node.domain == "" and node.version >= 9 and _is_distance(owner, node):
            changed |= _replace(owner, node, context)
    return changed


def _is_distance(graph: Graph, scan: Node) -> bool:
    if len(scan.inputs) != 2 or len(scan.outputs) != 2 or int(scan.attributes["num_scan_inputs"]) != 1:
        return False
    if is_used(scan.outputs[0], graph) or any(_listed(scan, name) for name in _PLACEMENT):
        return False
    matrix, points = scan.inputs
    if matrix is None or points is None or matrix.tensor.rank != 2 or points.tensor.rank != 2:
        return False
    if matrix.tensor.shape is None or points.tensor.shape is None or matrix.dtype is not points.dtype:
        return False
    if matrix.tensor.shape[1] != points.tensor.shape[1] or matrix.tensor.shape[1] is None:
        return False
    body: Graph = scan.attributes["body"]
    state, point = body.inputs
    carried, result = (_through(value) for value in body.outputs)
    return carried is state and _squares(result, state, point)


_PLACEMENT = ("scan_input_axes", "scan_input_directions", "scan_output_axes", "scan_output_directions")


def _listed(scan: Node, name: str) -> bool:
    given = scan.attributes.get(name)
    return given is not None and any(int(x) for x in given)


def _through(value: Value) -> Value:
    """The value that Identity nodes pass on."""
    while value.producer is not None and value.producer.op == "Identity" and value.producer.domain == "":
        source = value.producer.inputs[0]
        assert source is not None
        value = source
    return value


def _squares(result: Value, state: Value, point: Value) -> bool:
    """Whether ``result`` is the sum of squares of each row of state - point."""
    total = result.producer
    if total is None or total.op != "ReduceSumSquare" or total.domain != "" or attr(total, "keepdims", 1):
        return False
    axes = ints(total.input(1)) if total.version >= 18 else [int(a) for a in attr(total, "axes", ())]
    difference = None if total.inputs[0] is None else _through(total.inputs[0]).producer
    if axes not in ([1], [-1]) or difference is None or difference.op != "Sub" or difference.domain != "":
        return False
    sides = {_through(v) for v in difference.inputs if v is not None}
    return sides == {state, point}


def _replace(graph: Graph, scan: Node, context: PassContext) -> bool:
    result = scan.outputs[1]
    user = result.consumers[0] if len(result.uses) == 1 and not graph.is_output(result) else None
    turned = user is not None and user.op == "Transpose" and attr(user, "perm", [1, 0]) == [1, 0]
    old = user.output if turned and user is not None else result
    b = Builder(graph, scan, context)
    made = offer(b, "CDist", scan.inputs, {"metric": "sqeuclidean"}, domain=MS, version=1)
    if isinstance(made, Refusal):
        context.refuse(scan, made.reason)
        return False
    if not turned:
        made = b.op("Transpose", made, perm=[1, 0])
    take_over(graph, old, made)
    context.rewrote(b.nodes, detail=scan.label)
    remove_dead([user, scan] if turned and user is not None else [scan], graph)
    return True
