"""Nodes that a fusion makes only when a provider takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ronn.ir.graph import Node, Value
from ronn.passes.edit import Builder, remove_dead, take_over
from ronn.passes.rewrite import Refusal


def offer(
    b: Builder,
    op: str,
    inputs: Sequence[Value | None],
    attributes: Mapping[str, Any],
    *,
    version: int,
    domain: str = "",
    like: Value | None = None,
) -> Value | Refusal:
    """The output of a new node if a provider takes it; otherwise nothing is made.

    like: the value that the new one is to replace; its type must not contradict what is inferred.
    """
    node: Node = b.node(op, inputs, dict(attributes), domain=domain, version=version)
    if b.context.takes(node):
        if like is not None and not _agree(node.output, like):
            return Refusal(f"{node.op_id} would make {node.output.type}, not {like.type}")
        return node.output
    b.graph.remove(node)
    b.nodes.remove(node)
    return Refusal(f"no provider takes {node.op_id}")


def offer_instead(
    b: Builder,
    node: Node,
    old: Sequence[Node],
    op: str,
    inputs: Sequence[Value | None],
    attributes: Mapping[str, Any],
    *,
    domain: str = "",
) -> bool:
    """Puts a new node (of version 1) in the place of ``node``, and removes those of ``old`` that nobody uses then.
    False, and the refusal noted, when no provider takes it."""
    made = offer(b, op, inputs, attributes, version=1, domain=domain, like=node.output)
    if isinstance(made, Refusal):
        b.discard()
        b.context.refuse(node, made.reason)
        return False
    take_over(b.graph, node.output, made)
    b.context.rewrote(b.nodes, detail=node.label)
    remove_dead(old, b.graph)
    return True


def _agree(new: Value, old: Value) -> bool:
    a, b = new.tensor, old.tensor
    if a.dtype is not None and b.dtype is not None and a.dtype is not b.dtype:
        return False
    if a.shape is None or b.shape is None:
        return True
    if len(a.shape) != len(b.shape):
        return False
    return all(
        not isinstance(x, int) or not isinstance(y, int) or x == y for x, y in zip(a.shape, b.shape, strict=True)
    )


def same_rank(a: Value, b: Value) -> bool:
    """Whether two values have the same known rank."""
    return a.tensor.rank is not None and a.tensor.rank == b.tensor.rank
