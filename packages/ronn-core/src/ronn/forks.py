"""Forks: locks that another thread of the parent held are nobody's in the child, so whoever has one makes it anew."""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from typing import Any, Protocol


class Forked(Protocol):
    """Something with locks, or with other things that belong to threads."""

    def after_fork(self) -> None:
        """In a child process, on its only thread, before anything else runs there."""


_PATIENCE = 2.0  # seconds that a fork waits for imports of other threads
_known: weakref.WeakSet[Forked] = weakref.WeakSet()


def renew_after_fork(thing: Forked) -> None:
    """Calls ``thing.after_fork()`` in child processes, as long as somebody else holds on to it."""
    _known.add(thing)


def _after_fork() -> None:
    _drop_half_imported()
    for thing in list(_known):
        thing.after_fork()


def _before_fork() -> None:
    """Waits a moment while other threads import modules of RONN, so that children find them whole."""
    until = time.monotonic() + _PATIENCE
    while _importing() and time.monotonic() < until:
        time.sleep(0.001)


def _drop_half_imported() -> None:
    """In a child process: modules of RONN that another thread of the parent was importing would stay half imported, and
    their locks taken, for ever. They are imported anew when needed."""
    for name in _importing():
        spec = getattr(sys.modules.get(name), "__spec__", None)
        if getattr(spec, "_initializing", False):
            del sys.modules[name]
        _module_locks().pop(name, None)


def _importing() -> list[str]:
    """The modules of RONN and of its providers that other threads import: Python has a lock for each meanwhile."""
    owners = [(name, getattr(ref(), "owner", None)) for name, ref in list(_module_locks().items())]
    return [n for n, owner in owners if n.startswith("ronn") and owner not in (None, threading.get_ident())]


def _module_locks() -> dict[str, Any]:
    found: dict[str, Any] = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})
    return found


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
