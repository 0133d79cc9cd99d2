"""Puts the bodies of model-local functions in the place of their calls."""

from __future__ import annotations

from ronn.errors import ModelError
from ronn.ir.graph import Function, Graph, Node
from ronn.ops import custom
from ronn.passes.edit import walk
from ronn.passes.manager import PassContext, define_pass
from ronn.passes.splice import replace_node, splice

MAX_DEPTH = 256
MAX_NODES = 4_000_000  # of the inlined model: nested calls can grow without bound in a small file


@define_pass("inline-functions", required=True)
def inline_functions(graph: Graph, context: PassContext) -> bool:
    """Inlines calls of model-local functions, nested ones too.

    Raises ModelError for a function that calls itself, and for bodies that grow past ``MAX_NODES`` nodes.
    """
    if not context.functions and not custom.table:
        return False
    _check_recursion(context)
    changed, total = False, 0
    for _ in range(MAX_DEPTH):
        again = False
        for owner, node in walk(graph, context):
            function = _called(node, context)
            if function is None:
                continue
            attributes = {**function.attributes, **node.attributes}
            if len(node.inputs) > len(function.body.inputs):
                raise ModelError(
                    f"function {node.op_id!r} has {len(function.body.inputs)} inputs, its call {len(node.inputs)}",
                    node=node,
                )
            if len(node.outputs) > len(function.body.outputs):
                raise ModelError(
                    f"function {node.op_id!r} has {len(function.body.outputs)} outputs, its call {len(node.outputs)}",
                    node=node,
                )
            total += len(function.body)
            if total > MAX_NODES:
                raise ModelError(f"inlined functions exceed {MAX_NODES} nodes", node=node)
            nodes, outputs = splice(owner, node, function.body, node.inputs, context, attributes)
            context.rewrote(replace_node(owner, node, nodes, outputs, context), detail=node.op_id)
            again = changed = True
        if not again:
            return changed
    raise ModelError(f"functions call each other more than {MAX_DEPTH} deep")


def _called(node: Node, context: PassContext) -> Function | None:
    domain = "" if node.domain == "ai.onnx" else node.domain
    found = context.functions.get((domain, node.op, node.overload))
    if found is None:
        own = custom.find_for(node)
        # A provider that has an operator of its own domain whole is not to lose it.
        if own is not None and own.body is not None and (context.claimed is None or not context.takes(node)):
            own.signature.check(node)
            own.signature.bind(node)
            return own.body
    return found


def _check_recursion(context: PassContext) -> None:
    done: set[tuple[str, str, str]] = set()

    def visit(key: tuple[str, str, str], path: tuple[tuple[str, str, str], ...]) -> None:
        if key in path:
            names = " -> ".join("::".join(p for p in k if p) for k in (*path[path.index(key) :], key))
            raise ModelError(f"functions call each other in a circle: {names}")
        if key in done:
            return
        if len(path) > 200:
            raise ModelError("function calls are nested deeper than 200")
        for node in context.functions[key].body.all_nodes():
            inner = ("" if node.domain == "ai.onnx" else node.domain, node.op, node.overload)
            if inner in context.functions:
                visit(inner, (*path, key))
        done.add(key)

    for key in context.functions:
        visit(key, ())
