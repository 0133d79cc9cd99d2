"""``ronn export``: the graph behind RONN's passes, as an ONNX file that others run too."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import typer

from ronn.cli import EXIT_DIFFERS
from ronn.cli.bisect import AtolOpt, DataOpt, RtolOpt, SeedOpt, ShapeOpt, ShareOpt
from ronn.cli.common import DimOpt, DisableOpt, JsonOpt, ModelArg, add, console, parse_dims, progress, table, write_json
from ronn.cli.written import (
    ExternalOpt,
    ForceOpt,
    OutputOpt,
    VerifyOpt,
    difference_table,
    rows_as_data,
    sizes,
    target,
    tell,
    write,
)
from ronn.errors import OptionError, nearest

FORMATS = ("onnx",)


def export(
    model: ModelArg,
    output: OutputOpt = None,
    to: Annotated[str, typer.Option(help="The format: onnx.", metavar="FORMAT")] = "onnx",
    level: Annotated[
        str, typer.Option("--level", "-O", help="The list of passes: none, basic or full.", metavar="LEVEL")
    ] = "full",
    opset: Annotated[
        int | None,
        typer.Option(help="Convert to this opset first: newer ones have more fused operators.", metavar="N"),
    ] = None,
    dim: DimOpt = None,
    disable_pass: DisableOpt = None,
    external: ExternalOpt = None,
    force: ForceOpt = False,
    verify: VerifyOpt = True,
    data: DataOpt = None,
    rtol: RtolOpt = None,
    atol: AtolOpt = None,
    share: ShareOpt = 0.0,
    shape: ShapeOpt = None,
    seed: SeedOpt = 0,
    json: JsonOpt = False,
) -> None:
    """Write MODEL as it is behind RONN's passes: an ONNX file that onnxruntime and others run too.

    Inputs, outputs and metadata stay. Fusions are made where the model's opset has the fused operator (--opset 23 has
    LayerNormalization, Gelu, RMSNormalization and Attention). Exit code 4: written, but the numbers differ.

    Examples:

        ronn export model.onnx --to onnx -o optimised.onnx

        ronn export model.onnx --level basic --dim batch=1 --dim sequence=128

        ronn export model.onnx --opset 23 -o fused.onnx
    """
    from ronn.model import Model
    from ronn.tools.convert import convert
    from ronn.tools.export import export as make

    if to not in FORMATS:
        near = nearest(to, FORMATS)
        raise OptionError(
            f"--to {to} is not known", hint=f"did you mean {near!r}?" if near else f"one of {', '.join(FORMATS)}"
        )
    path = target(model, output, "optimised", force)
    loaded = Model.load(model)
    sizes_given = parse_dims(dim)
    with progress("exporting", not json) as say:
        source = convert(loaded.ir, opset=opset)
        say("passes")
        made = make(source.model, level=level, dimensions=sizes_given, disabled_passes=disable_pass or ())
        say("writing")
        files = write(made, path, external)
        rows = []
        if verify:
            from ronn.numerics.difference import Tolerance
            from ronn.tools.verify import verify as check

            say("running both")
            rows = check(
                loaded.ir, path, data, dimensions=sizes_given, shapes=shape or (), seed=seed,
                tolerance=Tolerance(rtol, atol, share),
            )  # fmt: skip
    before, after = (Counter(n.op_id for n in g.all_nodes()) for g in (loaded.graph, made.graph))
    if json:
        write_json(
            {
                "written": [str(f) for f in files], "notes": source.notes,
                "operators": {"before": before, "after": after},
                "outputs": rows_as_data(rows),
            }
        )  # fmt: skip
    else:
        for note in source.notes:
            tell(note)
        _show_operators(before, after)
        tell(f"{sum(before.values())} -> {sum(after.values())} nodes, {sizes(files)}: {', '.join(map(str, files))}")
        if rows:
            console().print(difference_table(rows))
    if any(not r.difference.equal for r in rows):
        raise typer.Exit(EXIT_DIFFERS)


def _show_operators(before: Counter[str], after: Counter[str]) -> None:
    changed: Any = sorted(op for op in {*before, *after} if before[op] != after[op])
    if changed:
        shown = table("operators that changed", "operator", "before", "after", right=("before", "after"))
        for op in changed:
            add(shown, op, before[op], after[op])
        console().print(shown)
