"""``ronn quantize``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ronn.cli import EXIT_DIFFERS
from ronn.cli.bisect import DataOpt, NormalizeOpt, SeedOpt, ShapeOpt
from ronn.cli.common import DimOpt, JsonOpt, ModelArg, add, console, parse_dims, size_text, table, write_json
from ronn.cli.written import check_unwritten
from ronn.errors import OptionError
from ronn.numerics.task import LEAST_AGREEMENT, LEAST_COSINE, MOST_LOST, Limits

if TYPE_CHECKING:
    from ronn_provider_bitnet.quantize.report import Report
    from ronn_provider_bitnet.quantize.statistics import Tell

_SIZES = {"GB": 10**9, "MB": 10**6, "KB": 10**3, "B": 1}


def quantize(
    model: ModelArg,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it; without, nothing is.")
    ] = None,
    bits: Annotated[
        str, typer.Option("--bits", "-b", metavar="1|1.58|2|4|8", help="Of a weight; with a budget, the fewest.")
    ] = "1.58",
    data: DataOpt = None,
    test: Annotated[
        list[str] | None,
        typer.Option(metavar="WHAT", help="Inputs to judge by, as for --data.", show_default="those of --data"),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE.npy", help="The right classes of the inputs that are judged by.")
    ] = None,
    scores: Annotated[
        str | None, typer.Option(metavar="OUTPUT", help="The output with scores.", show_default="found by its shape")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(metavar="nearest|gptq", help="How weights are rounded.", show_default="gptq where there are data"),
    ] = None,
    group: Annotated[
        str,
        typer.Option(
            metavar="row|16|32|64|128...", help="Columns of a product's weights that have one scale; convolutions: row."
        ),
    ] = "row",
    planes: Annotated[int, typer.Option(min=1, max=2, help="2: the sum of two ternary planes (--bits 1.58).")] = 1,
    edge_bits: Annotated[
        str, typer.Option("--edge-bits", metavar="BITS|float", help="Of the first and the last layer.")
    ] = "8",
    skip: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A layer that stays as it is; may be repeated.")
    ] = None,
    smallest: Annotated[int, typer.Option(min=1, help="Weights that a layer has at least.")] = 1024,
    max_error: Annotated[
        float | None,
        typer.Option("--max-error", metavar="DB", help="A budget: decibels of signal over error that outputs keep."),
    ] = None,
    max_bytes: Annotated[
        str | None, typer.Option("--max-bytes", metavar="SIZE", help="A budget: of all constants, as 20MB.")
    ] = None,
    batch_norm: Annotated[
        bool, typer.Option("--batch-norm/--no-batch-norm", help="Re-estimate BatchNormalization from the data.")
    ] = True,
    sequential: Annotated[
        bool,
        typer.Option(
            "--sequential/--no-sequential",
            help="Round each layer for what the rounded ones before it make of the data: errors are made up for.",
        ),
    ] = True,
    form: Annotated[
        str,
        typer.Option(metavar="onnx|trits", help="trits: 1.6 bits a ternary weight in the file, for provider bitnet."),
    ] = "onnx",
    activations: Annotated[
        int, typer.Option(metavar="8|16", help="Bits of what goes into layers; 8: written into the model, faster.")
    ] = 16,
    min_cosine: Annotated[
        float, typer.Option("--min-cosine", help="Of each output with the original's; less is refused.")
    ] = LEAST_COSINE,
    min_agreement: Annotated[
        float, typer.Option("--min-agreement", help="Share of best classes that stay, without labels.")
    ] = LEAST_AGREEMENT,
    max_loss: Annotated[
        float, typer.Option("--max-loss", help="Of top-1 with labels, 0.02 being 2 points.")
    ] = MOST_LOST,
    force: Annotated[bool, typer.Option("--force", help="Write a bad model all the same.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite what is there.")] = False,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw the layers' sizes against their errors.")
    ] = None,
    dim: DimOpt = None,
    shape: ShapeOpt = None,
    seed: SeedOpt = 0,
    normalize: NormalizeOpt = "unit",
    json: JsonOpt = False,
) -> None:
    """Quantise the weights of MODEL's MatMul, Gemm and Conv layers to a few bits, and say what that costs.

    The result is ordinary ONNX, which ONNX Runtime loads too: MatMulNBits, and DequantizeLinear in front of
    convolutions; with --form trits it is the smallest file there is, which provider bitnet runs alone. A model
    that is too far from the original is not written: exit code 4, and the reasons.

    Examples:

        ronn quantize model.onnx --bits 4 --data inputs.npz -o small.onnx

        ronn quantize model.onnx --data train/ --test test.npy --labels labels.npy -o small.onnx --picture cost.svg

        ronn quantize model.onnx --bits 1 --max-error 20 --data inputs.npz -o small.onnx
    """
    from ronn_provider_bitnet.quantize import QualityError, Settings
    from ronn_provider_bitnet.quantize import quantize as run

    check_unwritten(model, output, overwrite)
    settings = Settings(
        bits=bits, edge_bits=edge_bits, group=parse_group(group), method=method, planes=planes, skip=skip or (),
        smallest=smallest, max_error=max_error, max_bytes=None if max_bytes is None else parse_size(max_bytes),
        batch_norm=batch_norm, sequential=sequential, form=form, activations=activations,
    )  # fmt: skip
    with _bar(not json) as tell:
        found = run(
            model, data=data, test=test, labels=labels, scores=scores, settings=settings,
            limits=Limits(min_cosine, min_agreement, max_loss), dims=parse_dims(dim), shapes=shape or (), seed=seed,
            normalize=normalize, tell=tell,
        )  # fmt: skip
    if picture is not None:
        from ronn_provider_bitnet.quantize.picture import draw

        picture.write_text(draw(found.report, model.name), encoding="utf-8")
    if json:
        write_json(found.report.as_data())
    else:
        show(found.report)
        if picture is not None:
            _say(f"wrote {picture}")
    if output is not None:
        try:
            found.save(output, force=force)
        except QualityError as e:
            typer.echo(f"ronn: {e}", err=True)
            raise typer.Exit(EXIT_DIFFERS) from None
        if not json:
            _say(f"wrote {output}: {size_text(model.stat().st_size)} -> {size_text(output.stat().st_size)}")
    elif found.report.faults:
        raise typer.Exit(EXIT_DIFFERS)


def parse_group(text: str) -> int:
    """Columns with one scale; 0 for ``row``. OptionError for what is neither."""
    if text == "row":
        return 0
    if not text.isdecimal() or int(text) == 0:
        raise OptionError(f"--group {text!r} is no number of columns", hint="--group row, or a power of two, as 64")
    return int(text)


def parse_size(text: str) -> int:
    """Bytes, from ``20MB``, ``1.5GB`` or ``2000``. OptionError for something else."""
    for unit, factor in _SIZES.items():
        number = text.upper().removesuffix(unit)
        if number != text.upper() or unit == "B":
            try:
                size = int(float(number) * factor)
            except (ValueError, OverflowError):
                break
            if size > 0:
                return size
            break
    raise OptionError(f"--max-bytes {text!r} is no size", hint="for instance 20MB")


def show(report: Report) -> None:
    """The report as tables."""
    from ronn_provider_bitnet.quantize.report import decibels

    out = console()
    of = "products" if report.measured else "weights"
    columns = ("layer", "op", "N x K", "bits", "scales", "method", f"SQNR of {of}", "cosine", "before", "after")
    layers = table("Layers", *columns, right=columns[6:])
    for r in report.rows:
        bits = r.bits if r.planes == 1 else f"{r.planes} x {r.bits}"
        scales = f"by {r.group}" if r.group else "by row"
        add(
            layers, r.name, r.op, f"{r.shape[0]} x {r.shape[1]}", bits, scales, r.method, decibels(r.sqnr_db),
            f"{r.cosine:.5f}", size_text(r.before), size_text(r.after),
        )  # fmt: skip
    out.print(layers)
    if report.skipped:
        left = table("Left as they are", "layer", "bytes", "why", right=("bytes",))
        for s in report.skipped:
            add(left, s.name, size_text(s.bytes), s.reason)
        out.print(left)
    total = table("In all", "what", "value")
    for what, value in report.totals():
        add(total, what, value)
    out.print(total)
    for note in report.notes():
        _say(note)
    for fault in report.faults:
        out.print(f"bad: {fault}", style="red", markup=False, soft_wrap=True)


def _say(text: str) -> None:
    console().print(text, markup=False, soft_wrap=True)


@contextmanager
def _bar(shown: bool) -> Iterator[Tell]:
    """A progress bar, on terminals."""
    errors = Console(stderr=True)
    if not shown or not errors.is_terminal:
        yield lambda what, share: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True) as progress:
        task = progress.add_task("", total=1.0)
        yield lambda what, share: progress.update(task, description=what, completed=share)
