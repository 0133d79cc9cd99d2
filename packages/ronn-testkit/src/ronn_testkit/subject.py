"""The provider under test, and sessions on it."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import onnx

from ronn.plugins import Record, registry
from ronn.provider import Provider

if TYPE_CHECKING:
    from ronn.session import Session


class CheckFailed(AssertionError):
    """A provider broke a rule of the conformance kit."""


class NotApplicable(Exception):
    """A check does not apply to a provider, with the reason."""


class Subject:
    """A provider under test: by name where it is installed, or a Provider class or instance.

    ``examples`` is how many generated cases each operator gets; ``seconds`` bounds the soak tests.
    """

    def __init__(self, provider: str | type[Provider] | Provider, *, examples: int = 6, seconds: float = 1.0) -> None:
        self.examples = examples
        self.seconds = seconds
        self.installed = isinstance(provider, str)
        if isinstance(provider, str):
            self.name = provider
            self.target = self._record().target
        else:
            self._given = provider if isinstance(provider, Provider) else None
            self._class = type(provider) if isinstance(provider, Provider) else provider
            self.name = self._class.name
            self.target = f"{self._class.__module__}:{self._class.__qualname__}"

    def _record(self) -> Record:
        found = [r for r in registry().records if r.name == self.name]
        if not found:
            raise CheckFailed(f"provider {self.name!r} is not installed; found: {', '.join(registry().names)}")
        return found[0]

    @contextmanager
    def registered(self) -> Iterator[Provider]:
        """The provider, known to sessions while the block runs."""
        if self.installed:
            record = self._record()
            if record.provider is None:
                raise CheckFailed(f"provider {self.name!r} is unusable: {record.reason}")
            yield record.provider
            return
        provider = self._given if self._given is not None else self._class()
        registry().add(provider)
        try:
            yield provider
        finally:
            registry().remove(self.name)

    @functools.cached_property
    def available(self) -> str:
        """Empty when the provider has a usable device; otherwise why not."""
        with self.registered():
            record = next(r for r in registry().records if r.name == self.name)
            return "" if record.ok and record.devices() else record.reason

    def session(self, model: onnx.ModelProto, *, fallback: bool = False, **options: Any) -> Session:
        """A session on this provider alone, or with the reference behind it. Within ``registered()``."""
        from ronn.session import Session

        providers: Sequence[str] = [self.name, "reference"] if fallback else [self.name]
        return Session(model, providers=providers, options={"optimization": "none", **options})
