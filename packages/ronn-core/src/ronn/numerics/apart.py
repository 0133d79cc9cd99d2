"""Work in a child process, so that what kills it (a crash of native code, a run without end) can be told and gone on
from. Where processes cannot fork the work is done here."""

from __future__ import annotations

import os
import pickle
import select
import signal
import struct
import time
import warnings
from collections.abc import Callable
from typing import Any

from ronn.errors import ExecutionError, RonnError
from ronn.records import dataclass, field

Work = Callable[[Callable[[Any], None]], Any]
"""Gets a function that tells the parent how far it is; returns something that can be pickled."""


@dataclass
class Outcome:
    """result: what the work returned. error: what it raised, or that it crashed or took too long. ``died``: the process
    did not live to say so. told: what it told on the way."""

    result: Any = None
    error: Exception | None = None
    died: bool = False
    told: list[Any] = field(default_factory=list)


def can_fork() -> bool:
    """Whether ``apart`` has a process to work in."""
    return hasattr(os, "fork")


def here(work: Work) -> Outcome:
    """Does the work in this process."""
    told: list[Any] = []
    try:
        return Outcome(work(told.append), told=told)
    except Exception as e:
        return Outcome(error=e, told=told)


def apart(work: Work, timeout: float | None = None) -> Outcome:
    """Does the work in a child. ``timeout`` in seconds, after which the child is killed."""
    if not can_fork():
        return here(work)
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # The child runs models, whose locks and threads are made anew after a fork.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(reader)
        _child(work, writer)
    os.close(writer)
    return _parent(child, reader, timeout)


def _child(work: Work, writer: int) -> None:
    """Never returns."""
    code = 1
    try:
        try:
            message: tuple[str, Any] = ("result", work(lambda what: _send(writer, ("told", what))))
        except RonnError as e:
            message = ("error", e)
        except Exception as e:
            message = ("error", ExecutionError(f"{type(e).__name__}: {e}"))
        _send(writer, message)
        code = 0
    finally:
        os._exit(code)


def _send(writer: int, message: tuple[str, Any]) -> None:
    data = pickle.dumps(message, protocol=5)
    view = memoryview(struct.pack("<Q", len(data)) + data)
    while view:
        view = view[os.write(writer, view) :]


def _parent(child: int, reader: int, timeout: float | None) -> Outcome:
    outcome = Outcome()
    deadline = None if timeout is None else time.monotonic() + timeout
    finished, late = False, False
    buffer = bytearray()
    try:
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([reader], [], [], left)[0]:
                late = True
                os.kill(child, signal.SIGKILL)
                break
            chunk = os.read(reader, 1 << 20)
            if not chunk:
                break
            buffer += chunk
            while len(buffer) >= 8 and len(buffer) >= 8 + (size := struct.unpack_from("<Q", buffer)[0]):
                kind, what = pickle.loads(bytes(buffer[8 : 8 + size]))
                del buffer[: 8 + size]
                if kind == "told":
                    outcome.told.append(what)
                    continue
                finished = True
                if kind == "result":
                    outcome.result = what
                else:
                    outcome.error = what
    finally:
        os.close(reader)
        _, status = os.waitpid(child, 0)
    if late:
        outcome.error, outcome.died = ExecutionError(f"no result after {timeout:g} s"), True
    elif not finished:
        outcome.error, outcome.died = ExecutionError(f"the process died: {_reason(status)}"), True
    return outcome


def _reason(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return signal.Signals(number).name
        except ValueError:
            return f"signal {number}"
    return f"exit code {os.waitstatus_to_exitcode(status)}"
