"""Events of ``ronn.events`` for tools that collect metrics and traces: each is an extra, installed only when asked for.

``pip install ronn-core[opentelemetry]`` gives ``ronn.adapters.opentelemetry.install()``, and ``ronn-core[prometheus]``
``ronn.adapters.prometheus.install()``. Neither opens a connection: what goes where is up to the exporters that the
program sets up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from ronn.errors import ProviderError
from ronn.records import dataclass

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets of histograms of seconds: from small models up."""
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)

Naming = Callable[[str], str]


def file_name(source: str) -> str:
    """The default name of a model in labels: its file without the folders."""
    return PurePath(source).name or source


@dataclass(frozen=True, slots=True)
class Held:
    """What the open sessions hold now, by the name of their model. memory: bytes by (model, purpose); limits: bytes by
    model, of sessions that have one."""

    sessions: Counter[str]
    memory: Counter[tuple[str, str]]
    limits: Counter[str]


def held(name: Naming) -> Held:
    """Asks every open session of this process for its memory."""
    from ronn.session import open_sessions

    sessions: Counter[str] = Counter()
    memory: Counter[tuple[str, str]] = Counter()
    limits: Counter[str] = Counter()
    for session in open_sessions():
        model, found = name(session.model.ir.source), session.memory()
        sessions[model] += 1
        for purpose in ("weights", "packed", "arenas", "mapped"):
            memory[model, purpose] += getattr(found, purpose)
        if isinstance(session.options.memory_limit, int):
            limits[model] += session.options.memory_limit
    return Held(sessions, memory, limits)


class Installed:
    """What ``install`` returns. ``close()``, or leaving it as a context manager, takes the adapter out again."""

    def __init__(self, *undo: Callable[[], object]) -> None:
        self._undo = list(undo)

    def close(self) -> None:
        """No more events for the adapter. Closing twice is fine."""
        while self._undo:
            self._undo.pop()()

    def __enter__(self) -> Installed:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def lacking(extra: str, error: ImportError) -> ProviderError:
    """The error of an adapter whose package is not installed."""
    return ProviderError(
        f"the {extra} adapter needs a package that is not installed: {error}",
        hint=f"pip install 'ronn-core[{extra}]'",
    )


def attributes(**given: Any) -> dict[str, Any]:
    """Attributes by their dotted names: ``ronn_model`` is ``ronn.model``; those that are None are left out."""
    return {name.replace("_", ".", 1): value for name, value in given.items() if value is not None}
