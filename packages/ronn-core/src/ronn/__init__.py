"""RONN: a plugin-based runtime for ONNX models.

    import ronn

    session = ronn.Session("model.onnx")
    scores = session.run({"image": array})["scores"]

Importing this package imports neither onnx, numpy, numba nor any provider: names are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ronn._version import __version__

if TYPE_CHECKING:
    from ronn import events
    from ronn.aio import load_async
    from ronn.batching.batcher import Batcher
    from ronn.batching.padding import Pad
    from ronn.custom import op, remove_op
    from ronn.errors import (
        BatchError,
        CancelledError,
        DeviceLostError,
        ExecutionError,
        InputError,
        InternalError,
        MemoryLimitError,
        ModelError,
        OptionError,
        PlacementError,
        ProviderError,
        QueueFullError,
        RonnError,
        RunTimeoutError,
        UnsupportedError,
    )
    from ronn.hookspecs import hookimpl
    from ronn.model import Model, load
    from ronn.numerics.bisect import bisect
    from ronn.numerics.compare import compare
    from ronn.options import SessionOptions
    from ronn.plan.stop import Stop
    from ronn.session import Session
    from ronn.threads import set_threads
    from ronn.values import Outputs, ValueInfo

_HOME = {
    "Batcher": "batching.batcher",
    "Pad": "batching.padding",
    "load_async": "aio",
    "load": "model",
    "Model": "model",
    "Session": "session",
    "SessionOptions": "options",
    "Outputs": "values",
    "Stop": "plan.stop",
    "ValueInfo": "values",
    "bisect": "numerics.bisect",
    "compare": "numerics.compare",
    "hookimpl": "hookspecs",
    "op": "custom",
    "remove_op": "custom",
    "set_threads": "threads",
    **dict.fromkeys(
        (
            "BatchError", "CancelledError", "DeviceLostError", "ExecutionError", "InputError", "InternalError",
            "MemoryLimitError", "ModelError", "OptionError", "PlacementError", "ProviderError", "QueueFullError",
            "RonnError", "RunTimeoutError", "UnsupportedError",
        ),
        "errors",
    ),
}  # fmt: skip

__all__ = [
    "BatchError",
    "Batcher",
    "CancelledError",
    "DeviceLostError",
    "ExecutionError",
    "InputError",
    "InternalError",
    "MemoryLimitError",
    "Model",
    "ModelError",
    "OptionError",
    "Outputs",
    "Pad",
    "PlacementError",
    "ProviderError",
    "QueueFullError",
    "RonnError",
    "RunTimeoutError",
    "Session",
    "SessionOptions",
    "Stop",
    "UnsupportedError",
    "ValueInfo",
    "__version__",
    "bisect",
    "compare",
    "events",
    "hookimpl",
    "load",
    "load_async",
    "op",
    "remove_op",
    "set_threads",
]


_MODULES = ("events",)
"""Modules that are there without being imported."""


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"ronn.{name}")
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'ronn' has no attribute {name!r}")
    if home != "errors":
        import_module("ronn.host").check_interpreter()
    value = getattr(import_module(f"ronn.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
