"""The plugin: adds ``ronn quantize`` to the command line. Imports nothing of the quantiser."""

from __future__ import annotations

from typing import Any

from ronn.hookspecs import hookimpl


@hookimpl
def ronn_cli(app: Any) -> None:
    from ronn_provider_bitnet.cli import quantize

    app.command("quantize", no_args_is_help=True)(quantize)
