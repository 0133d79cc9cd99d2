"""A model cut in two: what lies before some of its values, and what lies behind them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ronn.compile import Request, to_portable
from ronn.errors import OptionError, nearest
from ronn.ir.graph import Function, Graph, IRModel, Node, Value
from ronn.ir.types import Type
from ronn.model import Model, Source
from ronn.ops.schema import schema_of
from ronn.options import SessionOptions
from ronn.partition import needs
from ronn.records import replace
from ronn.split import copy_nodes
from ronn.targets import resolve_targets
from ronn.traces import inside


def split_model(model: Source | Model, at: str | Sequence[str]) -> tuple[Model, Model]:
    """Two models that do together what one does: the prefix computes the values ``at`` (and nothing else), the suffix
    goes on from them.

    model: as for ``ronn.load``, or a ``Model``. at: names of what nodes make (``ronn inspect --ir`` prints them).

    The prefix takes the inputs that its nodes need. It gives the values ``at``, whatever else of its own the suffix
    needs (where the cut goes beside a residual, that too), and those outputs of the model that lie before the cut. The
    suffix takes these values by their names, and inputs of the model that its nodes need themselves; it gives the
    other outputs of the model. Constants that both need are shared in memory; nodes that depend on no input are in
    both where both need them, no others. The nodes are those of the file; what passes would fuse across the cut is not
    fused, so that results equal those of the whole to rounding, and to the bit where nothing would be (as with
    ``run(..., trace=at)``).

    Raises OptionError for a name that the model does not have, with the nearest; for a value that nothing lies before,
    or behind.
    """
    loaded = model if isinstance(model, Model) else Model.load(model)
    ir = loaded.ir
    graph = ir.graph
    fixed = _fixed(graph)
    taps = _taps([at] if isinstance(at, str) else list(at), graph, fixed)
    before = _ancestors(taps, stop=set())
    behind = _ancestors([o for o in graph.outputs if o.producer not in before], stop=before - fixed)
    taken = dict.fromkeys(v for n in graph if n in behind for v in needs(n) if not v.is_const)
    _check(taps, taken, before)

    crossing = list(dict.fromkeys([*taps, *(v for v in taken if v.producer in before and v.producer not in behind)]))
    early = {n: o for o, n in zip(graph.outputs, graph.output_names, strict=True) if o.producer in before}
    late = {n: o for o, n in zip(graph.outputs, graph.output_names, strict=True) if o.producer not in before}
    wanted = {v for n in before for v in needs(n)}
    passed = {*taken, *late.values()}
    prefix = _part(ir, before, [v for v in graph.inputs if v in wanted], {v.name: v for v in crossing} | early)
    suffix = _part(ir, behind, [*crossing, *(v for v in graph.inputs if v in passed)], late)
    _put_types(ir, crossing, prefix.graph.outputs, suffix.graph.inputs)
    name = ", ".join(v.name for v in taps)
    prefix.source, suffix.source = f"{ir.source} up to {name}", f"{ir.source} from {name} on"
    return Model(prefix), Model(suffix)


def _fixed(graph: Graph) -> set[Node]:
    """The nodes that depend on no input: what they make is the same in every run."""
    found: set[Node] = set()
    for node in graph:
        schemas = [schema_of(n) for n in (node, *_inner(node))]
        sure = all(s is not None and s.pure for s in schemas)
        if sure and all(v.is_const or v.producer in found for v in needs(node)):
            found.add(node)
    return found


def _inner(node: Node) -> Iterable[Node]:
    for sub in node.subgraphs():
        yield from sub.all_nodes()


def _taps(names: Sequence[str], graph: Graph, fixed: set[Node]) -> list[Value]:
    known = {v.name: v for v in graph.values() if v.name}
    known |= dict(zip(graph.output_names, graph.outputs, strict=True))
    if not names:
        raise OptionError("no value to cut at", hint="name values that nodes make: `ronn inspect --ir` prints them")
    found: dict[Value, None] = {}
    for name in names:
        value = known.get(name)
        if value is None:
            raise _unknown(name, graph)
        if value.producer is None or value.producer in fixed:
            kind = "an input" if value.producer is None and not value.is_const else "a constant"
            raise OptionError(
                f"the model cannot be cut at {name!r}: it is {kind}, and nothing lies before it",
                hint="name a value that a node makes: `ronn inspect --ir` prints them",
            )
        found[value] = None
    return list(found)


def _unknown(name: str, graph: Graph) -> OptionError:
    for node in graph:
        for sub in node.subgraphs():
            if any(v.name == name for inner in inside(sub) for v in inner.values()):
                where = f"inside of a graph that {node.op_id} {node.label!r} runs"
                return OptionError(
                    f"the model cannot be cut at {name!r}: it is {where}",
                    hint=f"cut at what the node makes: {', '.join(v.name for v in node.outputs if v.name)}",
                )
    made = [v.name for n in graph for v in n.outputs if v.name]
    near = nearest(name, made)
    return OptionError(
        f"the model has no value {name!r} to cut at",
        hint=f"did you mean {near!r}?" if near else "`ronn inspect --ir` prints all names",
    )


def _ancestors(values: Iterable[Value], stop: set[Node]) -> set[Node]:
    """The nodes that the values are computed by, without those of ``stop`` and what only they need."""
    found: set[Node] = set()
    todo = list(values)
    while todo:
        node = todo.pop().producer
        if node is not None and node not in found and node not in stop:
            found.add(node)
            todo += needs(node)
    return found


def _check(taps: Sequence[Value], taken: Iterable[Value], before: set[Node]) -> None:
    """Raises OptionError for a cut that separates nothing."""
    used = set(taken)
    for value in taps:
        if value in used:
            continue
        users = [n for n in value.consumers if n in before]
        if used and users:
            raise OptionError(
                f"nothing behind the cut takes {value.name!r}: another value to cut at is computed from it",
                hint="leave it out, or cut there alone",
            )
        raise OptionError(
            f"the model cannot be cut at {value.name!r}: no output lies behind it",
            hint="name a value that outputs are computed from: `ronn inspect --ir` prints them in order",
        )


def _part(ir: IRModel, nodes: set[Node], inputs: list[Value], outputs: dict[str, Value]) -> IRModel:
    graph, _ = copy_nodes(ir.graph, [n for n in ir.graph if n in nodes], inputs, outputs.values())
    graph.output_names = list(outputs)
    return replace(
        ir,
        graph=graph,
        functions=_used(graph, ir.functions),
        opset_imports=dict(ir.opset_imports),
        overridable=tuple(n for n in ir.overridable if n in graph.initializers),
        origin=(),  # it is no file's content
        pins=None,
    )


def _used(graph: Graph, functions: dict[tuple[str, str, str], Function]) -> dict[tuple[str, str, str], Function]:
    """The functions that nodes of the graph call, and those that these call."""
    found: dict[tuple[str, str, str], Function] = {}
    todo = [graph]
    while todo:
        for node in todo.pop().all_nodes():
            key = (node.domain, node.op, node.overload)
            if key in functions and key not in found:
                found[key] = functions[key]
                todo.append(functions[key].body)
    return {key: function for key, function in functions.items() if key in found}


def _put_types(ir: IRModel, crossing: Sequence[Value], *ends: Sequence[Value]) -> None:
    """Gives the values at the cut the types that inference finds; both ends begin with them."""
    names = tuple(v.name for v in crossing)
    request = Request(ir, resolve_targets("reference"), SessionOptions(optimization="none"), names, ())
    graph = to_portable(request)
    types: dict[str, Type | None] = dict(zip(graph.output_names, (o.type for o in graph.outputs), strict=True))
    for values in ends:
        for value, name in zip(values, names, strict=False):
            value.type = types[name] if types[name] is not None else value.type
