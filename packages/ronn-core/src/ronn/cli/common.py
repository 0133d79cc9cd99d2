"""What the commands share: options, sessions, consoles, JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ronn.errors import OptionError
from ronn.plan.budget import size_text as size_text

if TYPE_CHECKING:
    from ronn.options import SessionOptions
    from ronn.session import Session

ModelArg = Annotated[Path, typer.Argument(help="The model file.", show_default=False, metavar="MODEL")]
ProviderOpt = Annotated[
    list[str] | None,
    typer.Option(
        "--provider", "-p", help="A provider that may be used; repeat it in order of preference, nothing else is used.",
        show_default="cpu, then reference", metavar="NAME",
    ),
]  # fmt: skip
DimOpt = Annotated[
    list[str] | None,
    typer.Option("--dim", "-d", help="The size of a symbolic dim; may be repeated.", metavar="NAME=SIZE"),
]
OptimizationOpt = Annotated[
    str, typer.Option("--optimization", "-O", help="The list of passes: none, basic or full.", metavar="LEVEL")
]
DisableOpt = Annotated[
    list[str] | None,
    typer.Option("--disable-pass", help="A pass to leave out (`ronn passes` lists them).", metavar="PASS"),
]
OptionOpt = Annotated[
    list[str] | None,
    typer.Option(
        "--option", help="A session option, as memory_limit=512MB or max_nodes=1000; may be repeated.",
        metavar="NAME=VALUE",
    ),
]  # fmt: skip
FileOpt = Annotated[
    Path | None,
    typer.Option(
        "--options", help="A TOML file of session options; what the command line says goes before it.", metavar="FILE"
    ),
]
JsonOpt = Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")]


def session_options(
    optimization: str | None,
    disabled: list[str] | None,
    dims: list[str] | None,
    more: list[str] | None = None,
    file: Path | None = None,
) -> SessionOptions:
    """The options of a session as the command line gives them; ``more`` as ``NAME=VALUE``. They go before those of
    ``file``; passes left out and sizes are added to what it has."""
    from ronn.options import SessionOptions

    usual = SessionOptions() if file is None else SessionOptions.from_file(file)
    changes: dict[str, Any] = {} if optimization is None else {"optimization": optimization}
    changes["disabled_passes"] = {*usual.disabled_passes, *(disabled or ())}
    changes["dimensions"] = {**usual.dimensions, **parse_dims(dims)}
    return usual.replace(**{**changes, **parse_options(more)})


def open_session(
    model: Path,
    providers: list[str] | None,
    optimization: str | None,
    disabled: list[str] | None,
    dims: list[str] | None,
    more: list[str] | None = None,
    sha256: str | None = None,
) -> Session:
    """A session on the model file."""
    from ronn.session import Session

    options = session_options(optimization, disabled, dims, more)
    return Session(model, providers=providers, options=options, sha256=sha256)


def open_routed(model: Path, providers: list[str] | None, options: SessionOptions, sha256: str | None = None) -> Any:
    """A session on the model file, or what the router that the options name makes of it."""
    from ronn.model import Model
    from ronn.session import Session

    if options.router is None:
        return Session(model, providers=providers, options=options, sha256=sha256)
    return Model.load(model, options, sha256=sha256).create_session(options, providers=providers)


_FLAGS = {"providers": "--provider", "disabled_passes": "--disable-pass", "dimensions": "--dim"}


def parse_options(given: list[str] | None) -> Any:
    """``["threads=2"]`` as values of session options. OptionError for an unknown one, or what is no value of it."""
    from dataclasses import fields

    from ronn.options import SessionOptions, unknown_option

    types = {f.name: str(f.type) for f in fields(SessionOptions)}
    found: dict[str, Any] = {}
    for entry in given or ():
        name, sign, text = entry.partition("=")
        if not sign:
            raise OptionError(f"--option {entry!r} is not NAME=VALUE", hint="for instance --option threads=2")
        if name not in types:
            raise unknown_option(name)
        if name in _FLAGS:
            raise OptionError(f"--option {name} cannot be given as text", hint=f"use {_FLAGS[name]}")
        found[name] = _value(name, text, types[name])
    return found


def _value(name: str, text: str, type: str) -> Any:
    if type == "bool":
        if text.lower() not in ("true", "false", "1", "0"):
            raise OptionError(f"--option {name}={text} is not a switch", hint="true or false")
        return text.lower() in ("true", "1")
    if type == "int":
        return int(text) if text.isdecimal() else text
    return None if type.endswith("None") and text.lower() == "none" else text


def parse_dims(given: list[str] | None) -> dict[str, int]:
    """``["N=2"]`` as a mapping."""
    dims = {}
    for text in given or ():
        name, _, size = text.rpartition("=")
        if not name or not size.isdigit():
            raise OptionError(f"--dim {text!r} is not NAME=SIZE")
        dims[name] = int(size)
    return dims


def console() -> Console:
    """Standard output. Not a terminal: wide enough that no table cell is cut, and no colours."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=200, no_color=True)


def waiting(what: str) -> AbstractContextManager[Any]:
    """Says on a terminal what is being done, as long as it takes."""
    return Console(stderr=True).status(what)


def table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    """A table with a title on the left; columns named in ``right`` hold numbers."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return made


def add(to: Table, *cells: object) -> None:
    """Adds a row of plain text: names may hold square brackets, which rich would take for markup."""
    from rich.text import Text

    to.add_row(*(Text(str(c)) for c in cells))


def write_json(data: Any) -> None:
    typer.echo(json.dumps(data, indent=2, default=str))


@contextmanager
def progress(what: str, shown: bool = True) -> Iterator[Callable[..., None]]:
    """A line on standard error that says what is done just now (text), and how much of it all is done (0 to 1) where
    that is told; nothing where standard error is no terminal."""
    errors = Console(stderr=True)
    if not shown or not errors.is_terminal:
        yield lambda text, share=None: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(what), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task("", total=None)

        def tell(text: str, share: float | None = None) -> None:
            bar.update(task, description=text, completed=share, total=None if share is None else 1.0)

        yield tell
