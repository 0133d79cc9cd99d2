"""Flights: requests that are equal and come together ask the expensive model once."""

from __future__ import annotations

import threading
from typing import Any

Key = tuple[str, bytes]


class Flight:
    """A run of the expensive model that others wait for."""

    __slots__ = ("done", "outputs")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.outputs: Any = None


class Flights:
    """The runs in progress, by namespace and digest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flying: dict[Key, Flight] = {}

    def join(self, key: Key) -> tuple[Flight, bool]:
        """The flight of this key, and whether it is the caller's own (who must ``land`` it)."""
        with self._lock:
            found = self._flying.get(key)
            if found is not None:
                return found, False
            found = self._flying[key] = Flight()
            return found, True

    def land(self, key: Key, outputs: Any) -> None:
        """Ends the caller's flight; outputs None: it failed, and whoever waits tries alone."""
        with self._lock:
            flight = self._flying.pop(key)
        flight.outputs = outputs
        flight.done.set()

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._flying = {}
