"""The plugin: adds ``ronn serve`` to the command line. Imports nothing of the server."""

from __future__ import annotations

from typing import Any

from ronn.hookspecs import hookimpl


@hookimpl
def ronn_cli(app: Any) -> None:
    from ronn_serve.cli import serve

    app.command("serve", no_args_is_help=True)(serve)
