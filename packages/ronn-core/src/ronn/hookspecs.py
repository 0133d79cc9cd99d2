"""The hooks. Few, and cold: they are called at discovery, load and compile time, never while a model runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from ronn.events import Event
    from ronn.ir.graph import Graph, Node
    from ronn.model import Model
    from ronn.ops.schema import OpSchema
    from ronn.options import SessionOptions
    from ronn.partition import Bid
    from ronn.passes.manager import Pass
    from ronn.provider import Provider

# A specification is a signature and a text: pluggy calls the implementations, never what stands in a body here.
hookspec = pluggy.HookspecMarker("ronn")
hookimpl = pluggy.HookimplMarker("ronn")


@hookspec
def ronn_providers() -> Sequence[Provider]:
    """Execution providers that the plugin offers. Called once, when providers are first asked for."""
    raise NotImplementedError


@hookspec
def ronn_ops() -> Sequence[OpSchema]:
    """Operators that the plugin declares (schemas; shape rules are registered with ``ronn.ops.infer.rule``).

    Those with an implementation in Python need no hook: importing a module of ``ronn.op`` registers them."""
    raise NotImplementedError


@hookspec
def ronn_passes(stage: str) -> Sequence[Pass]:
    """Passes to run after RONN's own at ``stage``: ``portable`` (once per model), ``specialised`` (per signature), or
    ``late`` (per signature, behind the passes of providers that go by what RONN's own left)."""
    raise NotImplementedError


@hookspec(firstresult=True)
def ronn_choose(graph: Graph, bids: Mapping[Node, Sequence[Bid]]) -> Mapping[Node, str] | None:
    """Chooses providers by name for nodes that several bid for. Nodes left out go by listed order. None: no opinion."""


@hookspec
def ronn_routers() -> Mapping[str, Callable[[Model, SessionOptions, Mapping[str, Any]], Any]]:
    """Routers by name: functions of a loaded model, a session's options and the configuration that the caller gave,
    which make something that runs as a session does (``run``, ``inputs``, ``outputs``, ``close``). Called when a
    session with a router is made. A configuration from a file has its path under the key ``file``, and names other
    files relative to that: ``ronn.options_file.beside(configuration, name)`` is the path of one."""
    raise NotImplementedError


@hookspec
def ronn_listeners() -> Sequence[Callable[[Event], object] | tuple[Callable[[Event], object], Sequence[str]]]:
    """Listeners for events (see ``ronn.events``): functions of one event, or pairs of a function and names of kinds.
    Called once, when providers are first asked for; models loaded before are told then."""
    raise NotImplementedError


@hookspec
def ronn_cli(app: Any) -> None:
    """Adds commands to the ``ronn`` command line (``app`` is its typer application)."""
