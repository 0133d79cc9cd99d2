"""Loops as calls, and the memory of what was made: nodes like those of another layer, or of an earlier signature, with
the same shapes, are not written again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from ronn.records import dataclass
from ronn_codegen.loops.language import BITS, ELEMENTARY, Instr
from ronn_codegen.loops.nest import Bound
from ronn_provider_cpu.alike import form
from ronn_provider_cpu.lowering import Lowering, Refused

if TYPE_CHECKING:
    from ronn.ir.graph import Node, Value

_SLOW = ELEMENTARY | {"pow", "div", "rem"}
_MOVES = frozenset({"load", "store", "const"})
_REMEMBERED = 8192


@dataclass(frozen=True, slots=True)
class Made:
    """A loop for nodes of one form: which of their values its arrays are, its sizes, and which inputs output 0 may
    overwrite."""

    kernel: Any
    arrays: tuple[tuple[str, int], ...]
    sizes: dict[str, int]
    overwritten: tuple[int, ...]
    chunks: int
    cost: float
    flops: int


_made: dict[tuple[object, ...], Made | str] = {}


def run(
    c: Lowering,
    nodes: Sequence[Node],
    inputs: Sequence[Value | None],
    outputs: Sequence[Value],
    write: Callable[[], tuple[Bound, int, int]],
) -> None:
    """Calls the loop of ``nodes``. ``write`` makes it, unless one of that form is known: the loop, how many elements
    it goes over, and the most shares that make sense. What it refuses is refused again."""
    facts, values = form(c.context, nodes, outputs)
    found = _made.get(facts)
    if found is None:
        if len(_made) >= _REMEMBERED:
            _made.clear()
        try:
            bound, size, chunks = write()
        except Refused as e:
            _made[facts] = str(e)
            raise
        found = _made[facts] = _remembered(bound, size, chunks, values, inputs, outputs)
    if isinstance(found, str):
        c.refuse(found)
    listed = list(values)
    operands: dict[str, Any] = {name: c.operand(listed[index]) for name, index in found.arrays}
    for index in found.overwritten:
        c.inplace(index)
    nbytes = sum([o.nbytes for o in dict.fromkeys(operands.values())])
    c.call_loop(
        found.kernel, **operands, **found.sizes, chunks=found.chunks, cost=found.cost, bytes=nbytes, flops=found.flops
    )


def _remembered(
    bound: Bound,
    size: int,
    chunks: int,
    values: dict[Value, int],
    inputs: Sequence[Value | None],
    outputs: Sequence[Value],
) -> Made:
    loop = bound.loop
    rows = math.prod(bound.sizes[f"d{k}"] for k in range(loop.outer))
    light = slow = 0
    for section in loop.sections:
        times = size if section.kind == "each" else rows
        slow += times * sum(i.op in _SLOW for i in section.instrs)
        light += times * sum(i.op not in _SLOW and i.op not in _MOVES for i in section.instrs)
    widths = [BITS[a.dtype] // 8 for a in loop.arrays if not a.is_scalar]
    cost = size * 0.04 * sum(widths) + 0.03 * light + 0.5 * slow + 50
    arrays = tuple((name, values[cast("Value", value)]) for name, value in bound.arrays.items())
    kept = tuple(_overwritten(bound, inputs, outputs))
    return Made(bound.kernel, arrays, bound.sizes, kept, chunks, cost, light + 10 * slow)


def _overwritten(bound: Bound, inputs: Sequence[Value | None], outputs: Sequence[Value]) -> list[int]:
    """Inputs whose memory output 0 may take: laid out alike, and never read after output 0 is first written."""
    first = outputs[0]
    target = [name for name, value in bound.arrays.items() if value is first]
    if len(target) != 1:
        return []
    instrs = list(bound.loop.instrs())
    written = next(k for k, i in enumerate(instrs) if i.op == "store" and i.array == target[0])
    found = []
    for index, value in enumerate(inputs):
        names = [name for name, v in bound.arrays.items() if v is value]
        if value is None or value.is_const or len(names) != 1 or value.type != first.type:
            continue
        if _last_load(instrs, names[0]) < written and _laid_alike(bound, names[0], target[0]):
            found.append(index)
    return found


def _last_load(instrs: Sequence[Instr], name: str) -> int:
    return max(k for k, i in enumerate(instrs) if i.array == name)


def _laid_alike(bound: Bound, a: str, b: str) -> bool:
    rank = bound.loop.rank
    kinds = bound.loop.array(a).strides == bound.loop.array(b).strides
    return kinds and all(bound.sizes.get(f"{a}_{k}") == bound.sizes.get(f"{b}_{k}") for k in range(rank))
