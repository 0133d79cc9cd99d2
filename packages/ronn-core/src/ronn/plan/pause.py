"""No garbage collection while a plan is made: it makes many objects at once, most of which stay, and to look through
them again and again takes a tenth of the time."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

_paused: list[None] = []  # one for each thread that has switched the collector off; append and pop need no lock


@contextmanager
def collector_paused() -> Iterator[None]:
    """Switches Python's collector of cycles off inside, where it is on."""
    if not gc.isenabled():
        yield
        return
    _paused.append(None)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        _paused.pop()


def _resume() -> None:
    """In a child process: the thread that would switch the collector on again is not there."""
    if _paused:
        _paused.clear()
        gc.enable()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_resume)
