"""Convolutions and pooling."""

from __future__ import annotations

from collections.abc import Sequence

from ronn.ir.dims import Dim, Shape, ceildiv, dim_min, floordiv
from ronn.ir.types import DType
from ronn.ops.infer import InferContext, rule
from ronn.ops.rules.common import unknown


class Window:
    """The sliding window of a node: kernel, strides, dilations, and pads where they are given."""

    __slots__ = ("auto_pad", "ceil", "dilations", "kernel", "pads", "rank", "strides")

    def __init__(self, c: InferContext, kernel: Sequence[Dim | None]) -> None:
        n = self.rank = len(kernel)
        self.kernel = kernel
        self.auto_pad = c.attr("auto_pad", "NOTSET")
        self.strides = _listed(c, "strides", n, 1)
        self.dilations = _listed(c, "dilations", n, 1)
        self.pads = _listed(c, "pads", 2 * n, 0)
        self.ceil = bool(c.attr("ceil_mode", 0))
        if any(s < 1 for s in (*self.strides, *self.dilations)):
            raise c.fail("strides and dilations must be at least 1")

    def extent(self, i: int) -> Dim | None:
        k = self.kernel[i]
        return None if k is None else (k - 1) * self.dilations[i] + 1

    def output(self, c: InferContext, size: Dim | None, i: int) -> Dim | None:
        """The number of window positions along spatial axis ``i`` of ``size``."""
        stride = self.strides[i]
        if size is None:
            return None
        if self.auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            return ceildiv(size, stride)
        extent = self.extent(i)
        if extent is None:
            return None
        before, after = (self.pads[i], self.pads[i + self.rank]) if self.auto_pad == "NOTSET" else (0, 0)
        room = size + (before + after) - extent
        if isinstance(room, int) and room < 0:
            raise c.fail(f"the window ({extent}) is larger than the padded input ({size + before + after})")
        if not self.ceil:
            return floordiv(room, stride) + 1
        count = ceildiv(room, stride) + 1
        if isinstance(extent, int) and extent >= after + stride:
            return count
        # A last window that would start in the padding behind the input is dropped.
        return dim_min(count, ceildiv(size + before, stride))


def _listed(c: InferContext, name: str, n: int, default: int) -> list[int]:
    given = c.node.attributes.get(name)
    if given is None or len(given) == 0:
        return [default] * n
    if len(given) != n:
        raise c.fail(f"attribute {name!r} has {len(given)} values, not {n}")
    return list(given)


def _convolved(c: InferContext, x: Shape | None, w: Shape | None) -> Shape | None:
    if x is None:
        return None if w is None else unknown(len(w))
    if len(x) < 2:
        raise c.fail(f"the input has rank {len(x)}; batch and channels are needed")
    kernel = c.node.attributes.get("kernel_shape")
    if w is not None and len(w) != len(x):
        raise c.fail(f"input of rank {len(x)} and weights of rank {len(w)}")
    if kernel is None:
        kernel = (None,) * (len(x) - 2) if w is None else w[2:]
    if len(kernel) != len(x) - 2:
        raise c.fail(f"kernel of {len(kernel)} dims for an input with {len(x) - 2} spatial dims")
    if w is not None and isinstance(x[1], int) and isinstance(w[1], int):
        group = c.attr("group", 1)
        if x[1] != w[1] * group:
            raise c.fail(f"the input has {x[1]} channels, the weights take {w[1]} * group {group}")
    window = Window(c, kernel)
    spatial = [window.output(c, d, i) for i, d in enumerate(x[2:])]
    return (x[0], None if w is None else w[0], *spatial)


@rule("Conv")
def conv(c: InferContext) -> None:
    c.set(0, c.dtype(0), _convolved(c, c.shape(0), c.shape(1)))


@rule("ConvInteger")
def conv_integer(c: InferContext) -> None:
    c.set(0, DType.INT32, _convolved(c, c.shape(0), c.shape(1)))


@rule("QLinearConv")
def qlinear_conv(c: InferContext) -> None:
    c.set(0, c.dtype(7), _convolved(c, c.shape(0), c.shape(3)))


@rule("ConvTranspose")
def conv_transpose(c: InferContext) -> None:
    x, w = c.shape(0), c.shape(1)
    if x is None or len(x) < 2:
        c.set(0, c.dtype(0), None if w is None else unknown(len(w)))
        return
    n = len(x) - 2
    kernel = c.node.attributes.get("kernel_shape")
    if kernel is None:
        kernel = (None,) * n if w is None else w[2:]
    if len(kernel) != n:
        raise c.fail(f"kernel of {len(kernel)} dims for an input with {n} spatial dims")
    window = Window(c, kernel)
    given = c.node.attributes.get("output_shape")
    extra = _listed(c, "output_padding", n, 0)
    spatial: list[Dim | None] = []
    for i, size in enumerate(x[2:]):
        extent = window.extent(i)
        if given:
            spatial.append(given[i - n])
        elif size is None or extent is None:
            spatial.append(None)
        elif window.auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            spatial.append(size * window.strides[i])
        else:
            pads = window.pads[i] + window.pads[i + n] if window.auto_pad == "NOTSET" else 0
            spatial.append((size - 1) * window.strides[i] + extra[i] + extent - pads)
    channels = None if w is None or len(w) < 2 or w[1] is None else w[1] * c.attr("group", 1)
    c.set(0, c.dtype(0), (x[0], channels, *spatial))


@rule("MaxPool", "AveragePool", "LpPool")
def pool(c: InferContext) -> None:
    x = c.shape(0)
    shape = None
    if x is not None and (kernel := c.node.attributes.get("kernel_shape")) is not None:
        if len(kernel) != len(x) - 2:
            raise c.fail(f"kernel of {len(kernel)} dims for an input of rank {len(x)}")
        window = Window(c, kernel)
        shape = (*x[:2], *(window.output(c, d, i) for i, d in enumerate(x[2:])))
    c.set(0, c.dtype(0), shape)
    c.set(1, DType.INT64, shape)


@rule("GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool")
def global_pool(c: InferContext) -> None:
    x = c.shape(0)
    c.set(0, c.dtype(0), None if x is None else (*x[:2], *(1 for _ in x[2:])))
