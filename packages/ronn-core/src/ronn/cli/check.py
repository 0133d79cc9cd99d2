"""``ronn check``: what of a model cannot run here, by node, before a session is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ronn.cli import EXIT_UNSUPPORTED
from ronn.cli.common import (
    DimOpt,
    JsonOpt,
    ModelArg,
    OptionOpt,
    ProviderOpt,
    add,
    console,
    session_options,
    table,
    write_json,
)


def check(
    model: ModelArg,
    provider: ProviderOpt = None,
    dim: DimOpt = None,
    option: OptionOpt = None,
    json: JsonOpt = False,
    min_version: Annotated[
        bool, typer.Option("--min-version", help="Say which opset, IR version and onnxruntime MODEL needs at least.")
    ] = False,
    opset: Annotated[
        int | None, typer.Option(help="List the nodes that this opset lacks.", metavar="N", show_default=False)
    ] = None,
    release: Annotated[
        str | None,
        typer.Option("--for", help="List what keeps onnxruntime==1.17, say, from loading it.", metavar="RELEASE"),
    ] = None,
) -> None:
    """List the nodes of MODEL that no listed provider runs. Exit code 0: all run; 3: some do not; 1: a bad model.

    With --min-version, --opset or --for: what versions it needs, or what of it a version lacks (then exit code 3).

    Examples:

        ronn check model.onnx

        ronn check model.onnx --provider cpu && echo "runs on cpu alone"

        ronn check model.onnx --min-version

        ronn check model.onnx --for onnxruntime==1.17
    """
    if min_version or opset is not None or release is not None:
        from ronn.cli.versions import check_versions

        check_versions(model, min_version, opset, release, json)
        return
    found = unsupported(model, provider, dim, option)
    if json:
        write_json(found)
    else:
        show(found)
    if found["unsupported"]:
        raise typer.Exit(EXIT_UNSUPPORTED)


def unsupported(
    model: Path, providers: list[str] | None, dims: list[str] | None, more: list[str] | None = None
) -> dict[str, Any]:
    """Nodes without a provider, with every provider's reason, and the warnings that loading gave.

    Raises ModelError for a file that is no well-formed model.
    """
    import warnings

    from ronn.compile import Request, to_portable, to_specialised
    from ronn.model import Model
    from ronn.partition import collect_bids
    from ronn.provider import No, Yes
    from ronn.targets import resolve_targets
    from ronn.values import check_dimensions

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        options = session_options("full", None, dims, more)
        loaded = Model.load(model, options)
        check_dimensions(options.dimensions, loaded.graph)
        request = Request(loaded.ir, resolve_targets(providers), options)
        graph = to_specialised(to_portable(request), None, request)
        bids = collect_bids(graph, request.targets)
    rows = [
        {
            "node": node.label,
            "op": node.op_id,
            "opset": node.version,
            "inputs": ["_" if v is None else str(v.type or "?") for v in node.inputs],
            "reasons": {b.target.name: b.support.reason for b in offers if isinstance(b.support, No)},
        }
        for node, offers in bids.items()
        if not any(isinstance(b.support, Yes) for b in offers)
    ]
    return {
        "model": str(model),
        "providers": [t.name for t in request.targets],
        "nodes": sum(1 for _ in loaded.graph.all_nodes()),
        "warnings": [str(w.message) for w in caught],
        "unsupported": rows,
    }


def show(found: dict[str, Any]) -> None:
    out = console()
    for text in found["warnings"]:
        out.print(f"warning: {text}", style="yellow", markup=False)
    listed = ", ".join(found["providers"])
    rows = found["unsupported"]
    if not rows:
        out.print(f"every node runs on {listed} ({found['nodes']} nodes in the file)", markup=False)
        return
    shown = table(f"{len(rows)} node(s) that {listed} cannot run", "node", "operator", "opset", "inputs", "why")
    for row in rows:
        why = "; ".join(f"{p}: {reason}" for p, reason in row["reasons"].items())
        add(shown, row["node"], row["op"], row["opset"], ", ".join(row["inputs"]), why or "no provider listed")
    out.print(shown)
