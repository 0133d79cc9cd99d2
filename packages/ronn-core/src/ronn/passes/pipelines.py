"""Named lists of passes. Options pick a name; nothing else decides what runs.

Each list has two stages: *portable* runs once a session, shapes may be symbols; *specialised* runs once an input
signature, when the inputs have integer shapes.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Literal

from ronn.errors import OptionError, nearest
from ronn.passes.common_subexpr import common_subexpr
from ronn.passes.eliminate_dead import eliminate_dead
from ronn.passes.eliminate_identity import eliminate_identity
from ronn.passes.expand_functions import expand_functions
from ronn.passes.fold_constants import fold_constants
from ronn.passes.inline_functions import inline_functions
from ronn.passes.lift_constants import lift_constants
from ronn.passes.lower_fused import lower_fused
from ronn.passes.manager import Group, Pass
from ronn.passes.simplify_algebra import simplify_algebra
from ronn.passes.simplify_shapes import simplify_shapes

Stage = Literal["portable", "specialised"]
Pipeline = tuple["Pass | Group", ...]

TIDY = Group("tidy", (fold_constants, simplify_shapes, eliminate_identity, eliminate_dead))
SIMPLIFY = Group(
    "simplify",
    (fold_constants, simplify_shapes, eliminate_identity, simplify_algebra, common_subexpr, eliminate_dead),
)

_PIPELINES: dict[str, dict[Stage, Pipeline]] = {
    "none": {
        "portable": (inline_functions, lift_constants),
        "specialised": (expand_functions, lower_fused, lift_constants),
    },
    "basic": {
        "portable": (inline_functions, lift_constants, TIDY),
        "specialised": (TIDY, expand_functions, lower_fused, lift_constants, TIDY),
    },
    "full": {
        "portable": (inline_functions, lift_constants, SIMPLIFY),
        "specialised": (SIMPLIFY, expand_functions, lower_fused, lift_constants, SIMPLIFY),
    },
}


def pipeline(name: str, stage: Stage) -> Pipeline:
    """The passes of a stage of the pipeline ``none``, ``basic`` or ``full``. OptionError for another name."""
    found = _PIPELINES.get(name)
    if found is None:
        near = nearest(name, list(_PIPELINES))
        raise OptionError(
            f"there is no optimization level {name!r}",
            hint=f"did you mean {near!r}?" if near else f"levels: {', '.join(_PIPELINES)}",
        )
    return found[stage]


def names() -> tuple[str, ...]:
    """The pipelines there are."""
    return tuple(_PIPELINES)


@cache
def all_passes() -> dict[str, Pass]:
    """Every pass by name, in the order in which they first run."""
    found: dict[str, Pass] = {}
    for stages in reversed(_PIPELINES.values()):
        for stage in stages.values():
            for p in _flat(stage):
                found.setdefault(p.name, p)
    return found


def _flat(items: Iterable[Pass | Group]) -> Iterable[Pass]:
    for item in items:
        if isinstance(item, Group):
            yield from item.passes
        else:
            yield item
