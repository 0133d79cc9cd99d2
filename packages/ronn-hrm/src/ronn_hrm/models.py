"""The expensive model, opened when it is first needed; and models behind a function that prepares their inputs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ronn_hrm.fingerprint import fingerprint


class Prepared:
    """A model that takes something else than requests hold: ``prepare`` makes its feeds of theirs (a mapping of name to
    array), for instance token ids of text.

    names: of what requests hold, in order. version: text that changes when ``prepare`` does.
    """

    def __init__(
        self,
        session: Any,
        prepare: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        *,
        names: Sequence[str] = (),
        version: str = "1",
    ) -> None:
        self.session = opened(session)
        self._prepare = prepare
        self.input_names = tuple(names)
        self._version = version

    @property
    def outputs(self) -> Any:
        return self.session.outputs

    def fingerprint(self) -> str:
        return f"{fingerprint(self.session)}:{self._version}"

    def run(self, inputs: Any = None, **options: Any) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.session.run(self._prepare(inputs), **options)
        return found

    def close(self) -> None:
        self.session.close()


def opened(model: Any) -> Any:
    """A session on a path, bytes or ``ronn.Model``; what runs already is left as it is."""
    if isinstance(model, (str, os.PathLike, bytes)) or not hasattr(model, "run"):
        from ronn.session import Session

        return Session(model)
    return model


def input_names_of(model: Any) -> tuple[str, ...] | None:
    """Names of what a model takes, in order, as far as it tells."""
    own = getattr(model, "input_names", None)
    if own is not None:
        return tuple(own) if own else None
    found = getattr(model, "inputs", None)
    return None if found is None else tuple(v.name for v in found)


class ExpensiveModel:
    """The model whose answers count. source: anything that runs, a path, or a function that gives one when it is first
    needed (so that its memory is taken only then)."""

    def __init__(self, source: Any, check: Callable[[Any], None]) -> None:
        """check: is called with the session when it is opened, and raises for one that will not do."""
        self._source = source
        self._check = check
        self._lock = threading.Lock()
        self._session: Any = None
        self._resumes = False
        self._lazy = callable(source) and not hasattr(source, "run")
        if not self._lazy:
            self.session()

    @property
    def is_open(self) -> bool:
        return self._session is not None

    def session(self) -> Any:
        """The session, opened now if need be."""
        if self._session is None:
            with self._lock:
                if self._session is None:
                    found = opened(self._source() if self._lazy else self._source)
                    self._check(found)
                    self._resumes = hasattr(found, "resume")
                    self._session = found
        return self._session

    def fingerprint(self) -> str:
        return fingerprint(self.session())

    def run(self, feeds: Mapping[str, np.ndarray], carry: Any = None, **options: Any) -> Mapping[str, Any]:
        """Runs one request, from where the cheap model stopped (``carry``) where it can."""
        session = self.session()
        found: Mapping[str, Any]
        if carry is not None and self._resumes:
            found = session.resume(carry, **options)
        else:
            found = session.run(feeds, **options)
        return found

    def close(self) -> None:
        """Closes the session if it was opened here."""
        if self._session is not None and self._session is not self._source and hasattr(self._session, "close"):
            self._session.close()

    def after_fork(self) -> None:
        self._lock = threading.Lock()
