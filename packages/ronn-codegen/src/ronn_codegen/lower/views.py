"""Operators that leave the bytes where they are."""

from __future__ import annotations

import numpy as np

from ronn_codegen.lower._copies import fill, known, steps, strided, wanted
from ronn_codegen.lowering import Lowering
from ronn_codegen.table import lower


@lower("Reshape", empty=True)
@lower("Flatten")
@lower("Squeeze", empty=True)
@lower("Unsqueeze", empty=True)
@lower("Identity")
def same_bytes(c: Lowering) -> None:
    """The input by another shape."""
    c.require(wanted(c.inputs[0]).dtype == wanted(c.outputs[0]).dtype, "the types differ")
    c.alias(0, 0)


@lower("BitCast")
def bit_cast(c: Lowering) -> None:
    """BitCast: the same bytes of another type."""
    x, y = wanted(c.inputs[0]), wanted(c.outputs[0])
    c.require(x.nbytes == y.nbytes and (y.dtype != np.bool_ or x.dtype == np.bool_), "elements are stored differently")
    c.alias(0, 0)


@lower("Dropout")
def dropout(c: Lowering) -> None:
    """Dropout where it does nothing; its mask is all ones."""
    x, y = wanted(c.inputs[0]), c.outputs[0]
    training = known(c, 2, "training_mode")
    ratio = known(c, 1, "ratio") if training is not None and training.any() else None
    c.require(training is None or not training.any() or (ratio is not None and not ratio.any()), "training mode")
    if y is not None:
        strided(c, x, x.shape, steps(x))
    mask = c.outputs[1] if len(c.outputs) > 1 else None
    if mask is not None:
        fill(c, mask, np.ones(1, mask.dtype))


@lower("Transpose", alike=True)
def transpose(c: Lowering) -> None:
    """Transpose."""
    x = wanted(c.inputs[0])
    order = c.attr("perm", list(range(x.rank))[::-1])
    strides = steps(x)
    strided(c, x, [x.shape[i] for i in order], [strides[i] for i in order])


@lower("DepthToSpace", alike=True)
def depth_to_space(c: Lowering) -> None:
    """DepthToSpace: a transpose of a reshaped view."""
    x = wanted(c.inputs[0])
    n, channels, h, w = x.shape
    b = int(c.attr("blocksize"))
    depth, plane, whole = channels // (b * b), h * w, channels * h * w
    if c.attr("mode", "DCR") == "CRD":
        outer, across, down = b * b * plane, plane, b * plane
    else:
        outer, across, down = plane, depth * plane, b * depth * plane
    size = x.dtype.itemsize
    strided(c, x, [n, depth, h, b, w, b], [size * s for s in (whole, outer, w, down, 1, across)])


@lower("SpaceToDepth", alike=True)
def space_to_depth(c: Lowering) -> None:
    """SpaceToDepth: a transpose of a reshaped view."""
    x = wanted(c.inputs[0])
    n, channels, h, w = x.shape
    b = int(c.attr("blocksize"))
    size = x.dtype.itemsize
    shape, strides = [n, b, b, channels, h // b, w // b], [channels * h * w, w, 1, h * w, b * w, b]
    order = (0, 3, 1, 2, 4, 5) if c.attr("mode", "DCR") == "CRD" else range(6)
    strided(c, x, [shape[i] for i in order], [size * strides[i] for i in order])
