"""Tokens one after another, with keys and values kept in caches that runs write in place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import ronn
from examples.chat.decoder import Shape

Array = np.ndarray
PIECES = (16, 128)
"""Tokens that a prompt is read by: each size has one plan, whatever the prompt's length."""


class Full(Exception):
    """The caches have no room for more tokens."""


class Decoder:
    """A model and what it has read. ``room``: tokens that there is memory for."""

    def __init__(self, session: ronn.Session, shape: Shape, room: int = 1024) -> None:
        if not PIECES[-1] <= room <= shape.longest:
            raise ValueError(f"room for {room} tokens: from {PIECES[-1]} to {shape.longest} are possible")
        self.room, self.length = room, 0
        self._session = session
        self._caches = {name: np.zeros((1, room, shape.cache_width), np.float32) for name in shape.caches}
        self._logits = np.empty((1, 1, shape.vocabulary), np.float32)
        self._start, self._wanted = np.zeros(1, np.int64), np.zeros(1, np.int64)
        self._tokens = {steps: np.zeros((1, steps), np.int64) for steps in (1, *PIECES)}
        self._runs: dict[int, ronn.Binding] = {}

    def read(self, tokens: Sequence[int]) -> Array:
        """Takes tokens in, and gives the logits behind the last, f32[vocabulary], which the next call overwrites.

        Raises Full where there is no room for them.
        """
        if not tokens or self.length + len(tokens) > self.room:
            raise Full(f"{self.length} of {self.room} tokens are taken, and {len(tokens)} more do not fit")
        done = 0
        while done < len(tokens):
            steps = self._steps(len(tokens) - done)
            taken = tokens[done : done + steps]
            self._run(steps, taken)
            self.length += len(taken)
            done += len(taken)
        found: Array = self._logits[0, 0]
        return found

    def rewind(self, length: int) -> None:
        """Forgets all but the first ``length`` tokens."""
        self.length = min(self.length, length)

    def _steps(self, left: int) -> int:
        """Tokens of the next run. Those that fill up a piece lie behind all others: the next run writes over them."""
        if left == 1:
            return 1
        fits = [p for p in PIECES if self.length + p <= self.room]
        if not fits:
            return 1
        return fits[-1] if left > 2 * fits[0] else fits[0]

    def _run(self, steps: int, tokens: Sequence[int]) -> None:
        given = self._tokens[steps]
        given[0, : len(tokens)] = tokens
        self._start[0], self._wanted[0] = self.length, len(tokens) - 1
        if steps not in self._runs:
            feed = {"tokens": given, "start": self._start, "wanted": self._wanted}
            feed |= {f"past.{name}": cache for name, cache in self._caches.items()}
            out = {"logits": self._logits} | {f"present.{name}": cache for name, cache in self._caches.items()}
            self._runs[steps] = self._session.bind(feed, out=out)
        self._runs[steps]()


def choose(logits: Array, temperature: float, most: int, random: np.random.Generator) -> int:
    """The best token, or with a temperature above 0 one of the ``most`` best, by its probability."""
    if temperature <= 0:
        return int(logits.argmax())
    best = np.argpartition(logits, -most)[-most:] if most < logits.size else np.arange(logits.size)
    scaled = (logits[best] - logits[best].max()) / temperature
    share = np.exp(scaled.astype(np.float64))
    return int(random.choice(best, p=share / share.sum()))


def generate(
    decoder: Decoder, prompt: Sequence[int], *, end: int, most: int = 256, temperature: float = 0.0, top: int = 40,
    random: Any = None,
) -> Iterator[int]:  # fmt: skip
    """The tokens that follow, until ``end`` (which is not among them), ``most`` of them, or the caches are full."""
    random = np.random.default_rng() if random is None else random
    logits = decoder.read(prompt)
    for _ in range(most):
        token = choose(logits, temperature, top, random)
        if token == end:
            return
        yield token
        if decoder.length == decoder.room:
            return
        logits = decoder.read([token])
