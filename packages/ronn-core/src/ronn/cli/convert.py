"""``ronn convert``: another opset, another IR version, narrower floats."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ronn.cli import EXIT_DIFFERS
from ronn.cli.bisect import AtolOpt, DataOpt, RtolOpt, SeedOpt, ShapeOpt, ShareOpt
from ronn.cli.common import DimOpt, JsonOpt, ModelArg, add, console, parse_dims, progress, size_text, table, write_json
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

_LARGEST = 65504.0
_MAX_NAMED = 8

if TYPE_CHECKING:
    from ronn.tools.convert import Conversion
    from ronn.tools.half import Report
    from ronn.tools.verify import Beyond


def convert(
    model: ModelArg,
    output: OutputOpt = None,
    opset: Annotated[int | None, typer.Option(help="The opset of ai.onnx, up or down.", metavar="N")] = None,
    ir: Annotated[int | None, typer.Option(help="The IR version that the file is stamped with.", metavar="N")] = None,
    weights: Annotated[
        str | None, typer.Option(help="float16 or bfloat16: what float32 becomes.", metavar="TYPE")
    ] = None,
    io: Annotated[
        str | None,
        typer.Option(help="The same type: inputs and outputs change too.", metavar="TYPE", show_default="kept"),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            help="An operator or node that stays in float32; -Op takes one of the usual list out.", metavar="NAME"
        ),
    ] = None,
    storage_only: Annotated[
        bool, typer.Option("--storage-only", help="Narrow what is stored, compute in float32.")
    ] = False,
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
    """Convert MODEL to another opset, IR version or float type, and check the result against it.

    Nodes that both opsets have alike are restamped; others are rewritten by onnx's converter. Inputs, outputs, names
    and metadata stay. Exit code 4: written, but the numbers differ by more than they may.

    Examples:

        ronn convert model.onnx --opset 21

        ronn convert model.onnx --weights float16 -o small.onnx --data inputs.npz

        ronn convert model.onnx --weights bfloat16 --keep Softmax --storage-only
    """
    from ronn.model import Model
    from ronn.tools.convert import convert as make

    if opset is None and ir is None and weights is None:
        raise OptionError("nothing to convert to", hint="--opset N, --ir N or --weights float16")
    if io is not None and io != weights:
        near = nearest(io, ("float16", "bfloat16"))
        raise OptionError(
            f"--io {io} is not what --weights says ({weights})", hint=f"--weights {near or io} --io {near or io}"
        )
    words = [f"opset{opset}"] if opset is not None else []
    words += [f"ir{ir}"] if ir is not None else []
    words += [weights] if weights is not None else []
    path = target(model, output, "-".join(words), force)
    loaded = Model.load(model)
    with progress("converting", not json) as say:
        made = make(
            loaded.ir, opset=opset, ir=ir, weights=weights, io=io is not None, keep=keep or (),
            only_storage=storage_only,
        )  # fmt: skip
        say("writing")
        files = write(made.model, path, external)
        rows = []
        if verify:
            from ronn.numerics.difference import Tolerance
            from ronn.tools.verify import verify as check

            say("running both")
            tolerance = Tolerance(rtol, atol, share)
            narrow = tolerance.narrowed() if weights is not None else tolerance
            rows = check(
                loaded.ir, path, data, dimensions=parse_dims(dim), shapes=shape or (), seed=seed, tolerance=narrow
            )
        large = []
        if verify and weights == "float16" and not storage_only:
            from ronn.tools.verify import beyond

            say("looking for values that float16 cannot hold")
            large = beyond(loaded.ir, made.model, data, dimensions=parse_dims(dim), shapes=shape or (), seed=seed)
    before = _files(model, loaded)
    if json:
        write_json({**as_data(path, files, made, rows), "beyond": [asdict(b) for b in large]})
    else:
        show(path, before, files, made)
        if rows:
            console().print(difference_table(rows))
        if large:
            show_beyond(large)
    if any(not r.difference.equal for r in rows):
        raise typer.Exit(EXIT_DIFFERS)


def show_beyond(large: list[Beyond]) -> None:
    """Values that became infinite, and what keeps their nodes in float32."""
    for b in large[:_MAX_NAMED]:
        tell(f"%{b.value} of {b.node!r} reaches {b.largest:.3g}, beyond float16's {_LARGEST:g}")
    if len(large) > _MAX_NAMED:
        tell(f"... and {len(large) - _MAX_NAMED} more")
    tell(f"--weights bfloat16 holds them; or keep them in float32, the first of them first: --keep {large[0].node!r}")


def _files(model: Path, loaded: Any) -> list[Path]:
    origin = [Path(p) for p, _ in loaded.ir.origin]
    return origin if origin else [model]


def as_data(path: Path, files: list[Path], made: Conversion, rows: list[Any]) -> dict[str, Any]:
    half = made.half
    return {
        "written": [str(f) for f in files],
        "notes": made.notes,
        "narrow": None
        if half is None
        else {
            "to": half.to,
            "nodes": dict(half.narrow),
            "kept": [{"op": op, "why": why, "nodes": n} for (op, why), n in half.wide.items()],
            "clamped": half.clamped,
            "flushed": half.flushed,
            "constants": half.constants,
            "bytes": [half.bytes_before, half.bytes_after],
            "casts": half.casts,
        },
        "outputs": rows_as_data(rows),
    }


def show(path: Path, before: list[Path], files: list[Path], made: Conversion) -> None:
    for note in made.notes:
        tell(note)
    if made.half is not None:
        show_report(made.half)
    tell(f"{sizes(before)} -> {sizes(files)}: {', '.join(str(f) for f in files)}")


def show_report(half: Report) -> None:
    """What was narrowed, what was not and why, and which constants lost something."""
    nodes, kept = sum(half.narrow.values()), sum(half.wide.values())
    tell(
        f"{half.to}: {nodes} node(s) narrow, {kept} in float32, {half.casts} cast(s) put in; "
        f"{half.constants} constant(s), {size_text(half.bytes_before)} -> {size_text(half.bytes_after)}"
    )
    if half.wide:
        shown = table("in float32 still", "operator", "nodes", "why", right=("nodes",))
        for (op, why), count in sorted(half.wide.items()):
            add(shown, op, count, why)
        console().print(shown)
    for what, found in (
        ("beyond the largest value, which they became", half.clamped),
        ("too small, which became 0", half.flushed),
    ):
        if found:
            names = ", ".join(f"{n} ({c})" for n, c in list(found.items())[:5])
            tell(f"constants with elements {what}: {names}{', ...' if len(found) > 5 else ''}")
