"""``trace=`` of a run: names of values inside of a model, and patterns of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import translate

from ronn.errors import InputError, nearest
from ronn.ir.graph import Graph

_SIGNS = frozenset("*?")


def traced_names(trace: Sequence[str], graph: Graph) -> tuple[str, ...]:
    """The values that ``trace`` asks for: names, and patterns with ``*`` and ``?`` for what nodes make, in their order;
    one string counts as one. A name that a value has is that value, whatever signs are in it.

    InputError, with the nearest name or the graph inside of which the value is, for what is not there.
    """
    known = {v.name for v in graph.values() if v.name}
    public = set(graph.output_names)
    found: dict[str, None] = {}
    for entry in [trace] if isinstance(trace, str) else trace:
        if entry in known or entry in public:
            found[entry] = None
            continue
        matched = list(_matching(entry, graph)) if _SIGNS & set(entry) else []
        if not matched:
            raise _unknown(entry, sorted(known), graph)
        found.update(dict.fromkeys(matched))
    return tuple(found)


def _matching(pattern: str, graph: Graph) -> Iterator[str]:
    import re

    # Square brackets are plain signs here: names have them, and sets of letters are of no use.
    fits = re.compile(translate(pattern.replace("[", "[[]"))).match
    for node in graph:
        for value in node.outputs:
            if value.name and fits(value.name):
                yield value.name


def _unknown(name: str, known: Sequence[str], graph: Graph) -> InputError:
    for node in graph:
        for sub in node.subgraphs():
            if any(v.name == name for inner in inside(sub) for v in inner.values()):
                return InputError(
                    f"value {name!r} cannot be traced: it is inside of a graph that {node.op_id} {node.label!r} runs",
                    hint=f"trace what the node takes and makes: {', '.join(v.name for v in node.outputs if v.name)}",
                )
    near = nearest(name, known)
    what = "no value like" if _SIGNS & set(name) else "no value"
    return InputError(
        f"the model has {what} {name!r} to trace",
        hint=f"did you mean {near!r}?" if near else "`ronn inspect --ir` prints all names, trace='*' gives them all",
    )


def inside(graph: Graph) -> Iterator[Graph]:
    yield graph
    for sub in graph.inner_graphs():
        yield from inside(sub)
