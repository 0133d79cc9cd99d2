"""Honest claims: what the provider claims, it runs; what it refuses, it does not mis-run."""

from __future__ import annotations

from typing import Any

from ronn.errors import PlacementError, RonnError
from ronn_testkit.checks import probe
from ronn_testkit.models import Case
from ronn_testkit.recipes import RECIPES
from ronn_testkit.subject import CheckFailed, Subject


def run(subject: Subject, case: Case, **options: Any) -> list[Any] | None:
    """The outputs of a case on the provider alone; None where it refuses the node.

    CheckFailed when it claims the node and fails.
    """
    try:
        session = subject.session(case.model(), **options)
    except PlacementError:
        return None
    except RonnError as e:
        raise CheckFailed(f"{case!r} is claimed but cannot be compiled: {e}") from e
    with session:
        try:
            return list(session.run(case.fed))
        except RonnError as e:
            raise CheckFailed(f"{case!r} is claimed but fails: {e}") from e


def claimed_nodes_run(subject: Subject) -> None:
    """Every claimed (operator, dtype) that the kit knows runs on a few inputs, 0-d and empty ones among them."""
    with subject.registered():
        for recipe, dtype in probe.claimed(subject):
            for case in probe.drawn(recipe, dtype, max(2, subject.examples // 2)):
                run(subject, case)


def refused_nodes_are_refused(subject: Subject) -> None:
    """A node that ``supports`` refuses is not run by a session on this provider alone; and the refusal has a reason."""
    with subject.registered():
        for recipe in RECIPES.values():
            for dtype in recipe.dtypes:
                case = probe.first_case(recipe, dtype)
                verdict = probe.verdict(subject, case)
                if verdict:
                    continue
                if not getattr(verdict, "reason", ""):
                    raise CheckFailed(f"{case!r} is refused without a reason: {verdict!r}")
                try:
                    subject.session(case.model()).close()
                except PlacementError:
                    break
                raise CheckFailed(f"{case!r} is refused by supports() but a session was made")
