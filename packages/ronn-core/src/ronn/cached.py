"""``cached_property`` without a lock.

Before Python 3.12 that of ``functools`` has one for all objects of a class: whoever computes waits for the others, and
in a child that forked off meanwhile it stays taken for ever.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING or sys.version_info >= (3, 12):
    from functools import cached_property
else:

    class cached_property:
        """Computed when first asked for, and kept in the object's ``__dict__``. Two threads may both compute it."""

        def __init__(self, fn):
            self.fn = fn
            self.__doc__ = fn.__doc__

        def __set_name__(self, owner, name):
            self.name = name

        def __get__(self, instance, owner=None):
            if instance is None:
                return self
            found = instance.__dict__
            if self.name not in found:
                found[self.name] = self.fn(instance)
            return found[self.name]


__all__ = ["cached_property"]
