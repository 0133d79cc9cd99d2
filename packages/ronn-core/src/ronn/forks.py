"""Forks: locks that another thread of the parent held are nobody's in the child, so whoever has one makes it anew."""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from typing import Protocol


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
    for thing in list(_known):
        thing.after_fork()


def _before_fork() -> None:
    """Waits a moment while other threads import modules of RONN: in the child these would stay half imported, and their
    locks taken, for ever."""
    until = time.monotonic() + _PATIENCE
    while _importing() and time.monotonic() < until:
        time.sleep(0.001)


def _importing() -> bool:
    """Whether another thread imports a module of RONN or of its providers: Python has a lock for each meanwhile."""
    locks = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})
    owners = (getattr(ref(), "owner", None) for name, ref in list(locks.items()) if name.startswith("ronn"))
    return any(owner is not None and owner != threading.get_ident() for owner in owners)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
