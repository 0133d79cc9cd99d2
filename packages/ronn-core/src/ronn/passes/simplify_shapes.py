"""Turns shape arithmetic into constants where inference knows the numbers, and merges chains of reshapes."""

from __future__ import annotations

import numpy as np

from ronn.ir.dims import Dim
from ronn.ir.graph import Graph, Node
from ronn.ops.infer import shape_data
from ronn.passes.edit import Builder, attr, ints, is_pure, remove_dead, walk
from ronn.passes.manager import PassContext, define_pass

_RESHAPES = ("Reshape", "Squeeze", "Unsqueeze", "Flatten")


@define_pass("simplify-shapes", requires_types=True, local=True)
def simplify_shapes(graph: Graph, context: PassContext) -> bool:
    """Makes integer values with known elements constants, and Reshape targets 0/-1 forms where they are symbolic."""
    changed = False
    for owner, node in walk(graph, context):
        if not context.may_rewrite():
            break
        if _known_outputs(owner, node, context):
            changed = True
        if node.graph is owner and node.op == "Reshape" and node.domain == "":
            changed |= _reshape_target(owner, node, context)
            changed |= _merge_reshape(owner, node, context)
    return changed


def _known_outputs(graph: Graph, node: Node, context: PassContext) -> bool:
    changed = False
    for out in node.outputs:
        if not out.uses or out.data is not None or out.dtype is None or not out.dtype.is_integer:
            continue
        elements = out.shape_data
        shape = out.tensor.shape
        if elements is None or shape is None or len(shape) > 1 or not is_pure(node):
            continue
        if any(not isinstance(e, int) for e in elements) or (len(shape) == 0 and len(elements) != 1):
            continue
        array = np.array(elements, dtype=out.dtype.numpy).reshape(() if len(shape) == 0 else (len(elements),))
        value = graph.constant(array, context.fresh(graph, out.name))
        # A graph output stays what the node makes; only its users get the constant.
        for user, index in list(out.uses):
            user.set_input(index, value)
        context.rewrote(detail=f"%{out.name} = {list(elements)}")
        changed = True
    if changed:
        remove_dead([node], graph)
    return changed


def _reshape_target(graph: Graph, node: Node, context: PassContext) -> bool:
    """A computed target with elements that are equal to the input's dims (0) or unknown but one (-1)."""
    target, source = node.input(1), node.input(0)
    if target is None or source is None or target.data is not None:
        return False
    elements = shape_data(target)
    if elements is None or (attr(node, "allowzero", 0) and any(e == 0 for e in elements)):
        return False
    shape = source.tensor.shape
    out: list[int] = []
    for i, element in enumerate(elements):
        if isinstance(element, int):
            out.append(element)
        elif element is not None and shape is not None and i < len(shape) and shape[i] == element:
            out.append(0)
        elif -1 in out:
            return False
        else:
            out.append(-1)
    if out.count(-1) > 1:
        return False
    if -1 in out and _zero_beside(out, elements, shape):
        return False
    node.set_input(1, Builder(graph, node, context).constant(np.array(out, dtype=np.int64)))
    node.attributes.pop("allowzero", None)  # no element is a size of 0: from here 0 copies
    if target.producer is not None:
        remove_dead([target.producer], graph)
    context.rewrote([node], detail=f"target of {node.label} = {out}")
    return True


def _zero_beside(out: list[int], elements: tuple[Dim | None, ...], shape: tuple[Dim | None, ...] | None) -> bool:
    """Whether -1 would have no single answer: a copied dim beside it may be 0, as in an empty batch.

    An element that was -1 to begin with is no worse than before.
    """
    hidden = next((e for o, e in zip(out, elements, strict=True) if o == -1), None)
    if hidden == -1:
        return False
    for i, o in enumerate(out):
        if o == 0:
            dim = shape[i] if shape is not None and i < len(shape) else None
            if not isinstance(dim, int) or dim == 0:
                return True
    return False


def _merge_reshape(graph: Graph, node: Node, context: PassContext) -> bool:
    """Reshape of a Reshape, Squeeze, Unsqueeze or Flatten: the first one does not matter."""
    source = node.input(0)
    inner = None if source is None else source.producer
    if inner is None or inner.op not in _RESHAPES or inner.domain != "" or inner.inputs[0] is None:
        return False
    target = ints(node.input(1))
    if target is None:
        return False
    if 0 in target and not attr(node, "allowzero", 0):
        # Copied dims must be the same dims of the first input.
        before, middle = inner.inputs[0].tensor.shape, inner.output.tensor.shape
        for i, t in enumerate(target):
            if t == 0 and (
                before is None or middle is None or i >= len(before) or before[i] is None or before[i] != middle[i]
            ):
                return False
    node.set_input(0, inner.inputs[0])
    remove_dead([inner], graph)
    context.rewrote([node], detail=f"merged into {node.label}")
    return True
