"""``ronn explain``: where every node runs, and why; copies and refusals included."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ronn.cli.common import (
    DimOpt,
    DisableOpt,
    JsonOpt,
    ModelArg,
    OptimizationOpt,
    OptionOpt,
    ProviderOpt,
    add,
    console,
    open_session,
    table,
    write_json,
)

if TYPE_CHECKING:
    from ronn.session import Session


def explain(
    model: ModelArg,
    provider: ProviderOpt = None,
    optimization: OptimizationOpt = "full",
    disable_pass: DisableOpt = None,
    dim: DimOpt = None,
    option: OptionOpt = None,
    summary: Annotated[bool, typer.Option("--summary", help="Operators instead of nodes.")] = False,
    json: JsonOpt = False,
) -> None:
    """Show, for every node of MODEL as compiled, its provider and the reason: who refused it, what is computed wider.

    Nodes are those behind the passes: `by` names the rewrites that made a node; `ronn::Copy` copies between memories.

    Examples:

        ronn explain model.onnx --summary

        ronn explain model.onnx --provider cpu --provider reference --dim batch=1 --json
    """
    session = open_session(model, provider, optimization, disable_pass, dim, option)
    data = placement_data(session)
    if json:
        write_json(data)
    else:
        show(data, summary)


def placement_data(session: Session) -> dict[str, Any]:
    """The placement as plain data."""
    placement = session.placement()
    return {
        "model": str(session.model.ir.source),
        "providers": session.providers,
        "counts": placement.counts(),
        "copies": len(placement.copies()),
        "nodes": [{**asdict(row), "tags": list(row.tags)} for row in placement],
    }


def show(data: dict[str, Any], summary: bool) -> None:
    out = console()
    if summary:
        groups: dict[tuple[str, str, str], int] = {}
        for row in data["nodes"]:
            key = (row["op"], row["provider"], row["reason"])
            groups[key] = groups.get(key, 0) + 1
        shown = table("Placement by operator", "operator", "nodes", "provider", "reason", right=("nodes",))
        for (op, name, reason), n in sorted(groups.items(), key=lambda kv: (-kv[1], kv[0])):
            add(shown, op, n, name, reason)
    else:
        shown = table("Placement", "node", "operator", "provider", "device", "reason", "by")
        for row in data["nodes"]:
            node = "  " * row["depth"] + row["node"]
            add(shown, node, row["op"], row["provider"], row["device"], row["reason"], ", ".join(row["tags"]))
    out.print(shown)
    counts = ", ".join(f"{name} {n}" for name, n in data["counts"].items())
    out.print(f"nodes by provider: {counts}; copies between memories: {data['copies']}")
