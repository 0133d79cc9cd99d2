"""Folds inference BatchNormalization, and constant scales and shifts per channel, into the weights before them."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from ronn.identity import made_of
from ronn.ir.graph import Graph, Node, Value
from ronn.passes.edit import attr, const, is_used, let_go, remove_dead, replace_value, walk
from ronn.passes.manager import PassContext, define_pass


@define_pass("fuse-conv-bn", requires_types=True, keeps_types=True)
def fuse_conv_bn(graph: Graph, context: PassContext) -> bool:
    """Folds BatchNormalization, Mul and Add by constants per channel into Conv, ConvTranspose and Gemm."""
    changed = False
    shared: Shared = {}
    for owner, node in walk(graph, context):
        if not context.may_rewrite():
            break
        if node.domain != "" or node.op not in ("BatchNormalization", "Mul", "Add", "Sub", "Div"):
            continue
        found = _operands(node)
        if found is None:
            continue
        base, transform = found
        if _fold(owner, base, node, transform, context, shared):
            changed = True
    return changed


Affine = tuple[np.ndarray, np.ndarray]  # scale and shift per channel, float64
Shared = dict[Hashable, Value | None]
"""Weights by what they were made of: layers that share weights go on sharing. None for those that are not finite."""


def _operands(node: Node) -> tuple[Node, Affine] | None:
    """The node before ``node`` that can take it in, and what ``node`` does to each channel."""
    if node.op == "BatchNormalization":
        base = _base(node.input(0), node)
        affine = None if base is None else batch_norm(node)
        return None if base is None or affine is None else (base, affine)
    if node.version < 7:
        return None
    sides = (0, 1) if node.op in ("Add", "Mul") else (0,)
    for side in sides:
        base, other = _base(node.input(side), node), node.input(1 - side)
        data = const(other)
        if base is None or data is None or data.dtype.kind != "f":
            continue
        vector = per_channel(base, data, _channels(base))
        if vector is not None:
            return base, affine_of(node.op, vector)
    return None


def affine_of(op: str, vector: np.ndarray) -> Affine:
    """What Add, Sub, Mul or Div by ``vector`` does to each channel."""
    one, zero = np.ones_like(vector), np.zeros_like(vector)
    with np.errstate(divide="ignore"):
        inverse = 1 / vector
    return {"Add": (one, vector), "Sub": (one, -vector), "Mul": (vector, zero), "Div": (inverse, zero)}[op]


def _base(value: Value | None, user: Node) -> Node | None:
    """The Conv, ConvTranspose or Gemm with constant parameters that makes ``value`` for ``user`` only."""
    node = None if value is None else value.producer
    if node is None or value is None or node.domain != "" or node.op not in ("Conv", "ConvTranspose", "Gemm"):
        return None
    if len(value.uses) != 1 or node.graph is None or node.graph is not user.graph or node.graph.is_output(value):
        return None
    weight, bias = const(node.input(1)), const(node.input(2))
    if weight is None or weight.dtype not in (np.float16, np.float32, np.float64):
        return None
    if node.input(2) is not None and bias is None:
        return None
    if node.op == "Gemm" and bias is not None and (node.version < 7 or (bias.ndim > 1 and bias.shape[0] != 1)):
        return None
    return node if _channels(node) > 0 else None


def _channels(node: Node) -> int:
    weight = const(node.input(1))
    assert weight is not None
    if node.op == "Gemm":
        return int(weight.shape[0 if attr(node, "transB", 0) else 1])
    return int(weight.shape[0] if node.op == "Conv" else weight.shape[1] * attr(node, "group", 1))


def batch_norm(node: Node) -> Affine | None:
    """What a BatchNormalization in inference form does; None for another form."""
    graph = node.graph
    assert graph is not None
    if attr(node, "training_mode", 0) or any(is_used(v, graph) for v in node.outputs[1:]):
        return None
    if (node.version < 7 and not attr(node, "is_test", 0)) or not attr(node, "spatial", 1):
        return None
    params = [const(node.input(i)) for i in range(1, 5)]
    if any(p is None or p.ndim != 1 for p in params):
        return None
    scale, shift, mean, var = (p.astype(np.float64) for p in params if p is not None)
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(var + attr(node, "epsilon", 1e-5))
    return factor, shift - mean * factor


def per_channel(base: Node, data: np.ndarray, channels: int) -> np.ndarray | None:
    """``data`` as one number a channel, when broadcasting it to the output of ``base`` only varies along channels."""
    rank = base.output.tensor.rank
    if rank is None and base.op == "Gemm":
        rank = 2
    if rank is None or rank < 2 or data.ndim > rank:
        return None
    shape = (1,) * (rank - data.ndim) + data.shape
    if any(size != 1 for axis, size in enumerate(shape) if axis != 1) or shape[1] not in (1, channels):
        return None
    return np.broadcast_to(data.reshape(-1).astype(np.float64), (channels,)).copy()


def _fold(graph: Graph, base: Node, node: Node, affine: Affine, context: PassContext, shared: Shared) -> bool:
    scale, shift = affine
    weights, bias = base.input(1), const(base.input(2))
    weight = const(weights)
    assert weights is not None and weight is not None
    if len(scale) != _channels(base):
        return False
    beta = float(attr(base, "beta", 1.0)) if base.op == "Gemm" else 1.0
    old = np.zeros_like(scale)
    if bias is not None:
        old = old + bias.reshape(-1).astype(np.float64) * beta
    with np.errstate(all="ignore"):
        new_bias = (old * scale + shift).astype(weight.dtype)
    new_weights = _scaled(graph, base, weights, scale, context, shared) if _finite(new_bias) else None
    if new_weights is None:
        context.refuse(node, "the folded weights would not be finite")
        return False
    base.set_input(1, new_weights)
    if not any(v is weights for v in shared.values()):
        let_go(weights, graph)
    base.set_input(2, graph.constant(new_bias, context.fresh(graph, f"{base.output.name}_bias")))
    if base.op == "Gemm":
        base.attributes["beta"] = 1.0
    # The base stands where it stood; its result simply is what the other node made.
    made = replace_value(graph, node.output, base.output, context)
    name = node.output.name
    remove_dead([node], graph)
    node.output.name, base.output.name = base.output.name, name
    context.rewrote([base] if made is None else [base, made], detail=f"{node.op} into {base.label}")
    return True


def _scaled(
    graph: Graph, base: Node, weights: Value, scale: np.ndarray, context: PassContext, shared: Shared
) -> Value | None:
    """The weights of ``base`` times ``scale``; None when that is not finite."""
    weight = weights.data
    assert weight is not None
    if np.all(scale == 1) and _finite(weight):
        return weights
    key = (graph, weights, base.op, attr(base, "transB", 0), attr(base, "group", 1), scale.tobytes())
    if key not in shared:
        # The factor is found in float64 and rounded once; weights narrower than float32 are multiplied in float32.
        wide = np.promote_types(weight.dtype, np.float32)
        with np.errstate(all="ignore"):
            factor = _along(base, weight, scale.astype(wide))
            array = np.multiply(weight, factor, dtype=wide).astype(weight.dtype, copy=False)
        shared[key] = None
        if _finite(array):
            value = shared[key] = graph.constant(array, context.fresh(graph, weights.name))
            made_of(value, [weights], "scaled", *key[2:])
    return shared[key]


def _finite(array: np.ndarray) -> bool:
    with np.errstate(all="ignore"):
        total = array.sum()  # which may overflow
    return bool(np.isfinite(total)) or bool(np.isfinite(array).all())


def _along(base: Node, weight: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """``scale`` shaped to multiply the weights of each output channel."""
    if base.op == "Gemm":
        return scale[:, None] if attr(base, "transB", 0) else scale[None, :]
    tail = (1,) * (weight.ndim - 2)
    if base.op == "Conv":
        return scale.reshape(-1, 1, *tail)
    group = int(attr(base, "group", 1))
    per_group = scale.reshape(group, 1, -1)
    spread = np.broadcast_to(per_group, (group, weight.shape[0] // group, weight.shape[1]))
    return spread.reshape(weight.shape[0], weight.shape[1], *tail)
