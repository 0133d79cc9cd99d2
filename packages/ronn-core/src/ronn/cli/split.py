"""``ronn split``: a model in two files, cut at values that are named."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ronn.cli import EXIT_DIFFERS
from ronn.cli.bisect import AtolOpt, DataOpt, RtolOpt, SeedOpt, ShapeOpt, ShareOpt
from ronn.cli.common import DimOpt, JsonOpt, ModelArg, add, console, parse_dims, table, write_json
from ronn.cli.written import (
    ExternalOpt,
    ForceOpt,
    VerifyOpt,
    difference_table,
    rows_as_data,
    sizes,
    target,
    tell,
    write,
)
from ronn.errors import OptionError

AtOpt = Annotated[
    list[str],
    typer.Option(
        "--at", metavar="VALUE", help="A value to cut at (`ronn inspect --ir` has names); may be repeated.",
        show_default=False,
    ),
]  # fmt: skip
PrefixOpt = Annotated[
    Path | None,
    typer.Option("--prefix", metavar="FILE", help="Where to write what lies before.", show_default="MODEL.prefix.onnx"),
]
SuffixOpt = Annotated[
    Path | None,
    typer.Option("--suffix", metavar="FILE", help="Where to write what lies behind.", show_default="MODEL.suffix.onnx"),
]


def split(
    model: ModelArg,
    at: AtOpt,
    prefix: PrefixOpt = None,
    suffix: SuffixOpt = None,
    external: ExternalOpt = None,
    force: ForceOpt = False,
    verify: VerifyOpt = True,
    data: DataOpt = None,
    rtol: RtolOpt = None,
    atol: AtolOpt = None,
    share: ShareOpt = 0.0,
    dim: DimOpt = None,
    shape: ShapeOpt = None,
    seed: SeedOpt = 0,
    json: JsonOpt = False,
) -> None:
    """Cut MODEL in two: one file computes the values named, the other goes on from them.

    Whatever else the second needs of the first crosses with them. Exit code 4: written, but the numbers differ.

    Examples:

        ronn split resnet.onnx --at relu1_out

        ronn split resnet.onnx --at relu2_out --prefix edge.onnx --suffix server.onnx
    """
    from ronn.model import Model
    from ronn.tools.split import split_model

    paths = (target(model, prefix, "prefix", force), target(model, suffix, "suffix", force))
    if paths[0].absolute() == paths[1].absolute():
        raise OptionError(f"{paths[0]} cannot be both halves", hint="--prefix FILE and --suffix FILE are two files")
    loaded = Model.load(model)
    halves = split_model(loaded, at)
    files = [write(half.ir, path, external) for half, path in zip(halves, paths, strict=True)]
    rows = []
    if verify:
        from ronn.numerics.difference import Tolerance
        from ronn.tools.verify import verify_halves

        rows = verify_halves(
            loaded.ir, paths, data, dimensions=parse_dims(dim), shapes=shape or (), seed=seed,
            tolerance=Tolerance(rtol, atol, share),
        )  # fmt: skip
    words = ("prefix", "suffix")
    if json:
        found = {
            word: {
                "written": [str(f) for f in written], "nodes": len(half.graph),
                "inputs": {v.name: str(v.type) for v in half.inputs},
                "outputs": {v.name: str(v.type) for v in half.outputs},
            }
            for word, half, written in zip(words, halves, files, strict=True)
        }  # fmt: skip
        write_json({**found, "outputs": rows_as_data(rows)})
    else:
        shown = table("halves", "half", "nodes", "takes", "gives", "size", right=("nodes", "size"))
        for word, half, written in zip(words, halves, files, strict=True):
            takes, gives = (", ".join(f"{v.name} {v.type}" for v in ends) for ends in (half.inputs, half.outputs))
            add(shown, word, len(half.graph), takes, gives, sizes(written))
        console().print(shown)
        tell(f"wrote {', '.join(str(f) for written in files for f in written)}")
        if rows:
            console().print(difference_table(rows))
    if any(not r.difference.equal for r in rows):
        raise typer.Exit(EXIT_DIFFERS)
