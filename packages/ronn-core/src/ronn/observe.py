"""What is told of plans, of nodes that fell back, and of runs."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING

from ronn.debug import INFO, WARNING, tell
from ronn.listeners import current_run, emit, watched
from ronn.values import signature_text

if TYPE_CHECKING:
    from ronn.compile import Request, Signature
    from ronn.partition import Fallback
    from ronn.plan.plan import Plan


def tell_plan(request: Request, signature: Signature, plan: Plan, began: float, *, tail: bool = False) -> None:
    """Tells listeners that a plan was made; ``began`` by the clock of ``time.monotonic``."""
    if watched("PlanMade"):
        emit(
            "PlanMade",
            session=request.session,
            model=request.model.source,
            signature=signature_text(signature),
            seconds=monotonic() - began,
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
            tell(WARNING if found.last_resort else INFO, "providers", text)
            emit(
                "ProviderFellBack",
                session=request.session,
                model=request.model.source,
                provider=found.provider,
                to=found.to,
                nodes=found.nodes,
                reason=found.reason,
            )
