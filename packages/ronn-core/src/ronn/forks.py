"""Forks: locks that another thread of the parent held are nobody's in the child, so whoever has one makes it anew."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """Something with locks, or with other things that belong to threads."""

    def after_fork(self) -> None:
        """In a child process, on its only thread, before anything else runs there."""


_known: weakref.WeakSet[Forked] = weakref.WeakSet()


def renew_after_fork(thing: Forked) -> None:
    """Calls ``thing.after_fork()`` in child processes, as long as somebody else holds on to it."""
    _known.add(thing)


def _after_fork() -> None:
    for thing in list(_known):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
