"""Upkeep: what people ask a session to do beside answering: calibrate on inputs, forget, keep, advise, close."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ronn.errors import OptionError
from ronn_hrm.certify import GIVEN
from ronn_hrm.errors import CalibrationError, CalibrationWarning, StateError
from ronn_hrm.memory.episode import AUDITED
from ronn_hrm.requests import Feeds, digest_of, feeds_of
from ronn_hrm.router import Request

if TYPE_CHECKING:
    from ronn_hrm.advise import Advice
    from ronn_hrm.guarantee.certificate import Certificate
    from ronn_hrm.learner import Learner
    from ronn_hrm.memory.archive import StateArchive
    from ronn_hrm.memory.episodic import EpisodicStore
    from ronn_hrm.parts import Parts
    from ronn_hrm.router import Router
    from ronn_hrm.supervisor import Supervisor

_TIMED = 20  # inputs that times are taken on
_SETTLE = 60.0  # seconds that closing waits for audits


_LEARN = (("calibrate", 0.5), ("gate", 0.6), ("fit", 0.75), ("train", 1.0))
"""What given inputs are for, by their toss, where some of them are to be learnt from."""


class Upkeep:
    """Of the pieces of one session."""

    def __init__(self, parts: Parts, router: Router, supervisor: Supervisor, learner: Learner) -> None:
        self._parts = parts
        self._router = router
        self._supervisor = supervisor
        self._learner = learner

    def calibrate(self, inputs: Sequence[Any] | None, learn: bool = False) -> Certificate | None:
        """As ``HRMSession.calibrate``."""
        if inputs is not None:
            self.take_calibration(self._teach(inputs) if learn else inputs)
        found = self._learner.certify()
        if found is None:
            warnings.warn(f"nothing is certified: {self._learner.reason}", CalibrationWarning, stacklevel=3)
        return found

    def take_calibration(self, inputs: Sequence[Any]) -> None:
        """Runs both models on inputs and keeps what comes out as calibration records.

        CalibrationError where inputs are among those that the state in service, or a scorer, was made from.
        """
        parts = self._parts
        if hasattr(inputs, "shape") or isinstance(inputs, (dict, str, bytes)):
            raise OptionError(
                f"calibrate takes a sequence of requests, each as run() takes it, not one {type(inputs).__name__}",
                hint="for a batch of single requests: [batch[i : i + 1] for i in range(len(batch))]",
            )
        made_from = parts.store.episodes(roles=("train", "fit"), answers=False)
        known = set(made_from.digest)
        feeds = [feeds_of(given, parts.input_names) for given in inputs]
        digests = [digest_of(f, b"") for f in feeds]
        taught = sum(d in known for d in digests)
        if taught:
            raise CalibrationError(
                f"{taught} of {len(digests)} inputs are among those that memory or scorer were made from",
                hint="calibrate on requests that had no part in the training of either model, the scorer or memory",
            )
        self._take(feeds, digests, "calibrate")

    def _teach(self, inputs: Sequence[Any]) -> list[Any]:
        """Runs both models on those inputs that the coin gives to learning and judging; the others, to calibrate on."""
        feeds = [feeds_of(given, self._parts.input_names) for given in inputs]
        digests = [digest_of(f, b"") for f in feeds]
        tosses = [self._parts.coin.of(d, 0, 0)[0] for d in digests]
        roles = [next(role for role, below in _LEARN if toss < below) for toss in tosses]
        for wanted in ("train", "fit", "gate"):
            chosen = [i for i, role in enumerate(roles) if role == wanted]
            self._take([feeds[i] for i in chosen], [digests[i] for i in chosen], wanted)
        return [one for one, role in zip(feeds, roles, strict=True) if role == "calibrate"]

    def take_made_from(self, inputs: Sequence[Any], role: str = "train") -> None:
        """Runs both models on inputs and keeps what comes out for ``role`` (``train``, ``fit``): what the cheap model
        itself was made from, so that nobody calibrates on it, and what a scorer may be fitted on."""
        feeds = [feeds_of(given, self._parts.input_names) for given in inputs]
        self._take(feeds, [digest_of(f, b"") for f in feeds], role)

    def _take(self, feeds: Sequence[Feeds], digests: Sequence[bytes], role: str) -> None:
        live = self._router.live
        for one, digest in zip(feeds, digests, strict=True):
            request = Request(self._parts.store.number(), one, digest, "", "", live)
            request.path = GIVEN if role in AUDITED else f"full:{role}"
            request.role, request.asked, request.first = role, role if role in AUDITED else "", True
            request.began = time.perf_counter()
            self._supervisor.audit(request)

    def advise(self, inputs: Sequence[Any] | None, seconds: float = 2.0) -> Advice:
        """Whether the cascade pays by what is measured here, for about so many seconds."""
        from ronn_hrm.advise import advise, held_bytes, measure

        parts = self._parts
        if inputs is None:
            kept = parts.store.episodes(limit=10 * _TIMED).inputs
            inputs = [f for f in kept if f is not None][-_TIMED:]
        if not inputs:
            raise OptionError("there is nothing to take times on", hint="advise(inputs), or Memory(store_inputs=True)")
        feeds = [feeds_of(given, parts.input_names) for given in inputs[:_TIMED]]
        live = self._router.live
        state = live.state

        def route(one: Any, run: Any) -> float:
            features, _ = parts.assessor.assess(run.answer, run.embedding, state.neighbours, one)
            return state.scorer.score(features)

        costs = measure(live.fast, parts.full.session(), feeds, route, budget=seconds)  # type: ignore[arg-type]
        found = state.certificate
        return advise(
            costs.fast, costs.router, costs.full, 0.0 if found is None else found.share, parts.audit.rate,
            runs=costs.runs, certified=found is not None, memory=held_bytes(parts.cheap.session),
            resume=costs.resume,
        )  # fmt: skip

    def forget(self, inputs: Any, *, namespace: str | None, before: float | None) -> int:
        """As ``HRMSession.forget``."""
        import numpy as np

        parts = self._parts
        digest = None if inputs is None else digest_of(feeds_of(inputs, parts.input_names), b"")
        gone = parts.store.requests_of(digest=digest, namespace=namespace, before=before)
        self._learner.teacher_forgotten(gone)
        count = parts.store.forget(digest=digest, namespace=namespace, before=before)
        parts.cache.forget(digest=digest, namespace=namespace, before=before)
        found = self._router.live.state.neighbours
        if found is not None and np.isin(found.requests, gone).any():
            self._learner.remember_anew()
        self._learner.forget(gone)
        return count

    def feedback(self, request: int, label: Any) -> None:
        """As ``HRMSession.feedback``."""
        found = self._parts.store.logged(ids=[request])
        if not found:
            raise OptionError(
                f"there is no request {request} in the log", hint="Decision.id is the number of a request"
            )
        self._parts.store.feedback(request, label.tolist() if hasattr(label, "tolist") else label)

    def drain(self, timeout: float | None) -> bool:
        return self._supervisor.keeper.drain(timeout)

    def snapshot(self, folder: Any) -> None:
        """As ``HRMSession.snapshot``."""
        from ronn_hrm.memory.snapshot import snapshot

        self._settle()
        self._parts.store.put("guard", self._supervisor.guard.as_data())
        snapshot(self._parts.store, self._learner.archive, folder)

    def begin_restore(self, folder: Any) -> tuple[EpisodicStore, StateArchive] | None:
        """Checks a snapshot and lets go of memory. What to go on with; None: what will be in memory's folder.

        StateError where it is not whole, or of other models; nothing has changed then.
        """
        from ronn_hrm.memory.episodic import EpisodicStore
        from ronn_hrm.memory.snapshot import open_copy

        with EpisodicStore(folder, readonly=True) as given:
            theirs = given.get("fingerprints")
        ours = self._learner.fingerprints()
        other = [name for name, found in ours.items() if theirs is not None and theirs.get(name) != found]
        if other:
            raise StateError(
                f"{folder} is a snapshot of another session: {', '.join(other)} differ",
                hint="restore it into a session of the models and settings that it was taken of",
            )
        memory = self._parts.memory
        kept = open_copy(folder, memory) if memory.path is None else None
        self._let_go()
        return kept

    def close(self) -> None:
        """Finishes what waits, writes, lets go."""
        self._let_go()
        self._parts.full.close()
        self._parts.cheap.close()

    def _let_go(self) -> None:
        """Of memory and threads; models stay open."""
        self._settle()
        self._supervisor.close()
        parts = self._parts
        if parts.memory.path is not None:
            if parts.memory.exact_on_disk:
                parts.store.keep_exact(parts.cache)
            parts.store.put("guard", self._supervisor.guard.as_data())
        parts.history.tick(parts.latest)
        parts.history.close()
        parts.store.close()

    def _settle(self) -> None:
        self._supervisor.keeper.drain(_SETTLE)
        self._parts.store.flush()
