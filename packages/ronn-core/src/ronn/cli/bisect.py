"""``ronn bisect``: which pass, which rewrite and which node, or which kernel, makes the numbers wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ronn.cli import EXIT_DIFFERS, EXIT_NOT_FOUND
from ronn.cli.common import (
    DimOpt,
    DisableOpt,
    JsonOpt,
    ModelArg,
    OptimizationOpt,
    OptionOpt,
    ProviderOpt,
    console,
    progress,
    session_options,
    write_json,
)

if TYPE_CHECKING:
    from ronn.numerics.bisection import Bisection

DataOpt = Annotated[
    list[str] | None,
    typer.Option(
        "--data", metavar="WHAT", show_default="random",
        help="Inputs: a file or folder of .npz, .npy, .pb, .json or pictures, NAME=FILE, random, random:5; repeatable.",
    ),
]  # fmt: skip
RtolOpt = Annotated[
    float | None,
    typer.Option(
        "--rtol", min=0, show_default="0.001; 0.02 for 16-bit floats",
        help="Allowed difference, as a share of the largest expected magnitude.",
    ),
]  # fmt: skip
AtolOpt = Annotated[
    float | None, typer.Option("--atol", min=0, show_default="1e-06", help="Allowed difference on top, absolute.")
]
ShareOpt = Annotated[
    float, typer.Option("--share", min=0, max=1, help="Share of elements that may differ (for quantised models).")
]
SeedOpt = Annotated[int, typer.Option("--seed", help="Seed of made-up inputs.")]
ShapeOpt = Annotated[
    list[str] | None, typer.Option("--shape", help="The shape of a made-up input.", metavar="NAME=1,3,224,224")
]
NormalizeOpt = Annotated[
    str, typer.Option("--normalize", help="How a picture becomes floats: unit, signed, imagenet or raw.")
]


def bisect(
    model: ModelArg,
    data: DataOpt = None,
    against: Annotated[
        str,
        typer.Option(
            metavar="WHAT",
            help="What is expected: reference (no pass, reference kernels), onnxruntime, or an .npz of outputs.",
        ),
    ] = "reference",
    rtol: RtolOpt = None,
    atol: AtolOpt = None,
    share: ShareOpt = 0.0,
    save_repro: Annotated[
        Path | None,
        typer.Option(metavar="FILE.onnx", help="Write the smallest part of the model that still differs, and an .npz."),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.1, show_default="none", help="Seconds after which a run has failed.")
    ] = None,
    isolate: Annotated[
        bool | None,
        typer.Option(
            "--isolate/--no-isolate",
            show_default="when the first run crashes",
            help="Make each run in a process of its own, so that crashes are found too.",
        ),
    ] = None,
    dim: DimOpt = None,
    shape: ShapeOpt = None,
    seed: SeedOpt = 0,
    normalize: NormalizeOpt = "unit",
    provider: ProviderOpt = None,
    optimization: OptimizationOpt = "full",
    disable_pass: DisableOpt = None,
    option: OptionOpt = None,
    json: JsonOpt = False,
) -> None:
    """Find what makes the numbers of MODEL wrong: the pass, its rewrite and the nodes, or the kernel.

    Wrong is what differs from reference kernels without any pass, or from ONNX Runtime, or from given outputs: by more
    than the tolerance, by NaN, by an error or a crash. Halves the rewrites, then looks at the graph and the kernels.
    Exit code 0: nothing differs; 4: found; 5: it differs, and nobody could be named.

    Examples:

        ronn bisect model.onnx --data inputs.npz

        ronn bisect resnet.onnx --data photo.jpg --against onnxruntime --save-repro repro.onnx
    """
    from ronn.numerics.bisect import bisect as search

    options = session_options(optimization, disable_pass, dim, option)
    with progress("bisecting", not json) as tell:
        found = search(
            model, data, providers=provider, options=options, against=against, rtol=rtol, atol=atol, share=share,
            timeout=timeout, isolate=isolate, shapes=shape or (), seed=seed, normalize=normalize, progress=tell,
        )  # fmt: skip
        if save_repro is not None and found.verdict != "equal":
            tell("the smallest part that differs")
            found.save_repro(save_repro)
    if json:
        write_json(found.as_data())
    else:
        show(found)
    if found.verdict != "equal":
        raise typer.Exit(EXIT_DIFFERS if found.found else EXIT_NOT_FOUND)


def show(found: Bisection) -> None:
    from rich.text import Text

    out: Any = console()
    head, *rest = str(found).splitlines()
    out.print(Text(head, style="bold"), soft_wrap=True)
    for line in rest:
        out.print(Text(line), soft_wrap=True)
