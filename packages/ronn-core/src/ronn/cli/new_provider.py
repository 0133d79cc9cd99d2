"""``ronn new-provider``: makes a package with a provider in it, whose tests pass as it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ronn.cli.common import console


def new_provider(
    name: Annotated[str, typer.Argument(help="The provider's name, as sessions will list it.", show_default=False)],
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where the package goes.", show_default="ronn-provider-NAME")
    ] = None,
) -> None:
    """Make the package of a new provider: two kernels, entry point, conformance test; its tests pass as generated.

    Example:

        ronn new-provider toy
    """
    from ronn.scaffold import create_provider

    place = folder if folder is not None else Path(f"ronn-provider-{name}")
    out = console()
    for file in create_provider(name, place):
        out.print(f"wrote {file}", markup=False, soft_wrap=True)
    command = f'pip install -e "{place}[test]" && python -m pytest {place} && ronn providers'
    out.print(f"next: {command}", markup=False, soft_wrap=True)
