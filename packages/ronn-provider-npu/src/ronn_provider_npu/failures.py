"""Errors of OpenCL as errors of RONN."""

from __future__ import annotations

import pyopencl as cl

from ronn.errors import DeviceLostError, ExecutionError, MemoryLimitError, RonnError

_code = cl.status_code
NO_MEMORY = frozenset(
    {_code.MEM_OBJECT_ALLOCATION_FAILURE, _code.OUT_OF_RESOURCES, _code.OUT_OF_HOST_MEMORY, _code.INVALID_BUFFER_SIZE}
)
LOST = frozenset(
    {
        _code.DEVICE_NOT_AVAILABLE, _code.DEVICE_NOT_FOUND, _code.INVALID_DEVICE, _code.INVALID_CONTEXT,
        _code.INVALID_COMMAND_QUEUE, _code.INVALID_PLATFORM,
    }
)  # fmt: skip
_MEMORY_HINT = "run smaller inputs or fewer runs at once; `session.trim()` gives back what no run uses"
_LOST_HINT = "make a new session, which looks for the device anew, or list another provider behind this one"


def failure(device: str, error: cl.Error, doing: str) -> RonnError:
    """What an error of OpenCL means that came while ``doing`` something on a device."""
    code = getattr(error, "code", None)
    name = _code.to_string(code, "error %d") if code is not None else str(error)
    if code in NO_MEMORY or isinstance(error, cl.MemoryError):
        return MemoryLimitError(f"{device} has no memory left for {doing} ({name})", hint=_MEMORY_HINT)
    if code in LOST:
        return DeviceLostError(f"{device} was lost at {doing} ({name})", hint=_LOST_HINT)
    return ExecutionError(f"{device} failed at {doing} ({name})")
