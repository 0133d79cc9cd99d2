"""Passes with a fault planted in them, for proving that ``ronn bisect`` finds it: ``planted`` wraps a pass so that its
k-th rewrite also damages the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ronn.ir.graph import Graph, Node, Value
from ronn.model import Model
from ronn.numerics.candidate import Candidate
from ronn.numerics.change import alive
from ronn.numerics.samples import Reading, read_samples
from ronn.ops.infer import infer_node
from ronn.options import SessionOptions
from ronn.passes.manager import Group, Pass, PassContext
from ronn.passes.pipelines import all_passes
from ronn.targets import ProviderSpec, resolve_targets

Damage = Callable[[Graph, "list[Node]", PassContext], str]
"""Harms a graph after a rewrite that made some nodes; returns the label of a node that it made or changed."""

FACTOR = 1.5


def scale(graph: Graph, made: list[Node], context: PassContext) -> str:
    """Multiplies a float by 1.5 on its way: what the rewrite made, else what the node at hand (or the last) takes."""
    return _multiply(graph, made, context, FACTOR)


def spoil(graph: Graph, made: list[Node], context: PassContext) -> str:
    """As ``scale``, by NaN."""
    return _multiply(graph, made, context, np.nan)


def _multiply(graph: Graph, made: list[Node], context: PassContext, factor: float) -> str:
    value, user = _place(graph, made, context)
    owner = user.graph if user is not None else value.producer.graph if value.producer is not None else graph
    assert owner is not None and value.dtype is not None
    constant = owner.constant(np.array(factor, value.dtype.numpy), context.fresh(owner, "planted.factor"))
    result = Value(context.fresh(owner, "planted"), value.type)
    node = Node("Mul", [value, constant], [result], version=max(context.opset, 7), name="planted")
    if user is not None:
        owner.insert_before(user, node)
        user.set_inputs([result if v is value else v for v in user.inputs])
    else:
        producer = value.producer
        assert producer is not None
        owner.insert_after(producer, node)
        owner.replace_uses(value, result)
        node.set_inputs([value, constant])
    infer_node(node)
    return node.label


def _place(graph: Graph, made: list[Node], context: PassContext) -> tuple[Value, Node | None]:
    """A value to multiply, and the one node that is to see it (None: all do)."""
    for node in made:
        for value in node.outputs:
            if (
                node.graph is not None
                and value.name
                and _is_float(value)
                and (value.uses or node.graph.is_output(value))
            ):
                return value, None
    wanted = alive(graph)
    near = [] if context.at is None else [context.at]
    for node in [*made, *near, *reversed(graph.nodes)]:
        if node in wanted:
            for taken in node.inputs:
                if taken is not None and _is_float(taken) and not taken.is_const:
                    return taken, node
    raise AssertionError(f"nothing to damage in\n{graph}")


def _is_float(value: Value) -> bool:
    return value.dtype is not None and value.dtype.name in ("FLOAT32", "FLOAT16", "FLOAT64")


class Planted:
    """The pass ``inner``, one rewrite of which also does damage.

    number: of the rewrite, as RONN_PASS_LIMIT counts; for a required pass, whose rewrites have no such number, its own
    count in one list of passes, from 1. ``hurt`` collects the labels of the nodes that carry the damage, one for each
    compilation that got so far.
    """

    def __init__(self, inner: Pass, number: int, damage: Damage = scale) -> None:
        self.inner, self.number, self.damage = inner, number, damage
        self.hurt: list[str] = []

    @property
    def name(self) -> str:
        return self.inner.name

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __call__(self, graph: Graph, context: PassContext) -> bool:
        original, wrong = context.rewrote, []

        def rewrote(nodes: Any = (), *, rule: str = "", detail: str = "") -> None:
            made = list(nodes)
            so_far = sum(r.pass_name == self.name for r in context.log) if context.exempt else context.rewrites
            if so_far + 1 == self.number:
                if context.exempt:
                    self.hurt.append(self.damage(graph, made, context))
                else:
                    wrong.append(made)
            original(made, rule=rule, detail=detail)

        context.rewrote = rewrote  # type: ignore[method-assign]
        try:
            changed = self.inner(graph, context)
        finally:
            del context.rewrote
        # Some passes put in place what they have made only when they are done.
        self.hurt += [self.damage(graph, made, context) for made in wrong]
        return changed


@contextmanager
def plant(planted: Planted, monkeypatch: Any) -> Iterator[Planted]:
    """Puts a planted pass in the place of the one that it wraps: in every pipeline, and in every provider's list."""
    from ronn.passes import pipelines
    from ronn.plugins import registry

    def swap(items: Any) -> Any:
        return tuple(
            Group(i.name, swap(i.passes)) if isinstance(i, Group) else planted if i.name == planted.name else i
            for i in items
        )

    with monkeypatch.context() as patch:
        changed = {
            level: {s: swap(items) for s, items in stages.items()} for level, stages in pipelines._PIPELINES.items()
        }
        patch.setattr(pipelines, "_PIPELINES", changed)
        for record in registry().records:
            if record.ok and record.provider is not None:
                given = record.provider.passes
                patch.setattr(record.provider, "passes", lambda device, given=given: swap(given(device)), raising=False)
        yield planted


def planted_in(
    name: str, model: Model, providers: Sequence[ProviderSpec] | None = None, damage: Damage = scale
) -> Planted:
    """The pass ``name`` with damage planted in the last of its rewrites of ``model`` on made-up inputs.

    ValueError when it rewrites nothing there.
    """
    options = SessionOptions()
    targets = resolve_targets(providers, options)
    (sample,) = read_samples("random", model.inputs, Reading({}))
    steps, error = Candidate.of(model.ir, targets, options, sample.feed).rewrites()
    if error is not None:
        raise error
    own = [s.rewrite for s in steps if s.rewrite.pass_name == name]
    if not own:
        busy = sorted({s.rewrite.pass_name for s in steps})
        raise ValueError(f"pass {name!r} rewrites nothing in {model.ir.source}; these do: {', '.join(busy)}")
    counted = [s.rewrite for s in steps if s.rewrite.counts]
    number = next((i for i, r in enumerate(counted, 1) if r is own[-1]), len(own))
    passes = {**all_passes(), **{p.name: p for t in targets for p in t.provider.passes(t.device)}}
    return Planted(passes[name], number, damage)
