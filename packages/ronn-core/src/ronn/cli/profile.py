"""``ronn profile``: where the time of a run goes, against what the machine can do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    parse_dims,
    session_options,
    table,
    write_json,
)

if TYPE_CHECKING:
    from ronn.profile import Profile

_BAR = 16


def profile(
    model: ModelArg,
    input: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="NAME=FILE", help="An input, as for `ronn run`; others are made up."),
    ] = None,
    runs: Annotated[int, typer.Option("--runs", "-n", min=1, help="How many runs to measure.")] = 20,
    threads: Annotated[int, typer.Option(min=0, help="Threads that a run may use (0: what this process may).")] = 0,
    precision: Annotated[str, typer.Option(help="What products may be taken in: float32 or bf16.")] = "float32",
    trace: Annotated[Path | None, typer.Option(help="Write the timeline for chrome://tracing or Perfetto.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write one self-contained page: graph, timeline, roofline, table.")
    ] = None,
    top: Annotated[int, typer.Option(help="Rows to show (0: all).")] = 25,
    dim: DimOpt = None,
    shape: Annotated[
        list[str] | None, typer.Option("--shape", help="The shape of a made-up input.", metavar="NAME=1,3,224,224")
    ] = None,
    provider: ProviderOpt = None,
    optimization: OptimizationOpt = "full",
    disable_pass: DisableOpt = None,
    option: OptionOpt = None,
    json: JsonOpt = False,
) -> None:
    """Profile MODEL: the time of every kernel, its GFLOP/s and GB/s, and how far that is from the machine's ceilings.

    Times are taken inside the native executor, medians over runs; the ceilings (multiply-adds, memory, caches) are
    measured in the same process. The roofline column says how much of what is possible a kernel reaches.

    Examples:

        ronn profile model.onnx

        ronn profile model.onnx --threads 1 --dim batch=1 --html profile.html --trace profile.trace.json
    """
    from ronn.cli.inputs import parse_shapes, random_inputs, read_inputs
    from ronn.profile.report import trace as as_trace
    from ronn.session import Session

    sizes = parse_dims(dim)
    more = [f"threads={threads}", f"precision={precision}", *(option or ())]
    options = session_options(optimization, disable_pass, dim, more)
    session = Session(model, providers=provider, options=options)
    given = read_inputs(input or (), session.inputs, "unit")
    missing = [i for i in session.inputs if i.name not in given]
    made_up = random_inputs(missing, sizes, parse_shapes(shape, session.inputs), 0) if missing else {}
    found = session.profile({**made_up, **given}, runs=runs)
    if html is not None:
        found.save(html)
    if trace is not None:
        import json as library

        trace.write_text(library.dumps(as_trace(found)), encoding="utf-8")
    if json:
        write_json(found.as_data())
        return
    show(found, top)
    for path in (html, trace):
        if path is not None:
            console().print(f"wrote {path}", soft_wrap=True, markup=False)


def show(found: Profile, top: int) -> None:
    from ronn.profile.report import COLUMNS, cells, summary

    out = console()
    about = table(f"{Path(found.model).name} ({found.signature}), {found.threads} thread(s)", "what", "value")
    for what, value in summary(found):
        add(about, what, value)
    out.print(about)
    right = ("time", "share", "GFLOP/s", "GB/s", "roofline")
    rows = found.by_time()
    shown = table("Kernels, slowest first", COLUMNS[0], COLUMNS[1], "", *COLUMNS[2:], right=right)
    most = rows[0].seconds if rows else 0.0
    for kernel in rows[:top] if top else rows:
        time, share, *rest = cells(found, kernel)
        full = round(_BAR * kernel.seconds / most) if most > 0 else 0
        add(shown, time, share, "█" * full, *rest)
    out.print(shown)
    if top and len(rows) > top:
        out.print(f"... and {len(rows) - top} more (--top 0 shows all)")
