"""The server: uvicorn with the application, until it is told to end."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn

from ronn.errors import OptionError
from ronn_serve.app import create_app
from ronn_serve.models import Served

BACKLOG = 2048
"""Connections that may wait to be taken."""


def serve(
    served: Sequence[Served],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    grace: float = 30.0,
    connections: int = 1000,
    started: Callable[[int], object] = lambda port: None,
    log_level: str = "info",
    **options: Any,
) -> None:
    """Serves models until SIGINT or SIGTERM: then no connection is taken any more, and requests in progress get
    ``grace`` seconds to be answered.

    connections: at a time; more are answered with 503. port: 0 for a free one, which ``started`` is told. options: of
    ``create_app``. Raises OptionError when the port cannot be had, and the error of a model that cannot be loaded.
    """
    errors: list[Exception] = []

    def failed(model: Served, error: Exception) -> None:
        errors.append(error)
        server.should_exit = True

    app = create_app(served, failed=failed, **options)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level=log_level,
        lifespan="on",
        timeout_graceful_shutdown=max(1, round(grace)),
        limit_concurrency=connections,
        server_header=False,
    )
    server = uvicorn.Server(config)
    listener = _listen(host, port)
    try:
        started(int(listener.getsockname()[1]))
        with _signals_end_well():
            server.run(sockets=[listener])
    finally:
        listener.close()
    if errors:
        raise errors[0]


@contextmanager
def _signals_end_well() -> Iterator[None]:
    """uvicorn sends itself the signal that it ended for once more when it is done: let that one not end the process."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as e:
        listener.close()
        raise OptionError(f"cannot listen on {host}:{port}: {e.strerror}", hint="--port 0 takes a free one") from e
    return listener
