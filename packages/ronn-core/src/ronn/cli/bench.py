"""``ronn bench``: how long a model takes, and beside what."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

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
    open_session,
    parse_dims,
    table,
    write_json,
)
from ronn.errors import OptionError

if TYPE_CHECKING:
    from ronn.benchmark import Benchmark
    from ronn.benchmark.measure import Feed, Progress
    from ronn.session import Session


def bench(
    model: ModelArg,
    input: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="NAME=FILE", help="An input, as for `ronn run`; others are made up."),
    ] = None,
    dim: DimOpt = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            help="Sizes of a symbolic dim, each measured; several such dims are combined.", metavar="NAME=1,8,32"
        ),
    ] = None,
    shape: Annotated[
        list[str] | None, typer.Option("--shape", help="The shape of a made-up input.", metavar="NAME=1,3,224,224")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of made-up inputs.")] = 0,
    seconds: Annotated[float, typer.Option(help="How long to measure in all, beside loading and first runs.")] = 10.0,
    threads: Annotated[
        str | None,
        typer.Option(
            help="Threads that a run may use, each a row: 1,2,4.", show_default="1, 2, 4 ... up to all", metavar="N,N"
        ),
    ] = None,
    callers: Annotated[
        str | None,
        typer.Option(
            help="How many threads call the session at once, each a row.",
            show_default="1, and as many as processors",
            metavar="N,N",
        ),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(help="Another runtime to measure in turn with RONN: onnxruntime.", metavar="RUNTIME"),
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(help="An earlier result (--json or --save) to compare with.", metavar="FILE.json")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Write the result as JSON.", metavar="FILE.json")] = None,
    provider: ProviderOpt = None,
    optimization: OptimizationOpt = "full",
    disable_pass: DisableOpt = None,
    option: OptionOpt = None,
    json: JsonOpt = False,
) -> None:
    """Measure MODEL: P50, P95 and P99 of runs, throughput over threads and callers, memory, load and first run.

    Every way to run is measured in bursts of 0.1 s, in turn, each after two uncounted runs, so that whatever else the
    machine does falls on all of them. What disturbed the measurement is told below the table. Ctrl-C ends it early,
    with what is there.

    Examples:

        ronn bench model.onnx --seconds 3

        ronn bench model.onnx --sweep batch=1,8,32 --threads 1 --callers 1 --seconds 3

        ronn bench model.onnx --against onnxruntime --seconds 3 --save yesterday.json

        ronn bench model.onnx --compare yesterday.json --seconds 3
    """
    from ronn.benchmark import Benchmark, benchmark
    from ronn.benchmark.machine import process_memory
    from ronn.benchmark.report import changes, incomparable

    counts, together = parse_counts("--threads", threads), parse_counts("--callers", callers)
    earlier = None if compare is None else Benchmark.load(compare)
    before = process_memory()[0]
    began = time.perf_counter()
    session = open_session(model, provider, optimization, disable_pass, dim, option)
    loaded = time.perf_counter() - began
    feeds, made_up = make_feeds(session, input, parse_dims(dim), parse_sweep(sweep), shape, seed)
    with bar() as progress:
        found = benchmark(
            session, feeds, seconds=seconds, threads=counts, callers=together, against=tuple(against or ()),
            load_seconds=loaded, memory_before=before, progress=progress,
        )  # fmt: skip
    if save is not None:
        found.save(save)
    if json:
        write_json(found.as_data())
        return
    show(found)
    if earlier is not None:
        show_changes(changes(earlier, found), incomparable(earlier, found))
    if made_up:
        console().print(
            f"Inputs were made up (seed {seed}): {', '.join(made_up)}. Give real ones with --input.",
            style="yellow", markup=False,
        )  # fmt: skip
    if save is not None:
        console().print(f"wrote {save}", soft_wrap=True, markup=False)


def parse_counts(option: str, text: str | None) -> list[int] | None:
    """``"1,2"`` as numbers. OptionError for something else."""
    if text is None:
        return None
    words = [w.strip() for w in text.split(",")]
    if not all(w.isdecimal() and int(w) > 0 for w in words):
        raise OptionError(f"{option} {text!r} is no list of numbers", hint=f"for instance {option} 1,2,4")
    return [int(w) for w in words]


def parse_sweep(given: list[str] | None) -> dict[str, list[int]]:
    """``["batch=1,8"]`` as a mapping. OptionError for what is not of this form."""
    found = {}
    for text in given or ():
        name, _, sizes = text.rpartition("=")
        numbers = sizes.split(",")
        if not name or not all(n.strip().isdecimal() for n in numbers):
            raise OptionError(f"--sweep {text!r} is not NAME=1,8,32")
        found[name] = [int(n) for n in numbers]
    return found


def make_feeds(
    session: Session,
    given: list[str] | None,
    dims: dict[str, int],
    sweep: dict[str, list[int]],
    shape: list[str] | None,
    seed: int,
) -> tuple[list[Feed], list[str]]:
    """Inputs for each combination of the sizes to measure, and the names of those that were made up."""
    from ronn.benchmark.measure import Feed
    from ronn.cli.inputs import parse_shapes, random_inputs, read_inputs
    from ronn.values import check_dimensions

    check_dimensions({name: sizes[0] for name, sizes in sweep.items()}, session.model.graph)
    fixed = session.options.dimensions.keys() & sweep.keys()
    if fixed:
        raise OptionError(f"dim {min(fixed)!r} is given by --dim and by --sweep")
    read = read_inputs(given or (), session.inputs, "unit")
    missing = [i for i in session.inputs if i.name not in read]
    swept = {d for i in missing for d in i.shape or () if isinstance(d, str)}
    for name in sweep:
        if name not in swept:
            raise OptionError(f"--sweep {name}: the inputs that have this dim were given", hint="leave --input out")
    shapes = parse_shapes(shape, session.inputs)
    feeds = []
    for sizes in itertools.product(*sweep.values()):
        chosen = dict(zip(sweep, sizes, strict=True))
        made = random_inputs(missing, {**dims, **chosen}, shapes, seed) if missing else {}
        inputs = {i.name: {**read, **made}[i.name] for i in session.inputs}
        feeds.append(Feed(inputs, ", ".join(f"{n}={s}" for n, s in chosen.items()), batch_of(session, inputs)))
    return feeds, [i.name for i in missing]


def batch_of(session: Session, inputs: dict[str, Any]) -> int:
    """How many items a run works on: the size of the first axis of the inputs, where the model leaves it open."""
    first = session.inputs[0] if session.inputs else None
    shape = () if first is None else getattr(inputs[first.name], "shape", ())
    return int(shape[0]) if first is not None and first.shape and shape and not isinstance(first.shape[0], int) else 1


@contextmanager
def bar() -> Iterator[Progress]:
    """A progress bar, on terminals."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=1.0)
        yield lambda what, share: shown.update(task, description=what, completed=share)


def show(found: Benchmark) -> None:
    from ronn.benchmark.report import summary
    from ronn.benchmark.report import table as cells

    out = console()
    about = table("Benchmark", "what", "value")
    for what, value in summary(found):
        add(about, what, value)
    out.print(about)
    columns, rows = fitting(*cells(found), out.width)
    left = ("runtime", "sizes", "quickest to P95")
    shown = table("Times of a run", *columns, right=tuple(c for c in columns if c not in left))
    for row in rows:
        add(shown, *row)
    out.print(shown)
    for note in found.notes:
        out.print(note, style="yellow", markup=False, soft_wrap=True)


def fitting(columns: list[str], rows: list[tuple[str, ...]], width: int) -> tuple[list[str], list[tuple[str, ...]]]:
    """The table without the columns that matter least, as far as ``width`` characters ask for it."""
    for least in (None, "runs", "mean", "least", "callers", "quickest to P95"):
        if least in columns and not (least == "callers" and len({r[columns.index(least)] for r in rows}) > 1):
            at = columns.index(least)
            columns, rows = columns[:at] + columns[at + 1 :], [r[:at] + r[at + 1 :] for r in rows]
        if sum(max(map(len, cells)) + 3 for cells in zip(columns, *rows, strict=True)) < width:
            break
    return columns, rows


def show_changes(found: list[Any], notes: list[str]) -> None:
    from ronn.profile.report import time_text

    shown = table("Against the earlier result", "row", "P50 then", "P50 now", "P99 then", "P99 now", "",
                  right=("P50 then", "P50 now", "P99 then", "P99 now"))  # fmt: skip
    for c in found:
        name = ", ".join(
            part for part in (c.now.who, c.now.sizes, f"{c.now.threads} threads", f"{c.now.callers} callers") if part
        )
        times = (c.before.p50, c.now.p50, c.before.p99, c.now.p99)
        add(shown, name, *(time_text(t) for t in times), c.verdict)
    out = console()
    if found:
        out.print(shown)
    else:
        out.print("No row of the earlier result is measured here too.", style="yellow")
    for note in notes:
        out.print(note, style="yellow", markup=False, soft_wrap=True)
