"""Loops as calls, and the memory of what was made: nodes like those of another layer, or of an earlier signature, are
not written again. Where the sizes are others, the loop that is known is laid over them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from ronn import knobs
from ronn.errors import InternalError
from ronn.records import dataclass
from ronn_codegen.alike import form
from ronn_codegen.loops.kernel import LoopKernel
from ronn_codegen.loops.language import BITS, ELEMENTARY, Loop, LoopError
from ronn_codegen.loops.nest import Bound, Nest
from ronn_codegen.loops.pointwise import NotLowered
from ronn_codegen.lowering import Lowering, Refused

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


@dataclass(frozen=True, slots=True)
class Over:
    """The sizes that a loop goes over: the nest's shape, the spaces of its sections by name, how many elements, and the
    most shares that make sense."""

    shape: Sequence[int]
    spaces: Mapping[str, Any]
    size: int
    chunks: Callable[[Loop], int]


@dataclass(frozen=True, slots=True)
class Written:
    """A loop for nodes of one form but for their sizes: which of their values its arrays are, and how they are laid
    (function, name of the space, further arguments)."""

    nest: Nest
    values: dict[str, int]
    recipes: dict[str, tuple[Any, ...]]


_written: dict[tuple[object, ...], Written] = {}


def forget() -> None:
    """Forgets what was made: operators may mean something else now."""
    _made.clear()
    _written.clear()


def run(
    c: Lowering,
    nodes: Sequence[Node],
    inputs: Sequence[Value | None],
    outputs: Sequence[Value],
    write: Callable[[], Nest],
    over: Callable[[], Over],
) -> None:
    """Calls the loop of ``nodes``. ``write`` makes it, unless one of that form is known; ``over`` tells the sizes. What
    it refuses is refused again."""
    facts, values = form(c.context, nodes, outputs)
    found = _made.get(facts)
    if found is None:
        for memory in (_made, _written):
            if len(memory) >= _REMEMBERED:
                memory.clear()
        try:
            bound = _bound(c, facts, values, write, over)
        except Refused as e:
            _made[facts] = str(e)
            raise
        found = _made[facts] = _remembered(bound, over(), values, inputs, outputs)
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


def _bound(
    c: Lowering,
    facts: tuple[object, ...],
    values: dict[Value, int],
    write: Callable[[], Nest],
    over: Callable[[], Over],
) -> Bound:
    """The loop over the sizes at hand: a known one of another size if there is one, else written."""
    listed = list(values)
    outline = _outline(facts)
    known = _written.get(outline)
    again = None if known is None else _laid(c, known, listed, over)
    if again is not None and not knobs.VERIFY.get():
        return again
    nest = write()
    bound = nest.finish()
    if again is not None and (again.kernel, again.arrays, again.sizes) != (bound.kernel, bound.arrays, bound.sizes):
        raise InternalError(f"a loop is not what it is when written anew: {again} and {bound}", node=c.node)
    places = nest.used
    recipes = {name: recipe for name, (_, recipe) in places.items() if isinstance(recipe, tuple)}
    if len(recipes) == len(places):
        numbers = {name: values[cast("Value", key)] for name, (key, _) in places.items()}
        nest.forget_keys()
        _written[outline] = Written(nest, numbers, recipes)
    return bound


def _laid(c: Lowering, known: Written, values: Sequence[Value], over: Callable[[], Over]) -> Bound | None:
    """A known loop over the sizes at hand; None where an operand cannot be laid as it was."""
    try:
        sizes = over()
        strides = {
            name: lay(c.operand(values[known.values[name]]), sizes.spaces[space], *rest)
            for name, (lay, space, *rest) in known.recipes.items()
        }
        if len({(known.values[n], tuple(s)) for n, s in strides.items()}) < len(strides):
            return None  # what were two arrays is one here
        bound = known.nest.at(sizes.shape, strides)
    except (NotLowered, LoopError):
        return None
    return Bound(bound.kernel, {a: values[known.values[cast("str", n)]] for a, n in bound.arrays.items()}, bound.sizes)


def _outline(facts: tuple[Any, ...]) -> tuple[object, ...]:
    """What nodes are known by, but for their sizes: of shapes, which dims are 1."""
    return tuple([(tuple([d == 1 for d in f[0]]), *f[1:]) if _is_operand(f) else f for f in facts])


def _is_operand(fact: Any) -> bool:
    return len(fact) == 3 and isinstance(fact[0], tuple)


def _remembered(
    bound: Bound,
    over: Over,
    values: dict[Value, int],
    inputs: Sequence[Value | None],
    outputs: Sequence[Value],
) -> Made:
    loop, work = bound.loop, _work(bound.kernel)
    rows = math.prod(bound.sizes[f"d{k}"] for k in range(loop.outer))
    slow = over.size * work.slow[0] + rows * work.slow[1]
    light = over.size * work.light[0] + rows * work.light[1]
    cost = over.size * 0.04 * work.nbytes + 0.03 * light + 0.5 * slow + 50
    arrays = tuple([(name, values[cast("Value", value)]) for name, value in bound.arrays.items()])
    kept = tuple(_overwritten(bound, work, inputs, outputs))
    return Made(bound.kernel, arrays, bound.sizes, kept, over.chunks(loop), cost, light + 10 * slow)


@dataclass(frozen=True, slots=True)
class Work:
    """Slow and light instructions for an element and for a row, bytes of an element in all arrays; where each array is
    first stored to and last touched."""

    slow: tuple[int, int]
    light: tuple[int, int]
    nbytes: int
    stored: dict[str, int]
    touched: dict[str, int]


@lru_cache(maxsize=_REMEMBERED)
def _work(kernel: LoopKernel) -> Work:
    slow, light = [0, 0], [0, 0]
    for section in kernel.loop.sections:
        k = int(section.kind != "each")
        slow[k] += sum(i.op in _SLOW for i in section.instrs)
        light[k] += sum(i.op not in _SLOW and i.op not in _MOVES for i in section.instrs)
    widths = [BITS[a.dtype] // 8 for a in kernel.loop.arrays if not a.is_scalar]
    stored: dict[str, int] = {}
    touched: dict[str, int] = {}
    for k, i in enumerate(kernel.loop.instrs()):
        if i.array:
            touched[i.array] = k
            if i.op == "store":
                stored.setdefault(i.array, k)
    return Work((slow[0], slow[1]), (light[0], light[1]), sum(widths), stored, touched)


def _overwritten(bound: Bound, work: Work, inputs: Sequence[Value | None], outputs: Sequence[Value]) -> list[int]:
    """Inputs whose memory output 0 may take: laid out alike, and never read after output 0 is first written."""
    first = outputs[0]
    target = [name for name, value in bound.arrays.items() if value is first]
    if len(target) != 1:
        return []
    found = []
    for index, value in enumerate(inputs):
        names = [name for name, v in bound.arrays.items() if v is value]
        if value is None or value.is_const or len(names) != 1 or value.type != first.type:
            continue
        if work.touched[names[0]] < work.stored[target[0]] and _laid_alike(bound, names[0], target[0]):
            found.append(index)
    return found


def _laid_alike(bound: Bound, a: str, b: str) -> bool:
    rank = bound.loop.rank
    kinds = bound.loop.array(a).strides == bound.loop.array(b).strides
    return kinds and all(bound.sizes.get(f"{a}_{k}") == bound.sizes.get(f"{b}_{k}") for k in range(rank))
