"""``ronn warmup``: compiles ahead what first sessions would wait for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ronn.cli.common import DimOpt, JsonOpt, OptimizationOpt, ProviderOpt, console, write_json

if TYPE_CHECKING:
    from ronn.provider import Provider


def warmup(
    models: Annotated[
        list[Path] | None, typer.Argument(help="Model files.", show_default="none", metavar="[MODEL ...]")
    ] = None,
    all: Annotated[
        bool, typer.Option("--all", help="The whole kernel library as well; implied when no model is given.")
    ] = False,
    provider: ProviderOpt = None,
    optimization: OptimizationOpt = "full",
    dim: DimOpt = None,
    json: JsonOpt = False,
) -> None:
    """Compile kernels into the cache: those of the library, and what each MODEL needs on top.

    Once per machine and version; later sessions, of any process, start at once. A model is run once on made-up inputs:
    what it needs does not depend on sizes, so one run will do.

    Examples:

        ronn warmup

        ronn warmup model.onnx --dim batch=1
    """
    given = models if models is not None else []
    rows: list[dict[str, Any]] = []
    started = time.perf_counter()
    if all or not given:
        rows += [_library(p) for p in _providers(provider)]
    rows += [_model(path, provider, optimization, dim) for path in given]
    seconds = time.perf_counter() - started
    if json:
        write_json({"seconds": seconds, "compiled": rows})
        return
    out = console()
    for row in rows:
        out.print(f"{row['what']}: {row['compiles']} compiled, {row['seconds']:.1f} s", markup=False, soft_wrap=True)
    made = sum(row["compiles"] for row in rows)
    out.print(f"compiled {made} in {seconds:.1f} s" if made else "everything was there already")


def _providers(names: list[str] | None) -> list[Provider]:
    from ronn.targets import resolve_targets

    return [t.provider for t in resolve_targets(names)]


def _library(provider: Provider) -> dict[str, Any]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("compiling kernels"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    started = time.perf_counter()
    with Progress(*columns, console=_errors(), transient=True) as shown:
        task = shown.add_task("", total=None)

        def progress(done: int, total: int, what: str) -> None:
            shown.update(task, completed=done, total=total, description=what.rpartition(".")[2])

        compiles = provider.warm_up(provider.devices()[0], progress)
    return {"what": f"library of {provider.name}", "compiles": compiles, "seconds": time.perf_counter() - started}


def _errors() -> Any:
    from rich.console import Console

    return Console(stderr=True)


def _model(path: Path, providers: list[str] | None, optimization: str, dims: list[str] | None) -> dict[str, Any]:
    from ronn.cli.common import parse_dims
    from ronn.cli.inputs import random_inputs
    from ronn.model import Model
    from ronn.options import SessionOptions
    from ronn.session import Session
    from ronn.values import check_dimensions, symbols_of

    started = time.perf_counter()
    loaded = Model.load(path)
    sizes = parse_dims(dims)
    known = symbols_of(loaded.graph)
    own = {name: size for name, size in sizes.items() if name in known}
    if sizes and not own:
        check_dimensions(sizes, loaded.graph)
    session = Session(loaded, providers=providers, options=SessionOptions(optimization=optimization, dimensions=own))
    session.run(random_inputs(session.inputs, own, {}, 0))
    compiles = session.stats().compiles
    session.close()
    return {"what": str(path), "compiles": compiles, "seconds": time.perf_counter() - started}
