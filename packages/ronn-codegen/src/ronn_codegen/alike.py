"""Nodes that are alike are lowered once in a compilation: the layers of a model repeat.

A lowering marked ``alike`` hangs on nothing but the operator, its attributes, the shapes and types of the operands,
which of them are constant, and the elements of constants that are small. Others it only has packed. Its calls then hold
for every such node, with other addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ronn import knobs
from ronn.errors import InternalError
from ronn.plan.segment import address
from ronn.provider.native import At, Word
from ronn.records import dataclass

if TYPE_CHECKING:
    import numpy as np

    from ronn.ir.graph import Node, Value
    from ronn_codegen.lowering import Context, Lowering

_MOST_AXES = 64
_TOLD = 8  # constants of so few elements are part of what nodes are known by: lowerings read them


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of a node, and where in them stand addresses: of its values (call, word, number of the value, offset),
    and of what was packed for it (call, word, number of the packing)."""

    made: Lowering
    values: tuple[Value, ...]
    at: tuple[tuple[int, int, int, int], ...]
    packs: tuple[tuple[int, int, int], ...]


def form(
    context: Context, nodes: Sequence[Node], outputs: Sequence[Value]
) -> tuple[tuple[object, ...], dict[Value, int]]:
    """What nodes are known by, and the numbers of their values in it. Refuses values of unknown size."""
    values: dict[Value, int] = {}
    facts: list[object] = []

    def number(value: Value) -> int:
        known = values.get(value)
        if known is None:
            known = values[value] = len(values)
            operand = context.operand(value)
            data = value.data
            told = None if data is None else data.tobytes() if data.size <= _TOLD or _axes(data) else True
            facts.append((operand.shape, operand.dtype, told))
        return known

    for node in nodes:
        given = tuple([-1 if v is None else number(v) for v in node.inputs])
        made = tuple([number(v) if v.name else -1 for v in node.outputs])
        attributes = repr(sorted(node.attributes.items())) if node.attributes else ""
        facts.append((node.domain, node.op, node.version, attributes, given, made))
    facts.append(tuple([values[v] for v in outputs]))
    return tuple(facts), values


def _axes(data: np.ndarray) -> bool:
    """Whether a constant may be a list of axes or sizes."""
    return data.ndim == 1 and data.size <= _MOST_AXES and data.dtype.kind == "i"


def lower_alike(c: Lowering, fn: Callable[[Lowering], None]) -> None:
    """Lowers the node of ``c`` with ``fn``, or as the node like it was that came before."""
    facts, values = form(c.context, c.nodes, ())
    key = (fn, facts)
    found = c.context.alike.get(key)
    if found is None:
        fn(c)
        c.context.alike[key] = _calls(c, tuple(values))
        return
    _again(c, found, tuple(values))
    if knobs.VERIFY.get():
        anew = type(c)(c.nodes, c.context)
        fn(anew)
        if what := _difference(c, anew):
            raise InternalError(f"{c.node.op_id} is not lowered like one that is alike: {what}", node=c.node)


def _calls(c: Lowering, values: tuple[Value, ...]) -> Calls:
    numbers = {v: i for i, v in enumerate(values)}
    packs = {address(p.made): i for i, p in enumerate(c.packs)}
    at, packed = [], []
    for k, call in enumerate(c.pending):
        for i, word in enumerate(call.words):
            if type(word) is At:
                at.append((k, i, numbers[word.value], word.offset))
            elif type(word) is int and word in packs:
                packed.append((k, i, packs[word]))
    return Calls(c, values, tuple(at), tuple(packed))


def _again(c: Lowering, found: Calls, values: tuple[Value, ...]) -> None:
    made, numbers = found.made, {v: i for i, v in enumerate(found.values)}
    arrays = [c.packed(c.operand(values[numbers[p.of]]), p.key, p.fn) for p in made.packs]
    words = [list(call.words) for call in made.pending]
    for k, i, number, offset in found.at:
        words[k][i] = At(values[number], offset)
    for k, i, number in found.packs:
        words[k][i] = address(arrays[number])
    c.take_over(made, words)


def _difference(c: Lowering, other: Lowering) -> str:
    """In what two lowerings of a node differ; empty where they do the same."""
    if c.facts() != other.facts():
        return f"{c.facts()} and {other.facts()}"
    ours, theirs = ({address(a): a for a in x.kept} for x in (c, other))
    for mine, given in zip(c.pending, other.pending, strict=True):
        for a, b in zip(mine.words, given.words, strict=True):
            one, two = (ours.get(a), theirs.get(b)) if type(a) is type(b) is int else (None, None)
            same = a == b or one.tobytes() == two.tobytes() if one is not None and two is not None else _alike(a, b)
            if not same:
                return f"{mine.name} with {a} and {b}"
    return ""


def _alike(a: Word, b: Word) -> bool:
    return (a.value, a.offset) == (b.value, b.offset) if isinstance(a, At) and isinstance(b, At) else a == b
