"""``ronn npu``: the commands of accelerators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from ronn_provider_npu.cli.devices import devices
from ronn_provider_npu.cli.look import estimate, explain
from ronn_provider_npu.cli.profiles import profile, profiles
from ronn_provider_npu.cli.quantize import quantize

COMMANDS: dict[str, Callable[..., Any]] = {
    "devices": devices,
    "profiles": profiles,
    "profile": profile,
    "explain": explain,
    "estimate": estimate,
    "quantize": quantize,
}
_PLAIN = ("devices", "profiles")
"""Those that need no arguments."""


def group() -> typer.Typer:
    """The commands, as a group of the application."""
    made = typer.Typer(
        name="npu",
        help="OpenCL devices and accelerators: what there is, what a profile takes of a model, what a run may cost.",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name, command in COMMANDS.items():
        made.command(name, no_args_is_help=name not in _PLAIN)(command)
    return made
