"""Serves ONNX models over HTTP with RONN: the KServe v2 protocol (Open Inference Protocol), with dynamic batching.

    from ronn_serve import Served, create_app

    app = create_app([Served("digits", "digits.onnx")])       # any ASGI server runs it

``ronn serve MODEL...`` is a whole server. This package is the only one of RONN that has network code.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ronn_serve._version import __version__

if TYPE_CHECKING:
    from ronn_serve.app import create_app
    from ronn_serve.models import Served
    from ronn_serve.server import serve

_HOME = {"create_app": "app", "Served": "models", "serve": "server"}

__all__ = ["Served", "__version__", "create_app", "serve"]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'ronn_serve' has no attribute {name!r}")
    return getattr(import_module(f"ronn_serve.{home}"), name)
