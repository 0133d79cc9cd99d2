"""The exceptions of onnxruntime, and what RONN's errors become.

All derive from Exception alone, as onnxruntime's do; each is raised from RONN's own error, which says more.
"""

from __future__ import annotations

import re

from ronn.errors import CancelledError, ExecutionError, InputError, MemoryLimitError, RonnError


class Fail(Exception):
    """Something failed that has no class of its own."""


class InvalidArgument(Exception):
    """An input, an output name or an argument does not fit."""


class NoSuchFile(Exception):
    """There is no such model file."""


class NoModel(Exception):
    """There is no model."""


class EngineError(Exception):
    """The engine failed."""


class RuntimeException(Exception):
    """A kernel failed while it ran."""


class InvalidProtobuf(Exception):
    """The bytes are no ONNX model."""


class ModelLoaded(Exception):
    """A model is loaded already."""


class NotImplemented(Exception):
    """The model is valid, but nothing here runs some of it."""


class InvalidGraph(Exception):
    """The graph breaks ONNX's rules."""


class EPFail(Exception):
    """An execution provider failed."""


class ModelLoadCanceled(Exception):
    """Loading was cancelled."""


class ModelRequiresCompilation(Exception):
    """The model must be compiled first."""


class NotFound(Exception):
    """Something was not found."""


class DeviceReset(Exception):
    """A device was reset."""


_CODES: dict[type[Exception], tuple[int, str]] = {
    Fail: (1, "FAIL"),
    InvalidArgument: (2, "INVALID_ARGUMENT"),
    NoSuchFile: (3, "NO_SUCHFILE"),
    NoModel: (4, "NO_MODEL"),
    EngineError: (5, "ENGINE_ERROR"),
    RuntimeException: (6, "RUNTIME_EXCEPTION"),
    InvalidProtobuf: (7, "INVALID_PROTOBUF"),
    ModelLoaded: (8, "MODEL_LOADED"),
    NotImplemented: (9, "NOT_IMPLEMENTED"),
    InvalidGraph: (10, "INVALID_GRAPH"),
    EPFail: (11, "EP_FAIL"),
    ModelLoadCanceled: (12, "MODEL_LOAD_CANCELED"),
    ModelRequiresCompilation: (13, "MODEL_REQUIRES_COMPILATION"),
    NotFound: (14, "NOT_FOUND"),
}

TERMINATED = "Exiting due to terminate flag being set to true."
_BAD_INDEX = re.compile(r"\b(index|indices|out of (range|bounds))\b")


def status(kind: type[Exception], message: str) -> Exception:
    """An exception with the text that onnxruntime gives it: ``[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : ...``."""
    code, name = _CODES[kind]
    return kind(f"[ONNXRuntimeError] : {code} : {name} : {message}")


def while_running(error: RonnError) -> Exception:
    """What a run raises in onnxruntime for what it raised in RONN."""
    if isinstance(error, CancelledError):
        return status(Fail, TERMINATED)
    if isinstance(error, InputError):
        return status(InvalidArgument, error.message)
    if isinstance(error, MemoryLimitError):
        return status(RuntimeException, error.message)
    op = "" if error.op is None else error.op.rpartition("::")[2]
    if not op:
        return status(Fail, str(error))
    bad_index = isinstance(error, ExecutionError) and _BAD_INDEX.search(error.message)
    text = error.message.removeprefix(f"{error.op} failed: ").removeprefix(f"{error.node_label}: ")
    return status(
        InvalidArgument if bad_index else Fail,
        f"Non-zero status code returned while running {op} node. Name:'{error.node_label}' Status Message: {text}",
    )
