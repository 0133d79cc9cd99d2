"""Reductions, arg-reductions, top-k."""

from __future__ import annotations

from ronn.ir.dims import Dim, Shape, floordiv
from ronn.ir.types import DType
from ronn.ops.infer import InferContext, rule
from ronn.ops.rules.common import axes_of, axis_of, ints, known_product, replaced, unknown


@rule("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
      "ReduceProd", "ReduceSum", "ReduceSumSquare")  # fmt: skip
def reduce(c: InferContext) -> None:
    shape = c.shape(0)
    if shape is None:
        c.set(0, c.dtype(0), None)
        return
    keep = bool(c.attr("keepdims", 1))
    axes = c.node.attributes.get("axes")
    if axes is None and c.has(1):
        axes = ints(c, 1)
        if axes is None:
            c.set(0, c.dtype(0), unknown(len(shape)) if keep else None)
            return
    if not axes:
        if c.attr("noop_with_empty_axes", 0):
            c.set(0, c.dtype(0), shape)
            return
        axes = range(len(shape))
    reduced = set(axes_of(c, axes, len(shape)))
    c.set(0, c.dtype(0), _reduced(shape, reduced, keep))
    known = c.dims(0)
    if c.node.op == "ReduceProd" and known is not None and len(shape) == 1 and reduced:
        c.set_dims(0, [known_product(known)])


def _reduced(shape: Shape, axes: set[int], keep: bool) -> Shape:
    if keep:
        return tuple(1 if i in axes else d for i, d in enumerate(shape))
    return tuple(d for i, d in enumerate(shape) if i not in axes)


@rule("ArgMax", "ArgMin")
def arg_reduce(c: InferContext) -> None:
    shape = c.shape(0)
    if shape is not None:
        axis = axis_of(c, c.attr("axis", 0), len(shape))
        shape = _reduced(shape, {axis}, bool(c.attr("keepdims", 1)))
    c.set(0, DType.INT64, shape)


@rule("TopK")
def top_k(c: InferContext) -> None:
    shape = c.shape(0)
    if shape is not None:
        axis = axis_of(c, c.attr("axis", -1), len(shape))
        k: Dim | None = c.node.attributes.get("k")
        if k is None:
            known = c.dims(1)
            k = known[0] if known is not None and len(known) == 1 else None
        size = shape[axis]
        if isinstance(k, int) and isinstance(size, int) and not 0 <= k <= size:
            raise c.fail(f"the {k} largest of {size} elements are asked for")
        shape = replaced(shape, axis, k)
    c.set(0, c.dtype(0), shape)
    c.set(1, DType.INT64, shape)


@rule("Unique")
def unique(c: InferContext) -> None:
    shape = c.shape(0)
    axis = c.node.attributes.get("axis")
    values: Shape | None = (None,)
    if axis is not None:
        values = None if shape is None else replaced(shape, axis_of(c, axis, len(shape)), None)
    c.set(0, c.dtype(0), values)
    for i in (1, 2, 3):
        c.set(i, DType.INT64, (None,))
    total = None if shape is None else known_product(shape) if axis is None else shape[axis_of(c, axis, len(shape))]
    c.set(2, DType.INT64, (total,))


@rule("Compress")
def compress(c: InferContext) -> None:
    shape, axis = c.shape(0), c.node.attributes.get("axis")
    condition = c.const(1)
    count: Dim | None = None
    if axis is None:
        whole = None if shape is None else known_product(shape)
    else:
        whole = None if shape is None else shape[axis_of(c, axis, len(shape))]
    if condition is not None and isinstance(whole, int):
        count = int(condition.reshape(-1)[:whole].astype(bool).sum())
    if axis is None:
        c.set(0, c.dtype(0), (count,))
    else:
        c.set(0, c.dtype(0), None if shape is None else replaced(shape, axis_of(c, axis, len(shape)), count))


@rule("NonMaxSuppression")
def non_max_suppression(c: InferContext) -> None:
    c.set(0, DType.INT64, (None, 3))


@rule("NonZero")
def non_zero(c: InferContext) -> None:
    rank = c.rank(0)
    c.set(0, DType.INT64, (rank if rank else None, None))


@rule("TfIdfVectorizer")
def tf_idf(c: InferContext) -> None:
    shape = c.shape(0)
    width = max(c.attr("ngram_indexes", [0])) + 1
    c.set(0, DType.FLOAT32, None if shape is None else (*shape[:-1], width))


@rule("MaxRoiPool")
def max_roi_pool(c: InferContext) -> None:
    x, rois = c.shape(0), c.shape(1)
    count = None if not rois else rois[0]
    c.set(0, c.dtype(0), (count, None if x is None or len(x) < 2 else x[1], *c.attr("pooled_shape", [])))


@rule("RoiAlign")
def roi_align(c: InferContext) -> None:
    x, rois = c.shape(0), c.shape(1)
    count = None if not rois else rois[0]
    size = (c.attr("output_height", 1), c.attr("output_width", 1))
    c.set(0, c.dtype(0), (count, None if x is None or len(x) < 2 else x[1], *size))


@rule("STFT")
def stft(c: InferContext) -> None:
    signal, window = c.shape(0), c.shape(2)
    known = c.dims(3)
    size = known[0] if known else window[0] if window else None
    step = c.dims(1)
    bins = None if size is None else floordiv(size, 2) + 1 if c.attr("onesided", 1) else size
    frames: Dim | None = None
    if signal is not None and len(signal) > 1 and signal[1] is not None and size is not None and step:
        if isinstance(step[0], int) and step[0] > 0:
            frames = floordiv(signal[1] - size, step[0]) + 1
    c.set(0, c.dtype(0), (None if not signal else signal[0], frames, bins, 2))
