"""Turns Constant nodes into constant values, so that providers see the data at compile time."""

from __future__ import annotations

import numpy as np

from ronn.ir.graph import Graph, Node
from ronn.passes.edit import walk
from ronn.passes.manager import PassContext, define_pass


@define_pass("lift-constants", required=True)
def lift_constants(graph: Graph, context: PassContext) -> bool:
    """Replaces Constant nodes by constants, where they are not graph outputs."""
    changed = False
    for owner, node in walk(graph, context):
        if node.op != "Constant" or node.domain != "" or owner.is_output(node.output):
            continue
        array = constant_of(node)
        if array is None:
            continue
        value = owner.constant(array, context.fresh(owner, node.output.name))
        owner.replace_uses(node.output, value)
        value.name, node.output.name = node.output.name, value.name
        owner.initializers[value.name] = owner.initializers.pop(node.output.name)
        owner.remove(node)
        context.rewrote(detail=f"constant {node.label}")
        changed = True
    return changed


def constant_of(node: Node) -> np.ndarray | None:
    """The array of a Constant node; None for one that is not dense."""
    for name, dtype in _FORMS.items():
        value = node.attributes.get(name)
        if value is not None:
            return np.array(value, dtype=dtype)
    value = node.attributes.get("value")
    if not isinstance(value, np.ndarray):
        value = node.attributes.get("sparse_value")
    return value if isinstance(value, np.ndarray) else None


_FORMS: dict[str, type] = {
    "value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64,
    "value_string": object, "value_strings": object,
}  # fmt: skip
