"""The error tree. Every exception that RONN raises on purpose is a ``RonnError``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ronn.ir.graph import Node, Value

_SHOWN = 5  # errors of a batch that its message tells


class ModelWarning(UserWarning):
    """Something about a model file that may matter, but does not keep it from loading."""


class ProviderWarning(UserWarning):
    """A provider that was listed is not there, or has no device; the others that were listed are used."""


class RonnError(Exception):
    """Base of all errors of RONN: a message, where it happened, and a hint about what to do."""

    pass_name: str | None = None
    """The pass that raised it or met it, where one did."""

    def __init__(self, message: str, *, node: Node | None = None, hint: str | None = None, detail: str = "") -> None:
        self.message = message
        self.node_label = None if node is None else node.label
        self.op = None if node is None else node.op_id
        self.hint = hint
        lines = [message]
        if node is not None:
            lines.append(describe_node(node))
        if detail:
            lines.append(detail)
        if hint:
            lines.append(f"hint: {hint}")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), str(self), self.__dict__))


def _rebuild(cls: type[RonnError], text: str, state: dict[str, object]) -> RonnError:
    try:
        error = cls.__new__(cls)
    except TypeError:  # what Python finds first among several built-in bases need not be what makes its objects
        error = BaseException.__new__(cls)
    Exception.__init__(error, text)
    error.__dict__.update(state)
    return error


class ModelError(RonnError):
    """The model file or bytes cannot be read, break ONNX's rules, or exceed a bound."""


class UnsupportedError(RonnError):
    """The model is well formed, but nothing here can run some of it."""


class PlacementError(UnsupportedError):
    """The providers asked for cannot take every node, and no fallback was listed."""


class ProviderError(RonnError):
    """A provider is unknown, unavailable, broken, or broke its contract."""


class InputError(RonnError, ValueError):
    """What was handed to ``run`` does not fit the model's inputs."""


class OptionError(RonnError, ValueError):
    """An option or setting is unknown or has a value that it cannot have."""


class ExecutionError(RonnError):
    """A node failed while the model ran."""


class DeviceLostError(ExecutionError):
    """A device is gone, or failed so that nothing can run on it any more. Sessions made afterwards look for it anew."""


class MemoryLimitError(RonnError, MemoryError):
    """The run would need more memory than the cap allows."""


class CancelledError(RonnError):
    """The run was cancelled or timed out between kernels. The session can be used on."""


class RunTimeoutError(CancelledError, TimeoutError):
    """The run was not done within its ``timeout``."""


class QueueFullError(RonnError):
    """As many requests are waiting as may: the request was not taken (nothing of it ran)."""


class BatchError(RonnError):
    """Some requests of a batch failed. ``errors``: by the request's place; ``results``: of all requests, in order, with
    the error in the place of what failed."""

    def __init__(self, errors: Mapping[int, RonnError], results: Sequence[object]) -> None:
        self.errors = dict(errors)
        self.results = list(results)
        shown = "\n".join(f"  request {i}: {type(e).__name__}: {e.message}" for i, e in list(errors.items())[:_SHOWN])
        more = f"\n  and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
        super().__init__(
            f"{len(errors)} of {len(results)} requests failed",
            detail=shown + more,
            hint="the error's `results` has the others; return_exceptions=True gives errors instead of raising this",
        )


class InternalError(RonnError):
    """RONN broke one of its own rules (a pass, the verifier, the plan): please report it."""


def session_closed() -> RonnError:
    """The error of whoever uses a session that was closed."""
    return RonnError("the session is closed", hint="make a new one; `with ronn.Session(...)` closes it at its end")


def describe_value(value: Value | None) -> str:
    """``%x: f32[1,3] (from Conv 'conv1')``"""
    if value is None:
        return "_"
    origin = ""
    if value.producer is not None:
        origin = f" (from {value.producer.op_id} {value.producer.label!r})"
    elif value.is_const:
        origin = " (constant)"
    return f"%{value.name}: {value.type if value.type is not None else '?'}{origin}"


def describe_node(node: Node) -> str:
    """Operator, opset, provider, inputs with types and producers: the block that errors carry."""
    lines = [f"  node     {node.label!r}", f"  op       {node.op_id} (opset {node.version})"]
    if node.provider is not None:
        lines.append(f"  provider {node.provider}")
    lines += [f"  input    {describe_value(v)}" for v in node.inputs]
    return "\n".join(lines)


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The known name that ``name`` probably meant, for hints."""
    import difflib

    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return found[0] if found else None
