"""Hard gates and limits: requests that the cheap model must not answer, and callers that ask too much."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ronn.errors import OptionError, QueueFullError
from ronn.records import dataclass

_CLIENTS = 10_000  # callers that are counted


@dataclass(frozen=True, slots=True)
class Gate:
    """Sends requests to the expensive model for which ``refuses`` (a function of the feeds by name) holds. The
    certificate is about all traffic, so a gate can only lower the risk. name: stands in decisions."""

    name: str
    refuses: Callable[[Mapping[str, Any]], bool]

    @classmethod
    def max_tokens(cls, input: str, most: int) -> Gate:
        """Refuses what has more than ``most`` elements of ``input`` other than zero (padding)."""

        def refuses(feeds: Mapping[str, Any]) -> bool:
            if input not in feeds:
                raise OptionError(
                    f"Gate.max_tokens({input!r}): the request holds {', '.join(feeds)}", hint="name one of its inputs"
                )
            return int(np.count_nonzero(feeds[input])) > most

        return cls("max_tokens", refuses)

    @classmethod
    def max_elements(cls, most: int) -> Gate:
        """Refuses inputs of more than ``most`` elements in all."""
        return cls("max_elements", lambda feeds: sum(np.size(v) for v in feeds.values()) > most)


class EscalationLimitError(QueueFullError):
    """A client has had as many runs of the expensive model as it may for now. Nothing of the request ran there."""


class Escalations:
    """A cap on runs of the expensive model, by client: ``most`` in ``seconds``, refilled evenly (a token bucket).
    Inputs that are made to look new would else cost as much as if there were no cheap model."""

    def __init__(self, most: int, seconds: float = 60.0) -> None:
        if most < 1 or seconds <= 0:
            raise OptionError(f"Escalations({most}, {seconds}): at least 1, in a time above 0")
        self.most = most
        self.seconds = seconds
        self._left: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, client: str) -> None:
        """Takes one. EscalationLimitError where the client has none left."""
        now = time.monotonic()
        with self._lock:
            left, at = self._left.get(client, (float(self.most), now))
            left = min(float(self.most), left + (now - at) * self.most / self.seconds)
            if left < 1.0:
                wait = (1.0 - left) * self.seconds / self.most
                raise EscalationLimitError(
                    f"client {client!r} has had {self.most} runs of the expensive model in {self.seconds:g} s",
                    hint=f"try again in {wait:.1f} s",
                )
            if client not in self._left and len(self._left) >= _CLIENTS:
                del self._left[next(iter(self._left))]
            self._left[client] = (left - 1.0, now)

    def after_fork(self) -> None:
        self._lock = threading.Lock()
