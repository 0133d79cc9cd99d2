"""``ronn compare``: two models, or one model run in two ways, side by side, as tables and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ronn.cli import EXIT_DIFFERS
from ronn.cli.bisect import AtolOpt, DataOpt, NormalizeOpt, RtolOpt, SeedOpt, ShapeOpt, ShareOpt
from ronn.cli.common import (
    DimOpt,
    DisableOpt,
    JsonOpt,
    ModelArg,
    OptionOpt,
    add,
    console,
    parse_dims,
    parse_options,
    progress,
    table,
    write_json,
)
from ronn.errors import OptionError

if TYPE_CHECKING:
    from ronn.numerics.comparison import Comparison
    from ronn.options import SessionOptions


def compare(
    a: ModelArg,
    b: Annotated[
        Path | None, typer.Argument(help="Another model; without one, A is run in another way.", show_default="A again")
    ] = None,
    data: DataOpt = None,
    providers_a: Annotated[
        list[str] | None,
        typer.Option(
            "--providers-a", metavar="NAME", help="A provider for A; may be repeated.",
            show_default="cpu, then reference",
        ),
    ] = None,
    providers_b: Annotated[
        list[str] | None,
        typer.Option(
            "--providers-b",
            metavar="NAME",
            help="A provider for B; may be repeated.",
            show_default="cpu, then reference; reference alone where nothing tells B from A",
        ),
    ] = None,
    level: Annotated[
        str | None, typer.Option("--level", metavar="LEVEL", help="The list of passes for B: none, basic or full.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="What products of B may be taken in: float32 or bf16.", metavar="TYPE")
    ] = None,
    disable_pass: DisableOpt = None,
    option: OptionOpt = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="RUNTIME", help="Another runtime to hold against A: onnxruntime."),
    ] = None,
    rtol: RtolOpt = None,
    atol: AtolOpt = None,
    share: ShareOpt = 0.0,
    nodes: Annotated[bool, typer.Option("--nodes/--no-nodes", help="Compare the values inside as well.")] = True,
    top: Annotated[int, typer.Option(help="Rows of values inside to show, worst first (0: all, in order).")] = 20,
    seconds: Annotated[
        float, typer.Option(min=0, help="How long to take times of each side, in turn (0: not at all).")
    ] = 2.0,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, help="Rows of the throughput; the latency is then that of one.", show_default="the sample as it is"
        ),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw sizes, times and the errors of values inside.")
    ] = None,
    dim: DimOpt = None,
    shape: ShapeOpt = None,
    seed: SeedOpt = 0,
    normalize: NormalizeOpt = "unit",
    json: JsonOpt = False,
) -> None:
    """Compare model A with B, or with itself run in another way: numbers outside and inside, time, size.

    B differs from A by --providers-b, --level, --precision, --disable-pass and --option; when none is given, and no
    second model, B runs on reference kernels without passes. Values inside are matched by name, else by structure, as
    those of a quantised model and its original. It is also told which nodes compute on dequantised numbers, in a wider
    type, on a fallback or as Python. Exit code 4: an output differs by more than the tolerance.

    Examples:

        ronn compare model.onnx

        ronn compare model.onnx quantised.onnx --data inputs.npz --with onnxruntime --rtol 0.05

        ronn compare resnet.onnx --precision bf16 --data photo.jpg --normalize imagenet

        ronn compare model.onnx quantised.onnx --data inputs.npz --rtol 0.05 --batch 32 --picture beside.svg
    """
    from ronn.numerics.compare import compare as run

    if picture is not None and picture.suffix != ".svg":
        raise OptionError(f"--picture {picture}: pictures are SVG", hint=f"--picture {picture.with_suffix('.svg')}")
    options_a, options_b = _options(dim, level, precision, disable_pass, option)
    with progress("comparing", not json) as tell:
        found = run(
            a, b, data, providers_a=providers_a, providers_b=providers_b, options_a=options_a, options_b=options_b,
            runtimes=runtime or (), rtol=rtol, atol=atol, share=share, nodes=nodes, seconds=seconds,
            batch=batch, shapes=shape or (), seed=seed, normalize=normalize, progress=tell,
        )  # fmt: skip
    if picture is not None:
        from ronn.numerics.comparison_picture import draw

        picture.write_text(draw(found), encoding="utf-8")
    if json:
        write_json(found.as_data())
    else:
        show(found, top)
        if picture is not None:
            console().print(f"wrote {picture}", soft_wrap=True, markup=False)
    if not found.equal:
        raise typer.Exit(EXIT_DIFFERS)


def _options(
    dims: list[str] | None,
    level: str | None,
    precision: str | None,
    disabled: list[str] | None,
    more: list[str] | None,
) -> tuple[SessionOptions, SessionOptions | None]:
    """Those of A, and those of B where something is given for it."""
    from ronn.options import SessionOptions

    usual = SessionOptions(dimensions=parse_dims(dims))
    changed = parse_options(more)
    if level is not None:
        changed["optimization"] = level
    if precision is not None:
        changed["precision"] = precision
    if disabled:
        changed["disabled_passes"] = tuple(disabled)
    return usual, usual.replace(**changed) if changed else None


def show(found: Comparison, top: int) -> None:
    from rich.text import Text

    from ronn.numerics.comparison_text import remarks, sheets

    out = console()
    for sheet in sheets(found, top):
        shown = table(sheet.title, *sheet.columns, right=sheet.right)
        for row in sheet.rows:
            add(shown, *row)
        out.print(shown)
    for line in remarks(found):
        out.print(Text(line), soft_wrap=True)
