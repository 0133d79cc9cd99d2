"""The application: its commands, ``--version``, and how errors are shown."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TextIO

import typer

from ronn import knobs
from ronn._version import __version__
from ronn.cli import EXIT_ERROR
from ronn.cli.bench import bench
from ronn.cli.bisect import bisect
from ronn.cli.cache import cache
from ronn.cli.check import check
from ronn.cli.compare import compare
from ronn.cli.convert import convert
from ronn.cli.doctor import doctor
from ronn.cli.explain import explain
from ronn.cli.export import export
from ronn.cli.inspect import inspect
from ronn.cli.new_provider import new_provider
from ronn.cli.passes import passes
from ronn.cli.profile import profile
from ronn.cli.providers import providers
from ronn.cli.run import run as run_model
from ronn.cli.split import split
from ronn.cli.warmup import warmup
from ronn.errors import RonnError

COMMANDS: dict[str, Callable[..., Any]] = {
    "run": run_model,
    "inspect": inspect,
    "check": check,
    "explain": explain,
    "profile": profile,
    "bench": bench,
    "compare": compare,
    "bisect": bisect,
    "convert": convert,
    "export": export,
    "split": split,
    "warmup": warmup,
    "cache": cache,
    "doctor": doctor,
    "providers": providers,
    "passes": passes,
    "new-provider": new_provider,
}

NEED_ARGUMENTS = (
    "run", "inspect", "check", "explain", "profile", "bench", "compare", "bisect", "convert", "export", "split",
    "new-provider",
)  # fmt: skip

EPILOG = (
    "Exit codes: 0 fine; 1 an error, which is told; 2 a wrong command line; 3 check found unsupported nodes; "
    "4 numbers differ; 5 numbers differ, and bisect could not say why."
)


def make_app(plugins: bool = True) -> typer.Typer:
    """The application, with the commands that plugins add through the hook ``ronn_cli``."""
    app = typer.Typer(
        name="ronn",
        help="Runs any ONNX model, and says where each node ran and why. No network code, no telemetry.",
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name, command in COMMANDS.items():
        app.command(name, no_args_is_help=name in NEED_ARGUMENTS)(command)
    if plugins:
        from ronn.plugins import registry

        registry().manager.hook.ronn_cli(app=app)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ronn {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version and leave.")
    ] = False,
) -> None:
    del version


def run(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; a RonnError is shown as its message (with a traceback when RONN_DEBUG is at least 1)."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            make_app()(args=None if arguments is None else list(arguments))
    except RonnError as e:
        if _debugging():
            raise
        sys.stderr.write(f"ronn: {type(e).__name__}: {e}\n")
        raise SystemExit(EXIT_ERROR) from None
    except OSError as e:
        if _debugging():
            raise
        sys.stderr.write(f"ronn: {e}\n")
        raise SystemExit(EXIT_ERROR) from None


def _debugging() -> bool:
    try:
        return knobs.DEBUG.get() >= 1
    except RonnError:
        return False


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    sys.stderr.write(f"ronn: {category.__name__}: {message}\n")
