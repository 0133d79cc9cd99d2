"""``ronn inspect``: what a model is made of, before and after passes. Nothing is run."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
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
    session_options,
    size_text,
    table,
    write_json,
)
from ronn.errors import OptionError, nearest

if TYPE_CHECKING:
    from ronn.compile import Request
    from ronn.ir.graph import Graph, IRModel
    from ronn.model import Model
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
    json: JsonOpt = False,
) -> None:
    """Show what MODEL is made of: metadata, inputs and outputs, operators, parameters, sizes; or its graph as text.

    Examples:

        ronn inspect model.onnx

        ronn inspect model.onnx --ir

        ronn inspect model.onnx --after fuse-conv-bn

        ronn inspect model.onnx --after assigned --dim batch=1
    """
    from ronn.compile import Request
    from ronn.model import Model
    from ronn.targets import resolve_targets
    from ronn.values import check_dimensions

    options = session_options(optimization, disable_pass, dim, option)
    loaded = Model.load(model, options)
    if after is not None:
        check_dimensions(options.dimensions, loaded.graph)
        typer.echo(text_after(Request(loaded.ir, resolve_targets(provider), options), after))
    elif ir:
        typer.echo(str(loaded.graph))
    elif json:
        write_json(facts(loaded, model))
    else:
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


def facts(model: Model, path: Path) -> dict[str, Any]:
    """Everything that the tables show, ready for JSON."""
    ir = model.ir
    meta = ir.metadata
    external = [f for f in path.parent.glob(f"{path.stem}*") if f != path and f.suffix in (".data", ".bin", ".weight")]
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "external_files": {f.name: f.stat().st_size for f in external},
        "producer": f"{meta.producer_name} {meta.producer_version}".strip(),
        "graph": meta.graph_name,
        "description": meta.description,
        "ir_version": meta.ir_version,
        "opsets": {domain or "ai.onnx": version for domain, version in ir.opset_imports.items()},
        "functions": [f"{f.domain}::{f.name}" for f in ir.functions.values()],
        "metadata": dict(meta.custom),
        "inputs": [_value(i) for i in model.inputs],
        "outputs": [_value(o) for o in model.outputs],
        "nodes": sum(1 for _ in ir.graph.all_nodes()),
        "operators": dict(Counter(n.op_id for n in ir.graph.all_nodes()).most_common()),
        "parameters": parameters(ir),
    }


def _value(info: Any) -> dict[str, Any]:
    shape = None if info.shape is None else list(info.shape)
    return {"name": info.name, "dtype": info.dtype, "shape": shape, "type": str(info.type) if info.type else "?"}


def parameters(ir: IRModel) -> dict[str, dict[str, int]]:
    """Constants by dtype: how many there are, their elements, their bytes (as ONNX stores them)."""
    found: dict[str, dict[str, int]] = {}
    for graph in _graphs(ir.graph):
        for value in graph.initializers.values():
            data, dtype = value.data, value.dtype
            if data is None or dtype is None:
                continue
            row = found.setdefault(dtype.onnx_name, {"tensors": 0, "elements": 0, "bytes": 0})
            row["tensors"] += 1
            row["elements"] += int(data.size)
            row["bytes"] += int(-(-data.size * dtype.bits // 8)) if dtype.bits else sum(len(str(s)) for s in data.flat)
    return dict(sorted(found.items(), key=lambda kv: -kv[1]["bytes"]))


def _graphs(graph: Graph) -> list[Graph]:
    return [graph, *(g for node in graph for sub in node.subgraphs() for g in _graphs(sub))]


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
