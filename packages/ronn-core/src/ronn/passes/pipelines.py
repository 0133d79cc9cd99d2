"""Named lists of passes. Options pick a name; nothing else decides what runs.

Each list has two stages: *portable* runs once a session, shapes may be symbols; *specialised* runs once an input
signature, when the inputs have integer shapes.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, partial
from typing import Literal

from ronn.errors import OptionError, nearest
from ronn.passes.common_subexpr import common_subexpr
from ronn.passes.deferred import about
from ronn.passes.eliminate_dead import eliminate_dead
from ronn.passes.eliminate_identity import eliminate_identity
from ronn.passes.expand_functions import expand_functions
from ronn.passes.fold_constants import fold_constants
from ronn.passes.fuse_bias_activation import fuse_bias_activation
from ronn.passes.fuse_conv_bn import fuse_conv_bn
from ronn.passes.fuse_silu import fuse_silu
from ronn.passes.inline_functions import inline_functions
from ronn.passes.lift_constants import lift_constants
from ronn.passes.lower_fused import lower_fused
from ronn.passes.manager import Group, Pass
from ronn.passes.simplify_algebra import simplify_algebra
from ronn.passes.simplify_shapes import simplify_shapes

Stage = Literal["portable", "specialised"]
Pipeline = tuple["Pass | Group", ...]

TIDY = Group("tidy", (fold_constants, simplify_shapes, eliminate_identity, eliminate_dead))
# Equal nodes are merged first, so that none is computed or rewritten twice.
SIMPLIFY = Group(
    "simplify",
    (common_subexpr, fold_constants, simplify_shapes, eliminate_identity, simplify_algebra, eliminate_dead),
)

_about = partial(about, "ronn.passes", keeps_types=True)
FUSE = Group(
    "fuse",
    (
        _about("fuse-layer-norm", "ReduceMean LayerNormalization RMSNormalization", local=True),
        _about("fuse-gelu", "Erf Tanh", local=True),
        fuse_silu,
        _about("fuse-attention", "Softmax", local=True),
        _about("push-transposes", "Transpose"),
        fuse_conv_bn,
        _about("narrow-gather", "Gather"),
        simplify_shapes,
        eliminate_identity,
        eliminate_dead,
    ),
)
# Comes when the nodes have settled: a fused node hides its operators from every other pattern.
OFFER = (fuse_bias_activation,)
REQUIRED = (expand_functions, lower_fused, lift_constants)

_PIPELINES: dict[str, dict[Stage, Pipeline]] = {
    "none": {
        "portable": (inline_functions, lift_constants),
        "specialised": REQUIRED,
    },
    "basic": {
        "portable": (inline_functions, lift_constants, TIDY),
        "specialised": (TIDY, *REQUIRED, TIDY),
    },
    "full": {
        "portable": (inline_functions, lift_constants, _about("keep-bytes", "Cast"), SIMPLIFY, FUSE),
        "specialised": (SIMPLIFY, FUSE, expand_functions, lift_constants, SIMPLIFY, *OFFER, lower_fused, TIDY),
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


def again(passes: Pipeline, found: frozenset[str]) -> Pipeline:
    """The pipeline for a graph like one that it has run over: of its groups those passes that ``found`` something
    there, as one group; of the others those, and what must run. Equal nodes are looked for once, at the end."""
    grouped = {p.name: p for item in passes if isinstance(item, Group) for p in item.passes if p.name in found}
    single = [p for p in passes if not isinstance(p, Group) and (p.name in found or getattr(p, "required", False))]
    last = [p for p in (grouped.pop(common_subexpr.name, None),) if p is not None]
    return (Group("again", tuple(grouped.values())), *last, *single)


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
