"""Finds scaled dot-product attention written as MatMul, scale, mask, Softmax, MatMul."""

from __future__ import annotations

import math

import numpy as np

from ronn.ir.graph import Graph, Node, Value
from ronn.passes.edit import Builder, attr, const, remove_dead, scalar, take_over, walk
from ronn.passes.manager import PassContext, define_pass
from ronn.passes.offer import offer
from ronn.passes.rewrite import Refusal
from ronn.records import dataclass


@define_pass("fuse-attention", requires_types=True, keeps_types=True, local=True)
def fuse_attention(graph: Graph, context: PassContext) -> bool:
    """Makes Attention (opset 23, four dims) of the operators that spell it, when a provider takes that."""
    if context.claimed is None:
        return False
    changed = False
    for owner, node in walk(graph, context):
        if not context.may_rewrite():
            break
        if node.op != "MatMul" or node.domain != "":
            continue
        found = _find(owner, node)
        if found is None:
            continue
        if isinstance(found, Refusal):
            context.refuse(node, found.reason)
            continue
        changed |= _put(owner, node, found, context)
    return changed


@dataclass
class _Found:
    q: Value
    k: Value  # (batch, heads, keys, size), or transposed when ``k_perm`` is given
    k_perm: tuple[int, ...] | None  # the Transpose that brings ``k`` to that form
    v: Value
    mask: Value | None
    scale: float
    guarded: bool  # rows of NaN, those with every key masked, are to be 0
    members: list[Node]


def _find(graph: Graph, root: Node) -> _Found | Refusal | None:
    probabilities, v = root.inputs
    if probabilities is None or v is None:
        return None
    probabilities, guard = _unguarded(graph, probabilities)
    softmax = probabilities.producer
    if softmax is None or softmax.op != "Softmax" or softmax.graph is not graph:
        return None
    rank = probabilities.tensor.rank
    if rank != 4:
        return Refusal(f"attention of rank {rank}: only four dims are made into one node")
    if int(attr(softmax, "axis", -1)) % 4 != 3:
        return Refusal("the Softmax is not over the last dim")
    if graph.is_output(probabilities) or any(user is not root and user not in guard for user, _ in probabilities.uses):
        return Refusal("the probabilities are used elsewhere")
    members = [root, *guard, softmax]
    scores = softmax.input(0)
    mask: Value | None = None
    scale = 1.0
    product: Node | None = None
    for _ in range(4):
        node = None if scores is None else scores.producer
        if node is None or scores is None or node.graph is not graph or node.domain != "":
            return None
        if len(scores.uses) != 1 or graph.is_output(scores):
            return Refusal("the scores are used elsewhere")
        members.append(node)
        if node.op == "MatMul":
            product = node
            break
        if node.op in ("Mul", "Div"):
            step = _scaled(node)
            if step is None:
                return Refusal(f"{node.op} of the scores by something that is no constant number")
            scores, factor = step
            scale *= factor
        elif node.op == "Add" and mask is None and scale == 1.0:
            split = _masked(node)
            if split is None:
                return Refusal("it is not clear which operand of Add is the mask")
            scores, mask = split
        elif node.op == "Where":
            return Refusal("a mask by Where keeps the masked scores finite or makes rows of NaN: left as it is")
        else:
            return None
    if product is None:
        return None
    q, k = product.inputs
    if q is None or k is None:
        return None
    q, factor = _unscaled(graph, q, members)
    scale *= factor
    k, factor = _unscaled(graph, k, members)
    scale *= factor
    if not math.isfinite(scale) or scale <= 0:
        return Refusal(f"scale {scale}")
    k, perm = _key(k, members)
    if perm is None:
        return Refusal("the keys are not transposed by a Transpose")
    k, factor = _unscaled(graph, k, members)
    return _Found(q, k, perm, v, mask, scale * factor, bool(guard), members)


def _unguarded(graph: Graph, value: Value) -> tuple[Value, list[Node]]:
    """The probabilities behind Where(IsNaN(p), 0, p), and the nodes of that guard."""
    where = value.producer
    if where is None or where.op != "Where" or where.domain != "" or where.graph is not graph or len(value.uses) != 1:
        return value, []
    test, zero, p = where.inputs
    check = None if test is None else test.producer
    if test is None or p is None or check is None or check.op != "IsNaN" or check.input(0) is not p:
        return value, []
    if scalar(zero) != 0.0 or len(test.uses) != 1 or graph.is_output(test) or graph.is_output(value):
        return value, []
    return p, [where, check]


def _scaled(node: Node) -> tuple[Value, float] | None:
    """What ``node`` scales, and by how much."""
    for x, c in (node.inputs, node.inputs[::-1] if node.op == "Mul" else node.inputs):
        number = scalar(c)
        if x is not None and c is not None and number is not None and x.data is None:
            if (c.tensor.rank or 0) > 4 or isinstance(number, bool) or not number:
                return None
            return x, float(number) if node.op == "Mul" else 1 / float(number)
    return None


def _unscaled(graph: Graph, value: Value, members: list[Node]) -> tuple[Value, float]:
    """The value before a constant scale, and the scale."""
    node = value.producer
    if node is None or node.op not in ("Mul", "Div") or node.domain != "" or node.graph is not graph:
        return value, 1.0
    if len(value.uses) != 1 or graph.is_output(value):
        return value, 1.0
    step = _scaled(node)
    if step is None or step[0].tensor.rank != 4 or step[1] <= 0:
        return value, 1.0
    members.append(node)
    return step


def _masked(node: Node) -> tuple[Value, Value] | None:
    """The scores and the mask that an Add combines."""
    sides = [v for v in node.inputs if v is not None]
    if len(sides) != 2:
        return None
    ways = [(a, b) for a, b in (sides, sides[::-1]) if _from_product(a)]
    return ways[0] if len(ways) == 1 else None


def _from_product(value: Value) -> bool:
    node = value.producer
    for _ in range(3):
        if node is None or node.domain != "":
            return False
        if node.op == "MatMul":
            return True
        if node.op not in ("Mul", "Div"):
            return False
        step = _scaled(node)
        node = None if step is None else step[0].producer
    return False


def _key(k: Value, members: list[Node]) -> tuple[Value, tuple[int, ...] | None]:
    """What the Transpose before the scores reads, and the permutation that makes it (batch, heads, keys, size)."""
    node = k.producer
    if node is None or node.op != "Transpose" or node.domain != "":
        return k, None
    perm = [int(p) for p in attr(node, "perm", [3, 2, 1, 0])]
    source = node.input(0)
    if source is None or len(perm) != 4:
        return k, None
    members.append(node)
    return source, (perm[0], perm[1], perm[3], perm[2])


def _put(graph: Graph, root: Node, found: _Found, context: PassContext) -> bool:
    b = Builder(graph, root, context)
    k = found.k
    if found.k_perm is not None and found.k_perm != (0, 1, 2, 3):
        k = b.op("Transpose", k, perm=list(found.k_perm))
    reason = _mismatch(found.q, k, found.v)
    made: Value | Refusal = Refusal(reason or "")
    if reason is None:
        mask = found.mask
        mask_reason = None if mask is None else _mask_mismatch(mask, found.q, k)
        if mask_reason is not None:
            made = Refusal(mask_reason)
        else:
            inputs = [found.q, k, found.v] if mask is None else [found.q, k, found.v, mask]
            made = offer(b, "Attention", inputs, {"scale": float(found.scale)}, version=23, like=root.output)
    if isinstance(made, Refusal):
        b.discard()
        context.refuse(root, made.reason)
        return False
    if found.guarded and not (found.mask is None or _finite(found.mask)):
        # A row of NaN in the probabilities is a row of NaN in the result.
        assert made.dtype is not None
        made = b.op("Where", b.op("IsNaN", made), b.constant(np.zeros((), made.dtype.numpy)), made)
    take_over(graph, root.output, made)
    context.rewrote(b.nodes, detail=root.label)
    remove_dead(found.members, graph)
    return True


def _mismatch(q: Value, k: Value, v: Value) -> str | None:
    """Why the operands cannot be those of Attention, None when they can."""
    shapes = [t.tensor.shape for t in (q, k, v)]
    if any(s is None or len(s) != 4 for s in shapes):
        return "queries, keys and values are not all known to have four dims"
    for axis, what in ((0, "batch"), (1, "heads")):
        dims = {s[axis] for s in shapes if s is not None}
        if len(dims) != 1 or None in dims:
            return f"the {what} dims {sorted(map(str, dims))} are not known to be equal"
    if len({t.dtype for t in (q, k, v)}) != 1:
        return "queries, keys and values differ in dtype"
    return None


def _finite(mask: Value) -> bool:
    """Whether a mask surely holds finite numbers: then no row is masked wholly, and a guard has nothing to catch."""
    if mask.data is not None:
        return bool(np.all(np.isfinite(mask.data)))
    node = mask.producer
    if node is None or node.domain != "":
        return False
    if node.op in ("Unsqueeze", "Squeeze", "Reshape", "Expand", "Transpose", "Slice", "Identity"):
        source = node.input(0)
        return source is not None and _finite(source)
    if node.op == "Where":
        return all(v is not None and _finite(v) for v in node.inputs[1:])
    return False


def _mask_mismatch(mask: Value, q: Value, k: Value) -> str | None:
    shape, q_shape, k_shape = mask.tensor.shape, q.tensor.shape, k.tensor.shape
    assert q_shape is not None and k_shape is not None
    if mask.dtype is not q.dtype:
        return f"the mask is {mask.type}"
    if shape is None or not 2 <= len(shape) <= 4:
        return "the mask is not known to have two to four dims"
    if shape[-1] is None or shape[-1] != k_shape[2]:
        return "the last dim of the mask is not the number of keys"
    full = (q_shape[0], q_shape[1], q_shape[2], k_shape[2])
    for size, wanted in zip(shape[::-1], full[::-1], strict=False):
        if size is None or size not in (1, wanted):
            return f"mask {mask.type} may broadcast the scores"
    data = const(mask)
    if data is not None and bool(np.any(np.isnan(data.astype(np.float64)))):
        return "the mask holds NaN"
    return None
