"""The plugin: adds ``ronn quantize`` and ``ronn put-weights`` to the command line."""

from __future__ import annotations

from typing import Any

from ronn.hookspecs import hookimpl


@hookimpl
def ronn_cli(app: Any) -> None:
    from ronn_provider_bitnet.cli import quantize
    from ronn_provider_bitnet.weights_cli import put_weights

    app.command("quantize", no_args_is_help=True)(quantize)
    app.command("put-weights", no_args_is_help=True)(put_weights)
