"""``ronn cache``: what providers keep on disk for later sessions."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ronn.cli import EXIT_ERROR
from ronn.cli.common import JsonOpt, add, console, size_text, table, write_json

if TYPE_CHECKING:
    from ronn.provider import CachedFile, Provider


class Action(StrEnum):
    """What to do with the cache."""

    LS = "ls"
    CLEAR = "clear"
    VERIFY = "verify"
    PATH = "path"


def cache(
    action: Annotated[
        Action,
        typer.Argument(help="ls: groups and sizes; verify: check every file; clear: delete all; path: where it is."),
    ] = Action.LS,
    json: JsonOpt = False,
) -> None:
    """Show, check or clear what is kept for later sessions: machine code of kernels, by kind of machine.

    The cache is safe to clear at any time: running sessions go on, later ones compile again. Damaged files are noticed
    and made again without `verify`. Exit code of `verify`: 0 all sound, 1 some are not.

    Examples:

        ronn cache ls

        ronn cache verify --json
    """
    from ronn.host import cache_folder

    if action is Action.PATH:
        write_json({"folder": str(cache_folder())}) if json else typer.echo(str(cache_folder()))
        return
    rows = [row for provider in _providers() for row in _rows(provider, action)]
    data = {"folder": str(cache_folder()), "files": rows}
    if json:
        write_json(data)
    else:
        show(action, data)
    if action is Action.VERIFY and any(row["problem"] for row in rows):
        raise typer.Exit(EXIT_ERROR)


def _providers() -> list[Provider]:
    from ronn.plugins import registry

    return [r.provider for r in registry().records if r.provider is not None and r.ok]


def _rows(provider: Provider, action: Action) -> list[dict[str, Any]]:
    rows = []
    for file in provider.cached_files():
        problem = provider.check_cached(file) if action is Action.VERIFY else ""
        row = {"file": str(file.path), "group": file.group, "current": file.current, "bytes": _size(file)}
        if action is Action.CLEAR:
            try:
                Path(file.path).unlink(missing_ok=True)
            except OSError as e:
                problem = str(e)
        rows.append({**row, "problem": problem})
    return rows


def _size(file: CachedFile) -> int:
    try:
        return file.path.stat().st_size
    except OSError:
        return 0


def show(action: Action, data: dict[str, Any]) -> None:
    out = console()
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in data["files"]:
        groups.setdefault(row["group"], []).append(row)
    shown = table(f"Cache in {data['folder']}", "group", "files", "size", "used here", right=("files", "size"))
    for group, rows in groups.items():
        add(shown, group, len(rows), size_text(sum(r["bytes"] for r in rows)), "yes" if rows[0]["current"] else "no")
    out.print(shown if groups else f"nothing in {data['folder']}", markup=False)
    bad = [row for row in data["files"] if row["problem"]]
    for row in bad:
        told = row["problem"] if row["file"] in row["problem"] else f"{row['file']}: {row['problem']}"
        out.print(told, style="red", markup=False, soft_wrap=True)
    if action is Action.VERIFY:
        out.print(f"{len(data['files'])} files, {len(bad)} of them not sound (they will be made again)")
    if action is Action.CLEAR:
        total = sum(row["bytes"] for row in data["files"])
        out.print(f"deleted {len(data['files']) - len(bad)} files, {size_text(total)}")
