"""Products whose weights are one or two bits in float32's clothes: every element is -s, 0 or s."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import ronn_provider_bitnet.ops  # noqa: F401  # declares BitLinear
from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import DType
from ronn.passes.edit import Builder, attr, const, graphs
from ronn.passes.manager import PassContext, define_pass
from ronn.passes.offer import offer_instead
from ronn_provider_bitnet.ops import DOMAIN
from ronn_provider_bitnet.passes.activations import taken

GROUPS = (0, 256, 128, 64, 32)
"""Elements along K that may share a scale, the largest first; 0 stands for a whole row."""
TOLERANCE = 1e-6  # by which a weight may differ from its scale, in parts of it: what rounding to float32 leaves
SMALLEST = 1 << 10  # elements of a matrix worth it


class Bits(NamedTuple):
    """A matrix of N rows as codes (see ``BitLinear``): u8[N, K], f32[N, groups]."""

    codes: np.ndarray
    scale: np.ndarray
    bits: int
    group: int


def find(w: np.ndarray) -> Bits | None:
    """The codes of a float32 matrix [N, K] of weights -s, 0 and s by row or by group; None where it is another one."""
    k = w.shape[1]
    if not w.size or not is_bits(w[:1, : GROUPS[-1]]).all():
        return None  # what most matrices are found out by
    for group in GROUPS:
        width = group if group else k
        if group >= k or (group and k % group):
            continue
        parts = w.reshape(len(w), k // width, width)
        if not is_bits(parts).all():
            continue
        zeros, scale = parts == 0, np.abs(parts).max(axis=2)
        if not np.isfinite(scale).all():
            return None
        signs = np.where(zeros, 0, np.sign(parts)).astype(np.int8).reshape(w.shape)
        if not zeros.any():
            return Bits((signs > 0).astype(np.uint8), scale, 1, group)
        return Bits((signs + 1).astype(np.uint8), scale, 2, group)
    return None


def is_bits(parts: np.ndarray) -> np.ndarray:
    """Where elements are 0, or as large as the largest along the last axis."""
    sizes = np.abs(parts)
    return (sizes >= sizes.max(axis=-1, keepdims=True) * np.float32(1 - TOLERANCE)) | (parts == 0)


@define_pass("find-bits", requires_types=True, keeps_types=True, late=True)
def find_bits(graph: Graph, context: PassContext) -> bool:
    """Makes BitLinear of products with constant weights of -s, 0 and s (by row, or by group of 32 to 256 elements);
    takes the quantiser of activations in front of it in, where there is one."""
    changed = False
    for g in graphs(graph):
        for node in g:
            if node.op in _KINDS and node.domain in ("", "ronn") and context.may_rewrite():
                context.at = node
                changed = _rewrite(g, node, context) or changed
    return changed


_KINDS = ("MatMul", "Gemm", "FusedMatMul", "FusedGemm")


def _rewrite(graph: Graph, node: Node, context: PassContext) -> bool:
    x, b, bias = node.inputs[0], node.inputs[1], node.input(2)
    weights = const(b)
    if x is None or weights is None or weights.ndim != 2 or weights.dtype != np.float32 or weights.size < SMALLEST:
        return False
    if x.dtype is not DType.FLOAT32 or x.tensor.rank in (None, 0, 1):
        return False
    if node.op.endswith("Gemm"):
        plain = attr(node, "alpha", 1.0) == 1.0 and attr(node, "beta", 1.0) == 1.0 and not attr(node, "transA", 0)
        if not plain:
            context.refuse(node, "alpha, beta or transA")
            return False
        rows = weights if attr(node, "transB", 0) else weights.T
    else:
        rows = weights.T
    n = len(rows)
    if bias is not None and (const(bias) is None or bias.tensor.static_shape not in ((n,), (1, n))):
        context.refuse(node, "a bias that is not one number a column")
        return False
    found = find(np.ascontiguousarray(rows))
    if found is None:
        context.refuse(node, "weights are not -s, 0 and s")
        return False
    return _replace(graph, node, x, bias, found, context)


def _replace(
    graph: Graph, node: Node, x: Value, bias: Value | None, found: Bits, context: PassContext
) -> bool:
    source, planes, least, old = taken(x, 2, 0.0)
    builder = Builder(graph, node, context)
    codes, scale = builder.constant(found.codes, "codes"), builder.constant(found.scale, "scale")
    added = None if bias is None else builder.constant(np.asarray(bias.data).reshape(-1), "bias")
    attributes: dict[str, Any] = {
        "bits": found.bits, "zero": 1, "group": found.group, "planes": planes, "least": least,
        **{k: v for k, v in node.attributes.items() if k in ("activation", "activation_params")},
    }  # fmt: skip
    inputs = [source, codes, scale, added]
    return offer_instead(builder, node, [node, *old], "BitLinear", inputs, attributes, domain=DOMAIN)
