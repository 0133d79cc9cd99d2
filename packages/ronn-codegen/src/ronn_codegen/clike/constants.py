"""Constants in the memory of a device: written once for all programs of a launcher, held as long as one of them lives.

The host may let go of those whose identity is known (``ronn.identity``), for they are found again. Others, such as what
lowerings packed, stay with the host as well, so that the next plan neither packs nor uploads them again.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Hashable

import numpy as np

from ronn.forks import renew_after_fork
from ronn.identity import identity
from ronn.mapped import give_back
from ronn_codegen.clike.launcher import Launcher, Place


class Constant:
    """A constant on a device. Its memory goes back when nobody holds this any more. ``key`` tells equal ones."""

    __slots__ = ("__weakref__", "key", "place", "source")

    def __init__(self, launcher: Launcher, array: np.ndarray) -> None:
        whole = np.ascontiguousarray(array)
        memory = launcher.allocate(max(whole.nbytes, 1))
        weakref.finalize(self, launcher.free, memory).atexit = False
        self.place = Place(memory, 0, whole.nbytes)
        self.key: Hashable = id(self)
        self.source = array if identity(array) is None else None
        if whole.nbytes:
            launcher.write(self.place, whole)
            launcher.finish()


class Constants:
    """Those of one launcher, by the host arrays that they were made of (or what is known to be equal to these)."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = weakref.ref(launcher)
        self._known: dict[Hashable, tuple[weakref.ref[np.ndarray] | None, weakref.ref[Constant]]] = {}
        self._lock = threading.Lock()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """In a child process: a lock that another thread of the parent held is nobody's now."""
        self._lock = threading.Lock()

    def of(self, array: np.ndarray) -> Constant:
        """The constant that an array is on the device. MemoryLimitError where there is no room for it."""
        known = identity(array)
        key: Hashable = id(array) if known is None else known
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                made = found[1]()
                if made is not None and (found[0] is None or found[0]() is array):
                    return made
            launcher = self._launcher()
            assert launcher is not None
            made = Constant(launcher, array)
            give_back(array)

            def forget(ref: weakref.ref[Constant]) -> None:  # no lock: a collection may come while it is held
                held = self._known.get(key)
                if held is not None and held[1] is ref:
                    self._known.pop(key, None)

            self._known[key] = (weakref.ref(array) if known is None else None, weakref.ref(made, forget))
            return made


_of: weakref.WeakKeyDictionary[Launcher, Constants] = weakref.WeakKeyDictionary()


def constants_of(launcher: Launcher) -> Constants:
    """The constants that lie in the memory of a launcher."""
    found = _of.get(launcher)
    if found is None:
        found = _of.setdefault(launcher, Constants(launcher))
    return found
