"""``ronn serve``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ronn.cli.common import DimOpt, OptionOpt, ProviderOpt, session_options


def serve(
    models: Annotated[
        list[str],
        typer.Argument(help="FILE, NAME=FILE, or a folder of models.", metavar="MODEL...", show_default=False),
    ],
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for a free one.")] = 8000,
    max_batch: Annotated[int, typer.Option(min=1, help="Rows that one run has at most; 1 joins nothing.")] = 32,
    max_wait: Annotated[float, typer.Option(min=0.0, help="Milliseconds that a request waits for others.")] = 2.0,
    queue: Annotated[int, typer.Option(min=1, help="Requests that may wait, of each model; more are refused.")] = 256,
    join: Annotated[
        bool, typer.Option("--join", help="Join requests also where it is not proved that their rows stay apart.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=0.0, help="Seconds that a request may take, waiting included.")] = 30.0,
    max_request: Annotated[str, typer.Option(help="Bytes that a request may have.", metavar="SIZE")] = "64MB",
    max_connections: Annotated[int, typer.Option(min=1, help="Connections at a time; more are refused.")] = 1000,
    grace: Annotated[float, typer.Option(min=0.0, help="Seconds for requests in progress at the end.")] = 30.0,
    metrics: Annotated[bool, typer.Option(help="Whether /metrics is there, for Prometheus.")] = True,
    provider: ProviderOpt = None,
    dim: DimOpt = None,
    option: OptionOpt = None,
    log_level: Annotated[str, typer.Option(help="critical, error, warning, info or debug.")] = "info",
) -> None:
    """Serve models over HTTP: the KServe v2 protocol, with dynamic batching.

    Requests that come close in time run together where that gives the same results. Ends at Ctrl-C or SIGTERM, when
    requests in progress are answered. Anybody who reaches the port may use it: it has neither passwords nor encryption.

    Examples:

        ronn serve model.onnx

        ronn serve digits=mnist.onnx texts=encoder.onnx --port 9000 --max-wait 5

        ronn serve models/ --host 0.0.0.0 --option memory_limit=2GB
    """
    import logging

    from ronn.errors import OptionError, nearest

    levels = ("critical", "error", "warning", "info", "debug")
    if log_level not in levels:
        near = nearest(log_level, levels)
        raise OptionError(f"--log-level {log_level} is not known", hint=f"did you mean {near}?" if near else None)
    from ronn_serve.models import from_paths
    from ronn_serve.server import serve as run

    batching: dict[str, Any] = {
        "max_batch": max_batch, "max_wait": max_wait / 1e3, "queue": queue, "join": True if join else None
    }  # fmt: skip
    if max_batch == 1:
        batching["join"] = False
    served = from_paths(
        models,
        providers=provider,
        options=session_options("full", None, dim, option),
        batching=batching,
        timeout=timeout,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(name)s: %(message)s"))
    logger = logging.getLogger("ronn")
    logger.addHandler(handler)
    logger.setLevel(log_level.upper())

    def started(port: int) -> None:
        typer.echo(f"serving {', '.join(m.name for m in served)} on http://{host}:{port}/v2")

    run(
        served,
        host=host,
        port=port,
        grace=grace,
        connections=max_connections,
        started=started,
        log_level=log_level,
        max_request=max_request,
        metrics=metrics,
    )
