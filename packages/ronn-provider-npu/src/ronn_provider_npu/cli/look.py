"""``ronn npu explain`` and ``estimate``: a model on an accelerator that need not be there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ronn.cli.common import DimOpt, JsonOpt, ModelArg, add, console, parse_dims, table, write_json

if TYPE_CHECKING:
    from ronn_provider_npu.estimate import Estimate

ProfileOpt = Annotated[
    str, typer.Option("--profile", help="A profile that is shipped, or the path of a TOML file.", metavar="NAME")
]
ShapeOpt = Annotated[
    list[str] | None, typer.Option("--shape", help="The shape of an input.", metavar="NAME=1,3,224,224")
]


def explain(
    model: ModelArg,
    profile: ProfileOpt,
    shape: ShapeOpt = None,
    dim: DimOpt = None,
    json: JsonOpt = False,
) -> None:
    """Show which nodes of MODEL an accelerator takes, as which kernels, and why the others stay on the host.

    No device is needed: it is what a session with the option `profile` does on one that has all that the profile says.

    Examples:

        ronn npu explain resnet.onnx --profile edge-npu-8tops

        ronn npu explain resnet.onnx --profile opencl-gpu --shape image=4,3,224,224 --json
    """
    made = _estimate(model, profile, shape, dim)
    host = made.on_host
    if json:
        nodes = [
            {"node": r.node, "op": r.op, "where": r.where, "reason": r.reason, "kernels": r.kernels} for r in made.rows
        ]
        write_json({"model": made.model, "profile": made.profile.name, "share": made.share, "nodes": nodes})
        return
    out = console()
    shown = table(f"{made.model} under {made.profile.name}", "node", "operator", "where", "kernels or reason")
    for r in made.rows:
        kernels = f"{r.kernels} kernel{'s' if r.kernels > 1 else ''}" if r.kernels else "a view"
        add(shown, r.node, r.op, r.where, kernels if r.where == "device" else r.reason)
    out.print(shown)
    out.print(f"{made.share:.1%} of the operations run on the device; {len(host)} node(s) stay on the host")


def estimate(
    model: ModelArg,
    profile: ProfileOpt,
    shape: ShapeOpt = None,
    dim: DimOpt = None,
    nodes: Annotated[bool, typer.Option("--nodes", help="A table of all kernels before the result.")] = False,
    json: JsonOpt = False,
) -> None:
    """Estimate latency and energy of one run of MODEL on an accelerator, and say what they are bound by.

    It is an estimate from the figures of the profile: nothing is run, nothing is measured, no device is needed.

    Examples:

        ronn npu estimate resnet.onnx --profile opencl-gpu --shape image=1,3,224,224

        ronn npu estimate resnet.onnx --profile pocl-cpu --dim batch=8 --nodes

        ronn npu estimate quantised.onnx --profile edge-npu-8tops --json
    """
    from ronn_provider_npu.estimate.report import COLUMNS, row_of

    made = _estimate(model, profile, shape, dim)
    if json:
        write_json(made.as_data())
        return
    out = console()
    if nodes:
        shown = table("Estimate by kernel", *COLUMNS, right=COLUMNS[3:-1])
        for r in made.rows:
            add(shown, *row_of(r))
        out.print(shown)
    typer.echo(str(made))


def _estimate(path: Path, profile: str, shape: list[str] | None, dim: list[str] | None) -> Estimate:
    from ronn.cli.inputs import parse_shapes
    from ronn.model import Model
    from ronn_provider_npu.estimate import estimate as estimated

    loaded = Model.load(path)
    return estimated(loaded, profile, parse_shapes(shape, loaded.inputs), dimensions=parse_dims(dim))
