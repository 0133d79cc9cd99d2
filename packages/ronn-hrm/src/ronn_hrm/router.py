"""The router: one request, from its inputs to its answer. ``answer`` is the order of things."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ronn.errors import InputError, RunTimeoutError
from ronn.values import Outputs
from ronn_hrm.decision import Decision
from ronn_hrm.flights import Flights
from ronn_hrm.requests import Feeds, digest_of, feeds_of, role_of

if TYPE_CHECKING:
    import numpy as np

    from ronn_hrm.contracts import Policy
    from ronn_hrm.fast_path import FastPath, FastRun
    from ronn_hrm.parts import Parts
    from ronn_hrm.state import State


class Live:
    """A state in service: with its cheap model, and whether it sends everything to the expensive one.

    epoch: of the guard, when it was taken into service; records of requests are of it. paused: why everything goes to
    the expensive model, where it does: ``cold-start`` or ``guard``.
    """

    __slots__ = ("collecting", "epoch", "fast", "outputs", "paused", "state")

    def __init__(self, state: State, fast: FastPath, policy: Policy, epoch: int, paused: str) -> None:
        self.state = state
        self.fast = fast
        self.epoch = epoch
        self.collecting = policy.certified and not math.isfinite(state.lam)
        self.paused = paused
        self.outputs = fast.output_names
        """What the cheap model gives; None where it does not tell."""


class Request:
    """One request on its way."""

    __slots__ = (
        "asked", "began", "client", "digest", "ended", "fast", "features", "feeds", "first", "full", "live", "near",
        "number", "outputs", "path", "role", "score", "space",
    )  # fmt: skip

    def __init__(self, number: int, feeds: Feeds, digest: bytes, space: str, client: str, live: Live) -> None:
        self.number = number
        self.feeds = feeds
        self.digest = digest
        self.space = space
        self.client = client
        self.live = live
        self.began = self.ended = 0.0
        self.first = True
        """Whether the digest was not met before."""
        self.path = ""
        self.role = ""
        self.asked = ""
        """The role that the coin gives whatever the path: ``calibrate``, ``gate``, or empty."""
        self.outputs: Mapping[str, Any] = {}
        self.fast: FastRun | None = None
        self.full: np.ndarray | None = None
        self.features: tuple[float, ...] = ()
        self.near: tuple[int, ...] = ()
        self.score: float | None = None

    @property
    def served_fast(self) -> bool:
        """Whether the cheap model would answer, audits and cache aside."""
        state = self.live.state
        return self.score is not None and not self.live.collecting and self.score >= state.lam

    def decision(self) -> Decision:
        """What is told about it."""
        state = self.live.state
        return Decision(
            id=self.number,
            path=self.path,
            score=self.score,
            lam=state.lam,
            reasons=state.scorer.parts(self.features) if self.score is not None else (),
            features=tuple(zip(state.names, self.features, strict=False)),
            state=state.id,
            role=self.role,
            neighbours=self.near,
            seconds=self.ended - self.began,
        )


class Router:
    """Answers requests. Safe from any thread: a request reads ``live`` once."""

    def __init__(self, parts: Parts, live: Live) -> None:
        self._parts = parts
        self.live = live
        self._flights = Flights()
        self.learn: Callable[[Request], None] = _nothing
        """Called behind the answer of requests that the expensive model answered, or that are to be audited."""
        self.note: Callable[[Request], None] = _nothing
        """Called with every request, when it is answered."""

    def answer(
        self,
        inputs: Any,
        outputs: Sequence[str] | None = None,
        *,
        space: str = "",
        client: str = "",
        **options: Any,
    ) -> Request:
        """Routes and answers one request; options as for ``Session.run`` (timeout, stop, threads)."""
        began = time.perf_counter()
        parts = self._parts
        live = self.live
        feeds = feeds_of(inputs, parts.input_names)
        digest = digest_of(feeds, b"")
        request = Request(parts.store.number(), feeds, digest, space, client, live)
        request.began = began
        one, two, request.first = parts.coin.toss(digest)
        request.asked, otherwise = role_of(one, two, parts.audit.rate, live.collecting)
        held = parts.cache.get(digest, space)
        if held is not None and (outputs is None or all(n in held for n in outputs)):
            request.path, request.role = "cache", request.asked
            request.outputs = self._selected(held, outputs)
            if request.asked:
                request.full = parts.task.answer(held)
        else:
            self._route(request, outputs, options)
            if request.path == "fast":
                assert request.fast is not None
                request.role = request.asked
                request.outputs = self._selected(request.fast.outputs, outputs, of_full=False)
            else:
                request.role = otherwise
                self._ask_full(request, outputs, options)
        request.ended = time.perf_counter()
        self.note(request)
        if request.asked or (request.full is not None and request.path != "cache"):
            self.learn(request)
        return request

    def _route(self, request: Request, outputs: Sequence[str] | None, options: dict[str, Any]) -> None:
        """Finds the path; runs the cheap model where it is asked."""
        parts, live = self._parts, request.live
        for gate in parts.gates:
            if gate.refuses(request.feeds):
                request.path = f"full:gate({gate.name})"
                return
        wanted = parts.names if outputs is None else outputs
        if wanted is not None and live.outputs is not None and not set(wanted) <= set(live.outputs):
            request.path = "full:outputs"
            return
        if not parts.policy.asks_fast:
            request.path = "full"
            return
        self.assess(request, options)
        state = live.state
        assert request.score is not None
        if live.collecting:
            request.path = f"full:{live.paused}"
        elif request.fast is not None and not request.fast.known and parts.policy.certified:
            request.path = "full:shape"
        elif parts.policy.fast(request.score, state.lam, request.features):
            request.path = "full:audit" if request.asked and parts.audit.mode == "inline" else "fast"
        else:
            request.path = "full"

    def assess(self, request: Request, options: Mapping[str, Any]) -> None:
        """Runs the cheap model, and scores the request."""
        live = request.live
        state = live.state
        fast = request.fast = live.fast.run(request.feeds, **options)
        request.features, request.near = self._parts.assessor.assess(
            fast.answer, fast.embedding, state.neighbours, request.feeds
        )
        request.score = state.scorer.score(request.features)

    def _ask_full(self, request: Request, outputs: Sequence[str] | None, options: dict[str, Any]) -> None:
        """Asks the expensive model, or waits for it where an equal request asks it just now."""
        key = (request.space, request.digest)
        flight, own = self._flights.join(key)
        found = None
        if not own:
            if not flight.done.wait(options.get("timeout")):
                raise RunTimeoutError(f"not done within {options['timeout']} s: an equal request is running")
            found = flight.outputs
        else:
            # An equal request may have landed since the cache was asked.
            found = self._parts.cache.get(request.digest, request.space)
            if found is not None:
                self._flights.land(key, found)
        if found is not None:
            request.path, request.role = "cache", request.asked
            if request.asked:
                request.full = self._parts.task.answer(found)
        else:
            try:
                found = self.run_full(request, options)
            finally:
                if own:
                    self._flights.land(key, found)
        request.outputs = self._selected(found, outputs)

    def run_full(self, request: Request, options: Mapping[str, Any], *, why: str = "answer") -> Mapping[str, Any]:
        """Runs the expensive model and remembers what it said. why: ``answer`` or ``audit``."""
        parts = self._parts
        if parts.escalations is not None and why == "answer":
            parts.escalations.take(request.client)
        carry = None if request.fast is None else request.fast.carry
        found = parts.full.run(request.feeds, carry, **options)
        parts.metrics.add("full_runs", why)
        request.full = parts.task.answer(found)
        parts.cache.put(request.digest, found, request.space)
        return found

    def _selected(
        self, found: Mapping[str, Any], outputs: Sequence[str] | None, *, of_full: bool = True
    ) -> Outputs:  # fmt: skip
        names = self._parts.output_names(found, of_full=of_full) if outputs is None else outputs
        if isinstance(found, Outputs) and tuple(found.keys()) == tuple(names):
            return found
        try:
            return Outputs(names, [found[n] for n in names])
        except KeyError:
            lacking = next(n for n in names if n not in found)
            raise InputError(
                f"there is no output {lacking!r}; the models give {', '.join(found.keys())}",
                hint="outputs= names what both models give, or what the expensive one gives",
            ) from None

    def after_fork(self) -> None:
        self._flights.after_fork()


def _nothing(request: Request) -> None:
    """Nobody listens."""
