"""``ronn hrm snapshot``, ``restore`` and ``forget``: what is kept, for how long."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from ronn.cli.common import JsonOpt, console, write_json
from ronn.errors import OptionError
from ronn_hrm.cli.common import FolderArg, folder_of, opened


def snapshot(
    folder: FolderArg,
    target: Annotated[Path, typer.Argument(help="A new folder for the copy.", show_default=False, metavar="TARGET")],
    json: JsonOpt = False,
) -> None:
    """Copy memory as it is at one moment: episodes, log, states, the secret key. Sessions may go on meanwhile.

    Examples:

        ronn hrm snapshot state/ backup/
    """
    from ronn_hrm.memory.snapshot import snapshot as copy

    with opened(folder) as kept:
        copy(kept.store, kept.archive, target)
        sizes = kept.store.sizes()
    if json:
        write_json({"target": str(target), "episodes": sizes["episodes"], "requests": sizes["requests"]})
    else:
        told = f"{sizes['episodes']} episodes, {sizes['requests']} requests"
        console().print(f"wrote {target}: {told}", markup=False, soft_wrap=True)


def restore(
    source: Annotated[Path, typer.Argument(help="The snapshot.", show_default=False, metavar="SOURCE")],
    folder: FolderArg,
    json: JsonOpt = False,
) -> None:
    """Put a snapshot in place of what FOLDER holds. No session may have it open.

    Examples:

        ronn hrm restore backup/ state/
    """
    from ronn_hrm.memory.snapshot import restore as put

    home = folder_of(folder)
    put(source, home)
    if json:
        write_json({"folder": str(home), "source": str(source)})
    else:
        console().print(f"{home} is as {source} was", markup=False, soft_wrap=True)


def forget(
    folder: FolderArg,
    digest: Annotated[
        str | None, typer.Option(metavar="HEX", help="Of one input, as the log has it.", show_default="any")
    ] = None,
    namespace: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of one tenant.", show_default="all")
    ] = None,
    before: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="Older than 30d, 12h, or a date as 2026-01-31.", show_default="any time"),
    ] = None,
    json: JsonOpt = False,
) -> None:  # fmt: skip
    """Remove episodes, log entries and kept answers for which all that is given holds, and states that remember them.

    Where the state that serves is among these, what is certified goes with it: a session then sends everything to the
    expensive model until there is a new certificate. No session may have the folder open; one that runs has
    `session.forget()`, which certifies anew at once. Adapters and students that learnt from it stay until they are
    made anew.

    Examples:

        ronn hrm forget state/ --before 30d
    """
    from ronn_hrm.forgetting import forget as remove

    key = None if digest is None else _bytes(digest)
    found = remove(
        folder_of(folder), digest=key, namespace=namespace, before=None if before is None else _seconds(before)
    )
    if json:
        write_json(found)
    else:
        told = f"forgot {found['episodes']} episodes and kept answers, {len(found['states'])} states"
        told += "; nothing is certified until records certify it anew" if found["voided"] else ""
        console().print(told, markup=False, soft_wrap=True)


def _bytes(text: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != 16:
        raise OptionError(f"--digest {text!r} is not the digest of an input", hint="32 hex digits")
    return found


def _seconds(text: str) -> float:
    """Seconds since 1970 of an age or a date."""
    from ronn_hrm.memory.settings import seconds_of

    try:
        return time.time() - seconds_of(text)
    except OptionError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise OptionError(f"--before {text!r} is neither an age nor a date", hint="30d, 12h, 2026-01-31") from None
