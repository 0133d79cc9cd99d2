"""``ronn hrm``: the commands of routing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from ronn_hrm.cli.keep import forget, restore, snapshot
from ronn_hrm.cli.look import certificate, replay, report
from ronn_hrm.cli.make import advise, calibrate, sleep

COMMANDS: dict[str, Callable[..., Any]] = {
    "advise": advise,
    "calibrate": calibrate,
    "certificate": certificate,
    "replay": replay,
    "report": report,
    "sleep": sleep,
    "snapshot": snapshot,
    "restore": restore,
    "forget": forget,
}


def group() -> typer.Typer:
    """The commands, as a group of the application."""
    made = typer.Typer(
        name="hrm",
        help="A cheap model in front of an expensive one: whether it pays, what is certified, what was remembered.",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name, command in COMMANDS.items():
        made.command(name, no_args_is_help=True)(command)
    return made
