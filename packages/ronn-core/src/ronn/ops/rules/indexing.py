"""Gather and its relatives, one-hot."""

from __future__ import annotations

from ronn.ir.dims import Dim
from ronn.ir.types import DType
from ronn.ops.infer import InferContext, rule
from ronn.ops.rules.common import axis_of, unify, unknown


@rule("Gather")
def gather(c: InferContext) -> None:
    data, indices = c.shape(0), c.shape(1)
    if data is None or indices is None:
        c.set(0, c.dtype(0), None)
        return
    axis = axis_of(c, c.attr("axis", 0), len(data))
    c.set(0, c.dtype(0), (*data[:axis], *indices, *data[axis + 1 :]))
    if len(data) != 1 or len(indices) > 1:
        return
    known, picks = c.dims(0), c.dims(1)
    if known is None or picks is None:
        return
    out: list[Dim | None] = []
    for i in picks:
        if not isinstance(i, int):
            out.append(None)
        elif not -len(known) <= i < len(known):
            raise c.fail(f"index {i} lies outside of {len(known)} elements")
        else:
            out.append(known[i])
    c.set_dims(0, out)


@rule("GatherElements")
def gather_elements(c: InferContext) -> None:
    c.set(0, c.dtype(0), c.shape(1))


@rule("GatherND")
def gather_nd(c: InferContext) -> None:
    data, indices = c.shape(0), c.shape(1)
    batch = c.attr("batch_dims", 0)
    if data is None or indices is None or not indices or not isinstance(indices[-1], int):
        c.set(0, c.dtype(0), None)
        return
    depth = batch + indices[-1]
    if depth > len(data):
        raise c.fail(f"indices of {indices[-1]} coordinates and {batch} batch dims for a tensor of rank {len(data)}")
    shared = [unify(c, a, b, "batch dims") for a, b in zip(data[:batch], indices[:batch], strict=True)]
    c.set(0, c.dtype(0), (*shared, *indices[batch:-1], *data[depth:]))


@rule("OneHot")
def one_hot(c: InferContext) -> None:
    indices = c.shape(0)
    if indices is None:
        c.set(0, c.dtype(2), None)
        return
    rank = len(indices) + 1
    axis = axis_of(c, c.attr("axis", -1), rank)
    known = c.dims(1)
    depth = known[0] if known is not None and len(known) == 1 else None
    if depth is None and (array := c.const(1)) is not None and array.size == 1:
        depth = int(array.reshape(-1)[0])
    c.set(0, c.dtype(2), (*indices[:axis], depth, *indices[axis:]))


@rule("EyeLike")
def eye_like(c: InferContext) -> None:
    code = c.node.attributes.get("dtype")
    c.set(0, c.dtype(0) if code is None else DType.from_code(code), c.shape(0))


@rule("CenterCropPad")
def center_crop_pad(c: InferContext) -> None:
    shape, target = c.shape(0), c.dims(1)
    if shape is None:
        c.set(0, c.dtype(0), None)
        return
    axes = c.node.attributes.get("axes")
    where = [axis_of(c, a, len(shape)) for a in (range(len(shape)) if axes is None else axes)]
    if target is None:
        c.set(0, c.dtype(0), unknown(len(shape)))
        return
    if len(target) != len(where):
        raise c.fail(f"{len(target)} sizes for {len(where)} axes")
    out = list(shape)
    for axis, d in zip(where, target, strict=True):
        out[axis] = d
    c.set(0, c.dtype(0), out)


@rule("MaxUnpool")
def max_unpool(c: InferContext) -> None:
    shape = c.shape(0)
    if shape is None:
        c.set(0, c.dtype(0), None)
        return
    if c.node.input(2) is not None:
        target = c.dims(2)
        c.set(0, c.dtype(0), unknown(len(shape)) if target is None else target)
        return
    rank = len(shape) - 2
    kernel, strides, pads = c.attr("kernel_shape", [1] * rank), c.attr("strides"), c.attr("pads")
    strides, pads = [1] * rank if strides is None else strides, [0] * 2 * rank if pads is None else pads
    out: list[Dim | None] = list(shape[:2])
    for i, n in enumerate(shape[2:]):
        out.append((n - 1) * strides[i] - pads[i] - pads[rank + i] + kernel[i] if isinstance(n, int) else None)
    c.set(0, c.dtype(0), out)
