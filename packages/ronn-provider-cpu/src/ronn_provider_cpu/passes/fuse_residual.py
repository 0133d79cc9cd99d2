"""What stands behind a convolution on blocks and is done while it stores: biases, additions, activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ronn.ir.graph import Graph, Node, Value
from ronn.passes.edit import Builder, graphs, remove_dead, take_over
from ronn.passes.fuse_bias_activation import activation_of
from ronn.passes.manager import PassContext, define_pass
from ronn_provider_cpu.ops import DOMAIN

_INPUTS: dict[tuple[str, str], tuple[int, int]] = {(DOMAIN, "BlockedConv"): (2, 3)}
"""Convolutions on blocks that add while they store, and which of their inputs are the bias and the residual."""


def add_convolution(domain: str, op: str, bias: int, residual: int) -> None:
    """Makes another provider's convolution on blocks known, which has the attributes of ``BlockedConv``, and the
    indices of its inputs."""
    _INPUTS[domain, op] = bias, residual


@define_pass("fuse-residual", requires_types=True, keeps_types=True, late=True)
def fuse_residual(graph: Graph, context: PassContext) -> bool:
    """Merge a convolution on blocks with the bias, the addition and the activation behind it."""
    changed = False
    for g in graphs(graph):
        if not any((n.domain, n.op) in _INPUTS for n in g):
            continue
        order = {n: i for i, n in enumerate(g)}
        for node in g:
            context.at = node
            if not context.may_rewrite():
                return changed
            changed |= any(fuse(g, node, context, order) for fuse in (_bias, _addition, _activation))
    return changed


def _bias(graph: Graph, node: Node, context: PassContext, order: dict[Node, int]) -> bool:
    """Adds, or takes off, a constant per channel."""
    if node.op not in ("Add", "Sub") or node.domain != "" or len(node.inputs) != 2:
        return False
    sides = (node.inputs, node.inputs[::-1]) if node.op == "Add" else (node.inputs,)
    for value, constant in sides:
        conv = _conv_of(graph, value, [node])
        if conv is None or constant is None or constant.data is None or constant.data.dtype != np.float32:
            continue
        if _residual(conv) is not None or conv.attributes.get("activation"):
            continue
        channels, lanes = (int(conv.attributes[name]) for name in ("out_channels", "lanes"))
        index, _ = _places(conv)
        before = conv.input(index)
        if constant.data.shape != (1, -(-channels // lanes), 1, 1, lanes):
            continue
        if before is not None and before.data is None:
            continue
        bias = constant.data.reshape(-1)[:channels] * np.float32(1 if node.op == "Add" else -1)
        if before is not None and before.data is not None:
            bias = before.data + bias
        made = graph.constant(np.ascontiguousarray(bias), context.fresh(graph, "bias"))
        _replace(graph, node, conv, [conv], _with(conv, index, made), conv.attributes, context, order)
        return True
    return False


def _addition(graph: Graph, node: Node, context: PassContext, order: dict[Node, int]) -> bool:
    if node.op not in ("Add", "Sum") or node.domain != "" or len(node.inputs) != 2 or node.inputs[0] is node.inputs[1]:
        return False
    found: list[tuple[Node, Value]] = []
    for value, other in (node.inputs, node.inputs[::-1]):
        conv = _conv_of(graph, value, [node])
        if conv is None or other is None or _residual(conv) is not None or other.type != conv.output.type:
            continue
        if other.data is None and other.tensor.is_static:
            found.append((conv, other))
    if not found:
        return False
    # The later one, so that what it reads need not be kept longer than before.
    conv, other = max(found, key=lambda pair: order.get(pair[0], 0))
    _, index = _places(conv)
    attributes = dict(conv.attributes)
    if attributes.get("activation"):
        attributes["residual_last"] = 1
    _replace(graph, node, conv, [conv], _with(conv, index, other), attributes, context, order)
    return True


def _activation(graph: Graph, node: Node, context: PassContext, order: dict[Node, int]) -> bool:
    found = activation_of(node, graph)
    if found is None:
        return False
    source, (name, params), members = found
    conv = _conv_of(graph, source, members)
    if conv is None or conv.attributes.get("activation") or conv.attributes.get("residual_last"):
        return False
    attributes = {**conv.attributes, "activation": name, "activation_params": params}
    _replace(graph, node, conv, [*members, conv], conv.inputs, attributes, context, order)
    return True


def _places(conv: Node) -> tuple[int, int]:
    return _INPUTS[conv.domain, conv.op]


def _residual(conv: Node) -> Value | None:
    return conv.input(_places(conv)[1])


def _with(conv: Node, index: int, value: Value) -> list[Value | None]:
    """The inputs of a convolution, one of them another."""
    inputs = [*conv.inputs, *[None] * (index + 1 - len(conv.inputs))]
    inputs[index] = value
    return inputs


def _replace(
    graph: Graph,
    node: Node,
    conv: Node,
    old: list[Node],
    inputs: Sequence[Value | None],
    attributes: dict[str, Any],
    context: PassContext,
    order: dict[Node, int],
) -> None:
    b = Builder(graph, node, context)
    made = b.node(conv.op, inputs, attributes, domain=conv.domain, version=1)
    order[made] = order.get(node, 0)
    take_over(graph, node.output, made.output)
    context.rewrote([made], detail=node.label)
    remove_dead([node, *old], graph)


def _conv_of(graph: Graph, value: Value | None, users: list[Node]) -> Node | None:
    """The convolution on blocks that makes ``value`` for ``users`` alone."""
    node = None if value is None else value.producer
    if node is None or value is None or (node.domain, node.op) not in _INPUTS or node.graph is not graph:
        return None
    if graph.is_output(value) or any(user not in users for user, _ in value.uses):
        return None
    return node
