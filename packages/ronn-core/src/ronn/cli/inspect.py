"""``ronn inspect``: what a model is made of, before and after passes. Nothing is run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

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
    session_options,
    size_text,
    table,
    waiting,
    write_json,
)
from ronn.errors import OptionError, nearest

if TYPE_CHECKING:
    from ronn.compile import Request
    from ronn.ir.graph import Graph
    from ronn.passes.manager import PassRow

STAGES = ("imported", "portable", "specialised", "assigned")
_LONGEST_METADATA = 120


def inspect(
    model: ModelArg,
    ir: Annotated[bool, typer.Option("--ir", help="Print the imported graph as text, one line a node.")] = False,
    after: Annotated[
        str | None,
        typer.Option(
            "--after",
            metavar="PASS|STAGE",
            help=f"Print the graph after the last run of a pass, or at a stage: {', '.join(STAGES)}.",
        ),
    ] = None,
    provider: ProviderOpt = None,
    optimization: OptimizationOpt = "full",
    disable_pass: DisableOpt = None,
    dim: DimOpt = None,
    option: OptionOpt = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write one self-contained page: graph, stages and passes, placement, memory over time."),
    ] = None,
    json: JsonOpt = False,
) -> None:
    """Show what MODEL is made of: metadata, inputs and outputs, operators, parameters, sizes; or its graph as text
    or as a page.

    Examples:

        ronn inspect model.onnx

        ronn inspect model.onnx --ir

        ronn inspect model.onnx --after fuse-conv-bn

        ronn inspect model.onnx --after assigned --dim batch=1

        ronn inspect model.onnx --html model.html
    """
    from ronn.compile import Request
    from ronn.inspection import facts, inspect_model
    from ronn.model import Model
    from ronn.targets import resolve_targets
    from ronn.values import check_dimensions

    options = session_options(optimization, disable_pass, dim, option)
    loaded = Model.load(model, options)
    check_dimensions(options.dimensions, loaded.graph)
    if html is not None:
        with waiting("compiling and looking"):
            found = inspect_model(loaded, providers=provider, options=options, path=model)
        found.save(html)
        told = Console(stderr=True, highlight=False)
        for note in found.notes:
            told.print(note, style="yellow", markup=False, soft_wrap=True)
        told.print(f"wrote {html}", soft_wrap=True, markup=False)
    if after is not None:
        typer.echo(text_after(Request(loaded.ir, resolve_targets(provider), options), after))
    elif ir:
        typer.echo(str(loaded.graph))
    elif json:
        write_json(facts(loaded, model))
    elif html is None:
        show(facts(loaded, model))


def text_after(request: Request, after: str) -> str:
    """The graph as text at a stage, or after the last run of a pass. OptionError for an unknown name."""
    from ronn import compile as stages
    from ronn.ir.graph import clone
    from ronn.ops.infer import infer_types

    if after == "imported":
        imported = clone(request.model.graph)
        infer_types(imported)
        return str(imported)
    if after not in STAGES:
        known = sorted(stages.known_passes(request))
        if after not in known:
            near = nearest(after, [*known, *STAGES])
            raise OptionError(
                f"there is no pass or stage {after!r}",
                hint=f"did you mean {near!r}?" if near else f"stages: {', '.join(STAGES)}; passes: {', '.join(known)}",
            )
        return _after_pass(request, after)
    graph = stages.to_portable(request)
    if after == "portable":
        return str(graph)
    graph = stages.to_specialised(graph, None, request)
    return str(graph if after == "specialised" else stages.to_assigned(graph, request))


def _after_pass(request: Request, name: str) -> str:
    from ronn import compile as stages

    rewrites, text = [], ""

    def observe(row: PassRow, graph: Graph) -> None:
        nonlocal text
        if row.name == name:
            rewrites.append(row.rewrites)
            text = str(graph)

    watched = replace(request, observe=observe)
    stages.to_specialised(stages.to_portable(watched), None, watched)
    if not rewrites:
        raise OptionError(
            f"pass {name!r} does not run with these options", hint="`ronn passes` shows which level runs it"
        )
    return f"# after {name}: {len(rewrites)} run(s), {sum(rewrites)} rewrite(s)\n{text.rstrip()}"


def show(data: dict[str, Any]) -> None:
    out = console()
    about = table("Model", "what", "value")
    add(about, "file", f"{data['file']} ({size_text(data['bytes'])})")
    for name, size in data["external_files"].items():
        add(about, "external data", f"{name} ({size_text(size)})")
    for key in ("producer", "graph", "description", "ir_version"):
        if data[key]:
            add(about, key.replace("_", " "), data[key])
    add(about, "opsets", ", ".join(f"{d} {v}" for d, v in data["opsets"].items()))
    if data["functions"]:
        add(about, "functions", ", ".join(data["functions"]))
    for key, text in data["metadata"].items():
        shown = text.replace("\n", " ")
        add(about, f"metadata {key}", shown if len(shown) <= _LONGEST_METADATA else shown[:_LONGEST_METADATA] + " ...")
    out.print(about)
    values = table("Inputs and outputs", "", "name", "type")
    for kind in ("inputs", "outputs"):
        for value in data[kind]:
            add(values, kind[:-1], value["name"], value["type"])
    out.print(values)
    operators = table(f"Operators ({data['nodes']} nodes)", "operator", "nodes", right=("nodes",))
    for op, n in data["operators"].items():
        add(operators, op, n)
    out.print(operators)
    weights = table("Parameters", "dtype", "tensors", "elements", "size", right=("tensors", "elements", "size"))
    for dtype, row in data["parameters"].items():
        add(weights, dtype, row["tensors"], f"{row['elements']:,}", size_text(row["bytes"]))
    out.print(weights)
