"""``ronn npu quantize``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ronn.cli import EXIT_DIFFERS
from ronn.cli.bisect import NormalizeOpt, SeedOpt, ShapeOpt
from ronn.cli.common import (
    DimOpt,
    JsonOpt,
    ModelArg,
    add,
    console,
    parse_dims,
    progress,
    size_text,
    table,
    write_json,
)
from ronn.cli.written import check_unwritten
from ronn.numerics.task import LEAST_AGREEMENT, LEAST_COSINE, MOST_LOST, Limits

if TYPE_CHECKING:
    from ronn_provider_npu.quantize.report import Report


def quantize(
    model: ModelArg,
    calibration: Annotated[
        list[str],
        typer.Option(
            "--calibration",
            metavar="WHAT",
            help="Inputs like those to come: a file or folder of .npz, .npy, .pb, .json or pictures; repeatable.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it; without, nothing is.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="NAME", help="The accelerator that it is for, or a TOML file.")
    ] = None,
    form: Annotated[
        str, typer.Option(metavar="qoperator|qdq", help="Operators on bytes, or float ones between quantisers.")
    ] = "qoperator",
    activations: Annotated[
        str | None,
        typer.Option(metavar="uint8|int8|int8-symmetric", help="Bytes of activations.", show_default="by the profile"),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="minmax|percentile|mse|entropy", help="Ranges of activations.", show_default="the best by measure"
        ),
    ] = None,
    rounding: Annotated[
        str | None,
        typer.Option(metavar="nearest|gptq", help="How weights are rounded.", show_default="the better by measure"),
    ] = None,
    per_channel: Annotated[
        bool, typer.Option("--per-channel/--per-layer", help="A scale for each output channel of weights.")
    ] = True,
    test: Annotated[
        list[str] | None,
        typer.Option(metavar="WHAT", help="Inputs to judge by.", show_default="a quarter of those to calibrate with"),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE.npy", help="The right classes of the inputs of --test.")
    ] = None,
    scores: Annotated[
        str | None, typer.Option(metavar="OUTPUT", help="The output with scores.", show_default="found by its shape")
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A node that stays float; may be repeated.")
    ] = None,
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
    dim: DimOpt = None,
    shape: ShapeOpt = None,
    seed: SeedOpt = 0,
    normalize: NormalizeOpt = "unit",
    json: JsonOpt = False,
) -> None:
    """Quantise MODEL to int8 with calibration data, and say what that costs, step by step.

    The result is ordinary ONNX, which ONNX Runtime loads too. A model that is too far from the original is not
    written: exit code 4, and the reasons.

    Examples:

        ronn npu quantize resnet.onnx --calibration pictures/ -o int8.onnx

        ronn npu quantize resnet.onnx --calibration pictures/ --profile edge-npu-8tops --form qdq -o qdq.onnx

        ronn npu quantize full.onnx --calibration requests.npz --test test.npz --labels labels.npy --json
    """
    from ronn_provider_npu.profiles import DeviceProfile
    from ronn_provider_npu.quantize import QualityError, Scheme, Settings
    from ronn_provider_npu.quantize import quantize as run
    from ronn_provider_npu.quantize.quantizer import scheme_of

    check_unwritten(model, output, overwrite)
    target = None if profile is None else DeviceProfile.of(profile)
    scheme = Scheme(scheme_of(target).activations if activations is None else activations, per_channel)
    settings = Settings(scheme, method, rounding=rounding, form=form, skip=skip if skip is not None else ())
    with progress("int8", not json) as tell:
        found = run(
            model, calibration, target, test=test, labels=labels, scores=scores, settings=settings,
            limits=Limits(min_cosine, min_agreement, max_loss), dims=parse_dims(dim),
            shapes=shape if shape is not None else (), seed=seed, normalize=normalize, tell=tell,
        )  # fmt: skip
    if json:
        write_json(found.report.as_data())
    else:
        show(found.report)
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


def show(report: Report) -> None:
    """The report as tables."""
    from ronn_provider_npu.quantize.report import decibels

    out = console()
    columns = ("step", "operators", "weights", "from", "to", "SQNR", "cosine")
    steps = table("Steps", *columns, right=columns[3:])
    for r in report.rows:
        add(steps, r.name, r.op, r.shape, f"{r.low:.4g}", f"{r.high:.4g}", decibels(r.sqnr_db), f"{r.cosine:.5f}")
    out.print(steps)
    for title, few in (("Float still", report.kept), ("Not for the profile", report.outside)):
        if few:
            left = table(title, "node", "operator", "why")
            for k in few:
                add(left, k.name, k.op, k.reason)
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
