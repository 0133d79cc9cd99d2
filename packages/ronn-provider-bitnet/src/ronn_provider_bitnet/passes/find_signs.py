"""Products of signs with weights of one bit."""

from __future__ import annotations

from typing import Any

import numpy as np

import ronn_provider_bitnet.sign_ops  # noqa: F401  # declares SignLinear
from ronn.ir.graph import Graph, Node, Value
from ronn.passes.edit import Builder, attr, const, graphs
from ronn.passes.manager import PassContext, define_pass
from ronn.passes.offer import offer_instead
from ronn_provider_bitnet.ops import DOMAIN
from ronn_provider_bitnet.passes.sign_activations import Signs, find_sign_activations


@define_pass("find-signs", requires_types=True, keeps_types=True, late=True)
def find_signs(graph: Graph, context: PassContext) -> bool:
    """Makes SignLinear of a BitLinear with weights of one bit, where what it multiplies are signs: Sign, Where of a
    comparison with 0, and other forms (see ``sign_activations``)."""
    changed = False
    for g in graphs(graph):
        for node in g:
            if not context.may_rewrite():
                return changed
            context.at = node
            if node.op == "BitLinear" and node.domain == DOMAIN:
                changed = _linear(g, node, context) or changed
    return changed


def _linear(graph: Graph, node: Node, context: PassContext) -> bool:
    x, codes, scale = node.inputs[0], const(node.input(1)), const(node.input(2))
    signs = None if x is None else find_sign_activations(x)
    if signs is None or codes is None or scale is None:
        return False
    if int(attr(node, "bits")) != 1 or scale.shape[1] != 1 or node.input(4) is not None:
        context.refuse(node, "weights are not -s and s by row")
        return False
    if int(attr(node, "planes")) == 1 and (signs.mean or abs(signs.factor) < attr(node, "least")):
        context.refuse(node, "signs that are quantised once more")
        return False
    more = {"mean": int(signs.mean)}
    return replace_by_signs(graph, node, signs, codes, scale.reshape(-1), node.input(3), "SignLinear", more, context)


def replace_by_signs(
    graph: Graph, node: Node, signs: Signs, codes: np.ndarray, scale: np.ndarray, bias: Value | None, op: str,
    more: dict[str, Any], context: PassContext,
) -> bool:  # fmt: skip
    """Puts ``op`` of codes u8[N, ...] and scale f32[N] in the place of ``node``; False where no provider takes it."""
    builder = Builder(graph, node, context)
    inputs = [
        signs.source,
        builder.constant(codes, "codes"),
        builder.constant(scale * signs.factor, "scale"),
        None if bias is None else builder.constant(np.asarray(bias.data).reshape(-1), "bias"),
    ]
    attributes = {
        "zero": signs.zero, "nan": signs.nan, **more,
        **{k: v for k, v in node.attributes.items() if k in ("activation", "activation_params")},
    }  # fmt: skip
    return offer_instead(builder, node, [node], op, inputs, attributes, domain=DOMAIN)
