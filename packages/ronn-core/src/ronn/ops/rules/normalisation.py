"""Normalisations with more outputs than one. Those with one output are in ``elementwise``."""

from __future__ import annotations

from ronn.ops.infer import InferContext, rule
from ronn.ops.rules.common import axis_of, dtype_of_code


@rule("BatchNormalization")
def batch_normalization(c: InferContext) -> None:
    c.set(0, c.dtype(0), c.shape(0))
    for i in range(1, len(c.node.outputs)):
        source = 3 if i % 2 else 4  # running (or saved) mean, then variance
        c.set(i, c.dtype(source), c.shape(source))


@rule("LayerNormalization")
def layer_normalization(c: InferContext) -> None:
    shape = c.shape(0)
    c.set(0, c.dtype(0), shape)
    reduced = None
    if shape is not None:
        axis = axis_of(c, c.attr("axis", -1), len(shape))
        reduced = (*shape[:axis], *(1 for _ in shape[axis:]))
    for i in (1, 2):
        c.set(i, dtype_of_code(c, c.attr("stash_type", 1)), reduced)
