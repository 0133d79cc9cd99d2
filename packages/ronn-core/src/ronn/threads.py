"""How many threads runs use in this process: what the program says, else RONN_THREADS, else what the host leaves."""

from __future__ import annotations

from collections.abc import Callable
from operator import index
from typing import Any

from ronn import host, knobs
from ronn.errors import OptionError

_chosen: int | None = None
_listeners: list[Callable[[int, int], None]] = []


def set_threads(number: int | None) -> None:
    """Lets no run of this process use more than ``number`` threads, the one that calls it included.

    The pool of threads is one for all sessions, so this is its size; ``threads`` of a session or of a run can only ask
    for fewer. It holds at once, for runs in progress from their next kernel on. Sessions that leave the number open
    make their plans anew where there are more threads than before. None undoes it: RONN_THREADS decides, or what
    affinity mask and cgroup quota leave. Forked children inherit it.

    Raises OptionError for something that is not a number of threads.
    """
    global _chosen
    if number is not None:
        try:
            number = 0 if isinstance(number, bool) else index(number)
        except TypeError:
            number = 0
        if number < 1:
            raise OptionError("set_threads takes a number of threads from 1 on", hint="None means automatic")
    before, _chosen = default_threads(), number
    after = default_threads()
    for listener in list(_listeners):
        listener(before, after)


def limit() -> int | None:
    """What ``set_threads`` said last; None where nobody did."""
    return _chosen


def default_threads() -> int:
    """How many threads a run may use whose session leaves it open."""
    return int(found()["number"])


def found() -> dict[str, Any]:
    """``number``, the threads of a run whose session leaves it open; ``from``, where it comes from; ``sources``, all
    that was asked."""
    told = host.threads()
    for origin, number in (("RONN_THREADS", knobs.THREADS.get()), ("ronn.set_threads", _chosen)):
        if number is not None and number > 0:
            told = {"number": number, "from": origin, "sources": {**told["sources"], origin: float(number)}}
    return told


def when_set(listener: Callable[[int, int], None]) -> None:
    """Calls ``listener`` after every ``set_threads``, with ``default_threads()`` as it was before and as it is now."""
    _listeners.append(listener)
