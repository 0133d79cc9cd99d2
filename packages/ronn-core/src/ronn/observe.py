"""What is told of plans, of nodes that fell back, and of runs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING

from ronn.debug import INFO, WARNING, say, tell
from ronn.errors import CancelledError, ProviderWarning, RonnError, RunTimeoutError
from ronn.listeners import Run, current, current_run, emit, waited, watched
from ronn.values import signature_text

if TYPE_CHECKING:
    from ronn.compile import Request, Signature
    from ronn.partition import Fallback, Target
    from ronn.plan.plan import Plan
    from ronn.provider import Part


def tell_session(targets: Sequence[Target], seconds: float, *, session: int, model: str) -> None:
    """Tells that a session is ready; ``seconds``: what it took, without the model."""
    emit(
        "SessionCreated",
        session=session,
        model=model,
        providers=tuple(t.name for t in targets),
        seconds=seconds,
    )
    described = ", ".join(f"{t.name} ({t.device.description or t.device.name})" for t in targets)
    say(1, f"ronn: session {session} of {model}: {described}")
    say(2, f"ronn: session {session} of {model} made in {seconds * 1e3:.1f} ms")


def tell_plan(request: Request, signature: Signature, plan: Plan, began: float, *, tail: bool = False) -> None:
    """Tells listeners that a plan was made; ``began`` by the clock of ``time.monotonic``."""
    seconds = monotonic() - began
    say(2, lambda: f"ronn: plan for {signature_text(signature)}: {seconds * 1e3:.1f} ms, {plan.compiles} compiled")
    if watched("PlanMade"):
        emit(
            "PlanMade",
            session=request.session,
            model=request.model.source,
            signature=signature_text(signature),
            seconds=seconds,
            compiles=plan.compiles,
            run=current_run(),
            tail=tail,
        )


def tell_fallbacks(fallbacks: Sequence[Fallback], request: Request) -> None:
    """Tells, once a session for each pair of providers, that nodes run on another one than the first listed."""
    for found in fallbacks:
        if (found.provider, found.to) not in request.told:
            request.told.add((found.provider, found.to))
            nodes = "1 node" if found.nodes == 1 else f"{found.nodes} nodes"
            text = f"{request.model.source}: {nodes} fell back from {found.provider} to {found.to}; {found.reason}"
            slow = found.to == "reference"
            tell(WARNING if slow else INFO, "providers", f"{text} (slow)" if slow else text)
            emit(
                "ProviderFellBack",
                session=request.session,
                model=request.model.source,
                provider=found.provider,
                to=found.to,
                nodes=found.nodes,
                reason=found.reason,
            )


def tell_takeover(request: Request, provider: str, to: str, part: Part, error: RonnError) -> None:
    """Tells that the nodes of a part run on another provider than the one that took them, because that one failed."""
    nodes = "1 node" if len(part.nodes) == 1 else f"{len(part.nodes)} nodes"
    warnings.warn(
        f"{request.model.source}: {provider} failed, {to} goes on with {nodes}: {error.message}",
        ProviderWarning,
        stacklevel=2,
    )
    emit(
        "ProviderFellBack",
        session=request.session,
        model=request.model.source,
        provider=provider,
        to=to,
        nodes=len(part.nodes),
        reason=error.message,
    )


def tell_refusal(request: Request, needed: int, limit: int) -> None:
    """Tells that a plan is not made, because a tensor of ``needed`` bytes is over a limit."""
    emit("MemoryRefused", session=request.session, model=request.model.source, needed=needed, held=0, limit=limit)


class WatchedRun:
    """A run that is told, as a context manager: that it began, and how it ended."""

    __slots__ = ("_about", "_began", "_run", "_token")

    def __init__(self, session: int, model: str, signature: str = "") -> None:
        self._run = Run(signature)
        self._about = {"session": session, "model": model, "run": self._run.number, "queued": waited.get()}

    def __enter__(self) -> None:
        if watched("RunStarted"):
            emit("RunStarted", **self._about)
        self._token = current.set(self._run)
        self._began = monotonic()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        seconds = monotonic() - self._began
        current.reset(self._token)
        if error is None:
            if watched("RunFinished"):
                emit("RunFinished", **self._about, seconds=seconds, signature=self._run.signature)
            return
        message = error.message if isinstance(error, RonnError) else str(error)
        if isinstance(error, CancelledError):
            reason = "timeout" if isinstance(error, RunTimeoutError) else "cancelled"
            emit("RunCancelled", **self._about, seconds=seconds, reason=reason, message=message)
        else:
            node = getattr(error, "node_label", None)
            emit(
                "RunFailed",
                **self._about,
                seconds=seconds,
                error=type(error).__name__,
                message=message,
                node="" if node is None else node,
            )
