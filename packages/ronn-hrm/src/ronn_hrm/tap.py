"""Taps: a session that also gives a value from inside of its model, at no more than the cost of an output."""

from __future__ import annotations

from dataclasses import replace

from ronn.errors import RonnError
from ronn.ir.graph import clone
from ronn.model import Model
from ronn.session import Session
from ronn.traces import traced_names
from ronn_hrm.errors import RoutingError


def tapped(session: Session, name: str) -> Session:
    """The session itself where ``name`` is an output of it, else one like it on the model with that value as a further
    output. RoutingError where there is no such value, or several."""
    model = session.model
    if name in model.graph.output_names:
        return session
    try:
        names = traced_names((name,), model.graph)
    except RonnError as e:
        raise RoutingError(f"{model.ir.source}: {e.message}", hint=e.hint) from e
    if len(names) != 1:
        raise RoutingError(f"{name!r} stands for {len(names)} values, and an embedding is one")
    graph = clone(model.graph)
    graph.outputs.append(next(v for v in graph.values() if v.name == names[0]))
    graph.output_names.append(names[0])
    return Session(Model(replace(model.ir, graph=graph)), providers=session._providers, options=session.options)
