"""The plugin: adds ``ronn npu`` to the command line."""

from __future__ import annotations

from typing import Any

from ronn.hookspecs import hookimpl


@hookimpl
def ronn_cli(app: Any) -> None:
    from ronn_provider_npu.cli import group

    app.add_typer(group(), name="npu")
