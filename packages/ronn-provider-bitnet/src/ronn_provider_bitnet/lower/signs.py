"""Products whose activations are signs."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np

import ronn_provider_bitnet.sign_ops  # noqa: F401  # declares the operators
from ronn_codegen.windows import ints, resolve_pads
from ronn_provider_bitnet.kernels.sign_layout import pack_signs, pairs_of, panel_rows
from ronn_provider_bitnet.kernels.sign_windows import windows
from ronn_provider_bitnet.ops import DOMAIN
from ronn_provider_cpu.lower._products import epilogue
from ronn_provider_cpu.lowering import F32, Argument, Lowering, Operand, lower

_SIGNS, _PIXELS, _XNOR, _CONV = (
    f"ronn_provider_bitnet.kernels.{name}" for name in ("signs", "sign_pixels", "xnor", "xnor_conv")
)
_BYTES_PER_NS, _PRODUCTS_PER_NS = 20.0, 1000.0  # what one core streams, and multiplies
_TILE_ROWS = 5
_MOST_SHARES = 32  # of a convolution, each with memory of its own
_MOST_SUMS = 1 << 22  # of windows at borders


@lower("SignLinear", domain=DOMAIN)
def sign_linear(c: Lowering) -> None:
    x, codes, scale, y = c.input(0), c.input(1), c.input(2), c.outputs[0]
    assert x is not None and codes is not None and scale is not None and y is not None
    (n, k), rows, pairs = codes.shape, math.prod(x.shape[:-1]), pairs_of(codes.shape[1])
    panel = panel_rows(c.machine.target)
    packed = weights(c, codes, scale, panel, running=True)
    zero, nan, mean = (int(c.attr(name)) for name in ("zero", "nan", "mean"))
    a, flags, factor = c.temp(2 * 8 * rows * pairs), c.temp(4 * rows), c.temp(4 * rows)
    c.call(
        _SIGNS, "sign_rows", x=x, m=rows, k=k, at_zero=-(zero < 0), at_nan=-(nan < 0), zeros=int(zero == 0),
        nans=int(nan == 0), mean=mean, a=a, flags=flags, factor=factor, chunks=rows, cost=20 + x.size / 20,
        bytes=4 * x.size,
    )  # fmt: skip
    mode, p0, p1 = epilogue(c, None).mode
    bias, bias_step = padded_bias(c, n, panel)
    c.call(
        _XNOR, "xnor_rows", a=a, zeros=flags if zero == 0 else 0, factor=factor, m=rows, steps=pairs, n=n,
        packed=packed, sums=np.full(panel, k, np.int32), sum_at=np.zeros(1, np.int32), bias=bias, bias_step=bias_step,
        y=y, mode=mode, p0=p0, p1=p1, chunks=-(-n // panel) * -(-rows // _TILE_ROWS),
        cost=50 + max(packed.nbytes / _BYTES_PER_NS, rows * k * n / _PRODUCTS_PER_NS), flops=2 * rows * k * n,
        bytes=packed.nbytes + 4 * x.size + y.nbytes,
    )  # fmt: skip


@lower("SignConv", domain=DOMAIN)
def sign_conv(c: Lowering) -> None:
    x, codes, scale, y = c.input(0), c.input(1), c.input(2), c.outputs[0]
    assert x is not None and codes is not None and scale is not None and y is not None
    rank = x.rank - 2
    c.require(rank in (1, 2), f"{rank} spatial axes")
    strides, dilations = ints(c.attr("strides"), rank, 1), ints(c.attr("dilations"), rank, 1)
    pads = resolve_pads(c.attr("auto_pad"), c.attr("pads"), x.shape[2:], codes.shape[2:], strides, dilations)
    c.require(min(min(pair) for pair in pads) >= 0, "pads below 0")
    shape = windows(x.shape, codes.shape, y.shape, strides, dilations, pads)
    panel = panel_rows(c.machine.target)
    packed = weights(c, codes, scale, panel, running=False)
    wide = -(-shape.outputs // panel) * panel
    c.require(shape.classes * wide <= _MOST_SUMS, "too many kinds of borders")
    zero, nan = int(c.attr("zero")), int(c.attr("nan"))
    lines, shares = shape.n * shape.padded[0], min(_MOST_SHARES, shape.n * shape.strips * (wide // panel))
    a, flags = c.temp(2 * shape.plane_bytes), c.temp(4 * lines)
    nans, told = c.temp(4 * lines * shape.padded[1]), c.temp(8 * lines)
    reading: dict[str, Any] = {
        "x": x, "plan": shape.plan, "at_nan": -(nan < 0), "tells": (zero == 0) | (nan == 0) << 1, "flags": flags,
        "nans": nans, "told": told,
    }  # fmt: skip
    c.call(
        _PIXELS, "sign_pixels", a=a, at_zero=-(zero < 0), chunks=lines, cost=20 + x.size / 10, bytes=4 * x.size,
        **reading,
    )  # fmt: skip
    if zero == 0:
        c.call(
            _PIXELS, "sign_pixels_again", a=a.at(shape.plane_bytes), at_zero=-1, chunks=lines, cost=20 + x.size / 100,
            **reading,
        )  # fmt: skip
    mode, p0, p1 = epilogue(c, None).mode
    bias, bias_step = padded_bias(c, shape.outputs, panel)
    sums = c.packed(codes, ("sums", wide, shape), lambda q: shape.sums(q.reshape(*q.shape[:2], *shape.kernel), wide))
    c.call(
        _CONV, "xnor_conv", a=a, flags=flags, nans=nans, plan=shape.plan, segments=len(shape.segments),
        offsets=shape.segments, steps=shape.steps, packed=packed, sums=sums, sum_at=shape.class_bytes(wide),
        factor=np.ones(1, np.float32), bias=bias, bias_step=bias_step, y=y,
        kept=c.temp(4 * shares * shape.lines * shape.out[1] * panel), mode=mode, p0=p0, p1=p1, chunks=shares,
        cost=100 + shape.products / _PRODUCTS_PER_NS + y.nbytes / _BYTES_PER_NS, flops=2 * shape.products,
        bytes=packed.nbytes + 4 * x.size + y.nbytes,
    )  # fmt: skip


def weights(c: Lowering, codes: Operand, scale: Operand, panel: int, *, running: bool) -> np.ndarray:
    """Constant codes u8[N, C, ...] and their scales, packed."""
    c.require(codes.data is not None and scale.data is not None, "weights are not constant")
    scales = scale.data
    assert scales is not None
    digest = hashlib.blake2b(scales.tobytes()).digest()

    def pack(q: np.ndarray) -> np.ndarray:
        by_tap = q.reshape(*q.shape[:2], -1).transpose(0, 2, 1) if q.ndim > 2 else q[:, None]
        return pack_signs(by_tap, scales, panel, running)

    return c.packed(codes, ("signs", panel, digest), pack)


def padded_bias(c: Lowering, n: int, panel: int) -> tuple[Argument, int]:
    """The bias, padded to whole panels, and how many bytes lie between these; a panel of zeros where there is none."""
    given = c.input(3)
    if given is None:
        return np.zeros(panel, np.float32), 0
    c.require(given.data is not None and given.dtype == F32, "a bias that is not constant")
    wide = -(-n // panel) * panel

    def pad(data: np.ndarray) -> np.ndarray:
        out = np.zeros(wide, np.float32)
        out[:n] = data.reshape(-1)
        return out

    return c.packed(given, ("padded", wide), pad), 4 * panel
