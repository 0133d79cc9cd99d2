"""What happens in this process, told to listeners as it happens: models, sessions, plans, runs, kernels, batches.

    with ronn.events.subscribe(print, kinds=[ronn.events.RunFinished]):
        session.run(inputs)

Events are frozen records of numbers and text. They hold neither sessions nor arrays, and can be kept, pickled, or
written as JSON (``as_dict``). Without listeners a run pays one look at a module's global.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from ronn.errors import OptionError, nearest
from ronn.listeners import Listener, Subscription
from ronn.records import dataclass

__all__ = [
    "BatchFormed",
    "CacheHit",
    "CacheMiss",
    "Event",
    "KernelsCompiled",
    "MemoryRefused",
    "ModelLoaded",
    "PlanMade",
    "ProviderFailed",
    "ProviderFellBack",
    "RunCancelled",
    "RunEvent",
    "RunFailed",
    "RunFinished",
    "RunStarted",
    "SessionClosed",
    "SessionCreated",
    "SessionEvent",
    "Subscription",
    "kinds",
    "subscribe",
]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. at: when, in seconds of ``time.monotonic()``; for what takes time, when it was over."""

    at: float

    @property
    def kind(self) -> str:
        """The name of the event's class."""
        return type(self).__name__

    @property
    def started(self) -> float:
        """When it began, in seconds of ``time.monotonic()``."""
        return self.at - float(getattr(self, "seconds", 0.0))

    def as_dict(self) -> dict[str, Any]:
        """``kind`` and the fields: plain values, as JSON has them."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True, slots=True)
class ModelLoaded(Event):
    """A model was read. model: its path, or what stands for one. nodes: of its graph, subgraphs not counted."""

    model: str
    nodes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class SessionEvent(Event):
    """About one session. session: its number in this process. model: path of the model, or what stands for one."""

    session: int
    model: str


@dataclass(frozen=True, slots=True)
class SessionCreated(SessionEvent):
    """A session is ready. providers: names, in order. seconds: without loading the model."""

    providers: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class SessionClosed(SessionEvent):
    """A session was closed. One that is merely dropped is not told."""


@dataclass(frozen=True, slots=True)
class PlanMade(SessionEvent):
    """Input sizes were met that had no plan. signature: types of the inputs. compiles: kernels that had to be compiled
    for it. run: the run that waited for it; None when it was made ahead, or nobody listens to runs. tail: the plan is
    that of the part of a model whose sizes came out as it ran."""

    signature: str
    seconds: float
    compiles: int
    run: int | None
    tail: bool


@dataclass(frozen=True, slots=True)
class ProviderFellBack(SessionEvent):
    """Nodes run on ``to``, since ``provider``, which is listed before it, refused them. Told once a session and pair.
    reason: of the first of them."""

    provider: str
    to: str
    nodes: int
    reason: str


@dataclass(frozen=True, slots=True)
class MemoryRefused(SessionEvent):
    """A plan or a run did not fit in ``memory_limit``, or a tensor in another limit. Bytes: needed (more), held (by the
    session), limit."""

    needed: int
    held: int
    limit: int


@dataclass(frozen=True, slots=True)
class BatchFormed(SessionEvent):
    """Requests were put together for one run. size: of them. rows: of the batch. waited: seconds that the oldest spent
    in the queue. queued: requests left in it."""

    size: int
    rows: int
    waited: float
    queued: int


@dataclass(frozen=True, slots=True)
class RunEvent(SessionEvent):
    """About one run. run: its number in this process. queued: seconds between the call and its start, in ``run_async``
    and batches; 0 where the caller runs it."""

    run: int
    queued: float


@dataclass(frozen=True, slots=True)
class RunStarted(RunEvent):
    """A run began, in the thread and the context (``contextvars``) in which the listener is called."""


@dataclass(frozen=True, slots=True)
class RunFinished(RunEvent):
    """A run gave its outputs. signature: types of its inputs."""

    seconds: float
    signature: str


@dataclass(frozen=True, slots=True)
class RunFailed(RunEvent):
    """A run raised. error: name of the exception's class. node: the node that failed; empty where it was none."""

    seconds: float
    error: str
    message: str
    node: str


@dataclass(frozen=True, slots=True)
class RunCancelled(RunEvent):
    """A run was stopped. reason: ``timeout`` or ``cancelled``."""

    seconds: float
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ProviderFailed(Event):
    """A provider or plugin cannot be used, or could not compile what it had claimed."""

    provider: str
    reason: str


@dataclass(frozen=True, slots=True)
class KernelsCompiled(Event):
    """Kernels were compiled to machine code: those of a model, or modules of the library. level: of instructions. run:
    the one that waited for it; None as with ``PlanMade``."""

    level: str
    kernels: tuple[str, ...]
    seconds: float
    run: int | None


@dataclass(frozen=True, slots=True)
class CacheHit(Event):
    """Something was found in a cache on disk. cache: ``code`` for machine code. name: of the entry."""

    cache: str
    name: str


@dataclass(frozen=True, slots=True)
class CacheMiss(Event):
    """Something was not in a cache on disk, or damaged there, and is made anew."""

    cache: str
    name: str


_KINDS = {n: k for n, k in globals().items() if isinstance(k, type) and issubclass(k, Event)}

Kind = type[Event] | str


def subscribe(listener: Listener, kinds: Kind | Iterable[Kind] | None = None) -> Subscription:
    """Has ``listener(event)`` called at every event of ``kinds``: classes or their names; a base class as ``RunEvent``
    stands for all its kinds. Default: all.

    It is called in the thread where the event happens, between its steps: what it does there is waited for. Events that
    a listener causes itself are told to nobody. Raises OptionError for what is no kind of event.
    """
    if not callable(listener):
        raise OptionError(f"{listener!r} is no listener", hint="a listener is called with one event")
    return Subscription(listener, _names(kinds))


def kinds() -> dict[str, type[Event]]:
    """The kinds of events by name, those that stand for several left out."""
    return {k.__name__: k for k in _leaves(Event)}


def _names(given: Kind | Iterable[Kind] | None) -> frozenset[str]:
    if given is None:
        given = Event
    if isinstance(given, (str, type)):
        given = [given]
    found: set[str] = set()
    for kind in given:
        name = kind.__name__ if isinstance(kind, type) else kind
        if name not in _KINDS or (isinstance(kind, type) and _KINDS[name] is not kind):
            near = nearest(name, list(_KINDS)) if isinstance(name, str) else None
            raise OptionError(
                f"{kind!r} is no kind of event",
                hint=f"did you mean {near!r}?" if near else f"kinds: {', '.join(kinds())}",
            )
        found.update(k.__name__ for k in _leaves(_KINDS[name]))
    return frozenset(found)


def _leaves(kind: type[Event]) -> list[type[Event]]:
    """The kinds that ``kind`` stands for: itself, or those derived from it."""
    family = [k for k in _KINDS.values() if issubclass(k, kind)]
    return [k for k in family if not any(k in other.__mro__[1:] for other in family)]
