"""Operators of ``ronn.op`` with ``loop=``: their functions followed into loops, which stand beside RONN's own rules."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, cast

from ronn.errors import RonnError
from ronn.ops import custom
from ronn.provider.contract import No, Support, Yes
from ronn_codegen import fuse
from ronn_codegen.loops.follow import Followed, follow, reduces_rows, write_element, write_rows
from ronn_codegen.loops.language import BITS, HALVES
from ronn_codegen.loops.pointwise import RULES, NotLowered, Operands
from ronn_codegen.loops.rows import LAST_AXIS, REDUCES, ROWS, Row
from ronn_codegen.lower import _made
from ronn_provider_cpu.lowering import TABLE

if TYPE_CHECKING:
    from ronn.custom.registry import CustomOp
    from ronn.ir.graph import Node
    from ronn_codegen.loops.write import Value
    from ronn_codegen.lower._loops import Elementwise
    from ronn_codegen.lower._rows import RowBody

_lock = threading.Lock()
_seen = 0
_adopted: set[tuple[str, str]] = set()
_SAMPLES: dict[str, Any] = {"FLOAT": 1.0, "INT": 1, "STRING": "", "FLOATS": [1.0], "INTS": [1], "STRINGS": [""]}


def adopt() -> None:
    """Brings the tables of loops up to what is registered now; what was made of operators before is forgotten."""
    global _seen
    if _seen == custom.changes():
        return
    with _lock:
        now = custom.changes()
        for key in _adopted:
            for table in (RULES, ROWS, REDUCES):
                table.pop(key, None)
            LAST_AXIS.discard(key)
            TABLE.forget(*key)
        _adopted.clear()
        _known.clear()
        for op in custom.registered():
            if op.loop is not None:
                _put(op)
        fuse.forget()
        _made.forget()
        _seen = now


def _put(op: CustomOp) -> None:
    """Makes the rule of an operator known, under the one name that all its versions have."""
    from ronn_codegen.lower.pointwise import elementwise
    from ronn_codegen.lower.rows import rows

    key = (op.domain, op.name)
    TABLE.forget(*key)
    _adopted.add(key)
    if op.loop == "elementwise":
        RULES[key] = _element
        TABLE.lower(op.name, domain=op.domain)(elementwise)
    else:
        (REDUCES if _is_reduction(op) else ROWS)[key] = _rows
        LAST_AXIS.add(key)
        TABLE.lower(op.name, domain=op.domain)(rows)


def _is_reduction(op: CustomOp) -> bool:
    """Whether it leaves one element of each row; found out on float32, which decides nothing else."""
    samples = {
        a.name: _SAMPLES.get(a.kind) if a.name in op.schema.required else a.default
        for a in op.signature.attributes.values()
    }
    try:
        return reduces_rows(follow(_function(op), ["f32"] * len(op.signature.inputs), samples))
    except NotLowered:
        return False


def _function(op: CustomOp) -> Any:
    return op.fn if op.loop_fn is None else op.loop_fn


_known: dict[tuple[object, ...], Followed | str] = {}
_REMEMBERED = 1024


def _followed(node: Node) -> Followed:
    """What the function of a node does; known for its types and attributes once it has been followed. NotLowered."""
    op = custom.find_for(node)
    if op is None or op.loop is None:
        raise NotLowered("no loop is registered")
    types = tuple([None if v is None else v.dtype for v in node.inputs])
    key = (op, types, repr(sorted(node.attributes.items())))
    found = _known.get(key)
    if found is None:
        if len(_known) >= _REMEMBERED:
            _known.clear()
        try:
            found = _follow(node, op)
        except NotLowered as e:
            found = str(e)
        _known[key] = found
    if isinstance(found, str):
        raise NotLowered(found)
    return found


def _follow(node: Node, op: CustomOp) -> Followed:
    dtypes = [None if v is None else "?" if v.dtype is None else v.dtype.short for v in node.inputs]
    for d in dtypes:
        if d is not None and d not in BITS:
            raise NotLowered("the types of its inputs are not known" if d == "?" else f"elements of type {d}")
    dtypes += [None] * (len([p for p in op.signature.inputs if not p.variadic]) - len(dtypes))
    found = follow(_function(op), dtypes, op.signature.bind(node))
    if op.loop == "elementwise":
        if found.depth or found.row:
            raise NotLowered("it reduces: loop='rows' is for such functions")
    elif found.depth == 0:
        raise NotLowered("it reduces nothing: loop='elementwise' is for such functions")
    elif reduces_rows(found) != ((op.domain, op.name) in REDUCES):
        raise NotLowered("whether it reduces hangs on its attributes or types")
    return found


def _element(c: Operands) -> Value:
    made = write_element(_followed(cast("Elementwise", c).node), c.arg)
    return made.cast("f32" if c.dtype in HALVES else c.dtype)


def _rows(r: Row) -> None:
    write_rows(_followed(cast("RowBody", r).anchor), r)


def support(node: Node) -> Support:
    """Whether the function of a custom operator becomes a loop, or why not."""
    from ronn_provider_cpu.compiling import level

    op = custom.find_for(node)
    if op is None or op.loop is None or op.body is not None:
        return No(f"no kernel for {node.op_id}")
    wrong = op.refusal(node)
    if wrong:
        return No(wrong)
    if level() == "none":
        return No("native kernels are off")
    adopt()
    try:
        result = _followed(node)
        if node.outputs[0].dtype is None or not _stores(result, node):
            return No(f"its function gives {result.dtype}, where {node.outputs[0].type} is expected")
        if not _has_shape(result, node, op):
            return No(f"its shape rule says {node.outputs[0].type}, which is not what its operands broadcast to")
    except NotLowered as e:
        return No(f"its function cannot be a loop: {e}")
    except RonnError as e:
        return No(e.message)
    return Yes(note=f"{op.note}, as a native loop")


def _has_shape(result: Followed, node: Node, op: CustomOp) -> bool:
    """Whether the output has the shape that the function gives, as far as sizes are known; loops do not look."""
    import numpy as np

    types = [v.tensor for v in (*node.inputs, node.outputs[0]) if v is not None]
    if not all(t.is_static for t in types):
        return True
    *given, out = [t.static_shape for t in types]
    try:
        whole = np.broadcast_shapes(*given)
    except ValueError:
        return False
    if op.loop == "elementwise":
        return whole == out
    if result.row:
        return whole == given[0] and out == ((*whole[:-1], 1) if result.kept else whole[:-1])
    return whole == given[0] == out


def _stores(result: Followed, node: Node) -> bool:
    import numpy as np

    wanted = node.outputs[0].dtype
    assert wanted is not None
    half = wanted.short in HALVES and result.name == "f32"
    return wanted.short in BITS and (half or np.can_cast(result.dtype, wanted.numpy, "same_kind"))
