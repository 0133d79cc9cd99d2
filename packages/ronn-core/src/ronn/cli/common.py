"""What the commands share: options, sessions, consoles, JSON."""

from __future__ import annotations

import json
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
    from ronn.values import ValueInfo

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
JsonOpt = Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")]


def session_options(optimization: str, disabled: list[str] | None, dims: list[str] | None) -> SessionOptions:
    """The options of a session as the command line gives them."""
    from ronn.options import SessionOptions

    return SessionOptions(optimization=optimization, disabled_passes=tuple(disabled or ()), dimensions=parse_dims(dims))


def open_session(
    model: Path, providers: list[str] | None, optimization: str, disabled: list[str] | None, dims: list[str] | None
) -> Session:
    """A session on the model file."""
    from ronn.model import Model
    from ronn.session import Session

    loaded = Model.load(model)
    check_dims(parse_dims(dims), loaded.inputs)
    return Session(loaded, providers=providers, options=session_options(optimization, disabled, dims))


def check_dims(dims: dict[str, int], inputs: list[ValueInfo]) -> None:
    """OptionError for a size of a dim that no input of the model has."""
    from ronn.errors import nearest

    known = sorted({d for i in inputs for d in i.shape or () if isinstance(d, str)})
    for name in dims:
        if name not in known:
            near = nearest(name, known)
            raise OptionError(
                f"the inputs have no dim {name!r}; their symbolic dims: {', '.join(known) or 'none'}",
                hint=f"did you mean {near!r}?" if near else None,
            )


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
