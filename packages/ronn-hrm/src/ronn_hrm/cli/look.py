"""``ronn hrm certificate``, ``replay`` and ``report``: what a folder holds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ronn.cli import EXIT_DIFFERS
from ronn.cli.common import JsonOpt, add, console, table, write_json
from ronn_hrm.cli.common import FolderArg, check_new, opened

if TYPE_CHECKING:
    from ronn_hrm.replay import Checked, Replayed


def certificate(
    folder: FolderArg,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.json", help="Write it, as JSON.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite what is there.")] = False,
    json: JsonOpt = False,
) -> None:
    """Show what is certified for the state that serves, with all that has to hold for it.

    Exit code 4 where nothing is certified.

    Examples:

        ronn hrm certificate state/

        ronn hrm certificate state/ --json
    """
    from ronn_hrm.report.data import why_not

    with opened(folder) as kept:
        found, phase = kept.certificate, kept.phase
        reason = "" if found is not None and phase == "certified" else why_not(kept)
    if found is not None and output is not None:
        check_new(output, overwrite)
        found.save(output)
    if json:
        write_json({"phase": phase, "reason": reason, "certificate": None if found is None else found.as_data()})
    elif found is not None and not reason:
        console().print(str(found), markup=False, soft_wrap=True)
    else:
        console().print(reason, markup=False, soft_wrap=True)
    if found is None or reason:
        raise typer.Exit(EXIT_DIFFERS)


def replay(
    folder: FolderArg,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy", metavar="NAME[=VALUE]", show_default="the baselines and the state as it is",
            help="always-full, cache, always-fast, static-threshold=0.9, size, tuned=ALPHA, current, cascade=ALPHA, "
            "budgeted=0.2 or oracle; may be repeated.",
        ),
    ] = None,
    alpha: Annotated[
        list[float] | None,
        typer.Option("--alpha", metavar="SHARE", help="The state certified anew at this risk; may be repeated."),
    ] = None,
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="With an exact cache in front.")] = True,
    limit: Annotated[int, typer.Option(min=1, help="Of the log, the latest so many requests.")] = 100_000,
    json: JsonOpt = False,
) -> None:  # fmt: skip
    """Take the requests of a log anew, under other policies and other risks; and decide each again as it was.

    Nothing runs: features and losses are those of the log. Exit code 4 where a decision does not come out again, to
    the bit, on the state that made it.

    Examples:

        ronn hrm replay state/

        ronn hrm replay state/ --policy current --policy static-threshold=0.95 --alpha 0.005 --alpha 0.02
    """
    from ronn_hrm.contenders import BASELINES, contender
    from ronn_hrm.replay import check
    from ronn_hrm.replay import replay as run
    from ronn_hrm.report.data import StatesById, stream_for

    asked = [*(policy if policy is not None else () if alpha else BASELINES), *(f"cascade={a:g}" for a in alpha or ())]
    rows: list[Replayed] = []
    left_out: list[tuple[str, str]] = []
    with opened(folder) as kept:
        logged, state = kept.store.logged(limit=limit), kept.needed_state()
        stream = stream_for(kept, logged, state)
        for text in asked:
            made = contender(text, stream, state, kept.guarantee, kept.audit_rate, cache=cache)
            if isinstance(made, str):
                left_out.append((text, made))
            else:
                rows.append(run(stream, made, kept.guarantee))
        found = check(logged, StatesById(kept))
    if json:
        reasons = [{"policy": name, "why": why} for name, why in left_out]
        write_json({"policies": [r.as_data() for r in rows], "left_out": reasons, "check": found.as_data()})
    else:
        show(rows, left_out, found)
    if not found.sound:
        raise typer.Exit(EXIT_DIFFERS)


def show(rows: list[Replayed], left_out: list[tuple[str, str]], found: Checked) -> None:
    """The results as a table."""
    from ronn.profile.report import time_text

    columns = ("policy", "expensive runs", "cache", "cheap", "expensive", "risk", "bound", "threshold", "mean time")
    requests = rows[0].requests if rows else found.logged
    title = f"{requests} requests, {rows[0].audited if rows else 0} of them audited"
    shown = table(title, *columns, right=columns[1:])
    for r in rows:
        add(
            shown, r.name, f"{r.runs:.3f}", *(_share(v) for v in (r.cache, r.fast, r.full, r.risk, r.bound)),
            f"{r.lam:.3f}" if math.isfinite(r.lam) else "", "" if math.isnan(r.seconds) else time_text(r.seconds),
        )  # fmt: skip
    out: Any = console()
    out.print(shown)
    for name, why in left_out:
        out.print(f"{name}: {why}", markup=False, soft_wrap=True)
    out.print(str(found), markup=False, soft_wrap=True)


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2%}"


def report(
    folder: FolderArg,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.html", help="Where to write it.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite what is there.")] = False,
    json: JsonOpt = False,
) -> None:
    """Write one HTML page that needs no network: certificate, risk against share, requests over time, events, memory,
    baselines, and the latest decisions with their reasons. With --json also what is on it, to standard output.

    Examples:

        ronn hrm report state/ -o routing.html
    """
    from ronn_hrm.report import report_data, save

    check_new(output, overwrite)
    with opened(folder) as kept:
        save(kept, output)
        data = report_data(kept) if json else {}
    if json:
        from ronn.page import embedded

        typer.echo(embedded(data))
    else:
        console().print(f"wrote {output}", markup=False, soft_wrap=True)
