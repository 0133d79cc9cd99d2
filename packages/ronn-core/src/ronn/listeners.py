"""Who listens to events: the machinery behind ``ronn.events``, which has the kinds. Imports little.

Whatever happens calls ``emit`` with a kind's name and its fields; the record is made when somebody listens.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any

from ronn.debug import ERROR, tell

if TYPE_CHECKING:
    from ronn.events import Event

Listener = Callable[[Any], object]

watching_runs = False
"""Whether anybody listens to runs: what ``Session.run`` looks at."""

RUN_KINDS = frozenset({"RunStarted", "RunFinished", "RunFailed", "RunCancelled"})
_EARLY = 16  # events kept for listeners of plugins until these are discovered
_lock = threading.Lock()
_subscriptions: tuple[Subscription, ...] = ()
_listeners: dict[str, tuple[Subscription, ...]] = {}
_early: list[tuple[str, float, dict[str, Any]]] | None = []
_plugged: list[Subscription] = []
_telling = threading.local()
_numbers = count(1)



class Run:
    """A run that somebody listens to: its number, and the types of its inputs as text."""

    __slots__ = ("number", "signature")

    def __init__(self, signature: str = "") -> None:
        self.number = next(_numbers)
        self.signature = signature


current: ContextVar[Run | None] = ContextVar("ronn_run", default=None)
"""The run in progress in this context, while anybody listens to runs."""

waited: ContextVar[float] = ContextVar("ronn_waited", default=0.0)
"""Seconds that a run which starts in this context has been waiting to."""


class Subscription:
    """What ``subscribe`` returns. ``close()``, or leaving it as a context manager, ends it. ``failures`` counts calls
    that raised: the first is told through the logger ``ronn.events``, and none harms what is told about."""

    def __init__(self, listener: Listener, kinds: frozenset[str]) -> None:
        self.listener = listener
        self.kinds = kinds
        self.failures = 0
        _change(lambda now: (*now, self))

    def close(self) -> None:
        """No more calls. Closing twice is fine."""
        _change(lambda now: tuple(s for s in now if s is not self))

    def _tell(self, event: Event) -> None:
        try:
            self.listener(event)
        except Exception as error:
            self.failures += 1
            if self.failures == 1:
                text = f"listener {self.listener!r} raised at {event.kind}; said once"
                tell(ERROR, "events", text, error=error)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def watched(kind: str) -> bool:
    """Whether events of this kind have to be made: somebody listens, or might, once plugins are discovered."""
    return kind in _listeners or _early is not None


def emit(kind: str, **fields: Any) -> None:
    """Tells those who listen that something has just happened. Never raises because of them."""
    at = monotonic()
    if _early is not None and len(_early) < _EARLY:
        _early.append((kind, at, fields))
    listeners = _listeners.get(kind)
    if listeners is not None:
        _tell(_make(kind, at, fields), listeners)


def next_number() -> int:
    """A number for a session or run: unique in this process."""
    return next(_numbers)


def current_run() -> int | None:
    """The number of the run in progress in this context; None while nobody listens to runs."""
    run = current.get()
    return None if run is None else run.number


def note_signature(signature: str) -> None:
    """Tells the run in progress, if anybody listens to it, the types of its inputs."""
    run = current.get()
    if run is not None:
        run.signature = signature


def plug(found: Iterable[tuple[str, Callable[[], Any]]]) -> None:
    """Takes listeners of plugins: of each its name and its hook. What happened before they were known is told now."""
    global _early
    unplug()
    for name, hook in found:
        from ronn.events import subscribe

        try:
            for given in hook():
                listener, wanted = given if isinstance(given, tuple) else (given, None)
                _plugged.append(subscribe(listener, wanted))
        except Exception as error:
            tell(ERROR, "events", f"listeners of plugin {name!r} are left out", error=error)
    early, _early = _early, None
    for kind, at, fields in early if early is not None else ():
        if listeners := [s for s in _plugged if kind in s.kinds]:
            _tell(_make(kind, at, fields), listeners)


def unplug() -> None:
    """Forgets the listeners of plugins."""
    while _plugged:
        _plugged.pop().close()


def _make(kind: str, at: float, fields: dict[str, Any]) -> Event:
    from ronn import events

    made: Event = getattr(events, kind)(at=at, **fields)
    return made


def _tell(event: Event, subscriptions: Iterable[Subscription]) -> None:
    if not getattr(_telling, "now", False):
        _telling.now = True
        try:
            for subscription in subscriptions:
                subscription._tell(event)
        finally:
            _telling.now = False


def _change(to: Callable[[tuple[Subscription, ...]], tuple[Subscription, ...]]) -> None:
    global _subscriptions, _listeners, watching_runs
    with _lock:
        now = _subscriptions = to(_subscriptions)
        wanted = {k for s in now for k in s.kinds}
        _listeners = {k: tuple(s for s in now if k in s.kinds) for k in wanted}
        watching_runs = not RUN_KINDS.isdisjoint(wanted)


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
