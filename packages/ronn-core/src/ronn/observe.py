"""What is told of plans, of nodes that fell back, and of runs."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING

from ronn.debug import INFO, WARNING, say, tell
from ronn.listeners import current_run, emit, watched
from ronn.values import signature_text

if TYPE_CHECKING:
    from ronn.compile import Request, Signature
    from ronn.partition import Fallback, Target
    from ronn.plan.plan import Plan


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
            run=current_run.get(),
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
