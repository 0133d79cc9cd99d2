"""Lowerings of ``BitConv`` and ``BlockedBitConv``: pixels to bytes, sums of windows, products."""

from __future__ import annotations

import hashlib
import math

import numpy as np

from ronn.records import dataclass
from ronn_provider_bitnet.kernels.conv_layout import (
    Segments,
    Window,
    panels,
    segments,
    starts,
    tile_heights,
    two,
    widths,
    window_of,
)
from ronn_provider_bitnet.kernels.layout import pack_codes, step_of
from ronn_provider_bitnet.ops import DOMAIN
from ronn_provider_cpu.lower._products import epilogue
from ronn_provider_cpu.lower.conv import block, unblock
from ronn_provider_cpu.lowering import F32, Argument, Lowering, Operand, Temporary, lower

Array = np.ndarray
_PIXELS = "ronn_provider_bitnet.kernels.pixels"
_CONV = "ronn_provider_bitnet.kernels.convolutions"
_NARROW = {2: f"{_CONV}_two", 1: f"{_CONV}_one"}
_DOTS_PER_NS = 400.0  # operations of one core
_PART = 1 << 14  # floats of an image that one search for the largest goes over
_SLACK = 64  # bytes behind the last pixel that words may read


@lower("BitConv", domain=DOMAIN)
def bit_conv(c: Lowering) -> None:
    x, codes, y = c.input(0), c.input(1), c.outputs[0]
    assert x is not None and codes is not None and y is not None
    c.require(x.rank in (3, 4), f"{x.rank - 2} spatial axes")
    lanes, window = c.machine.target.lanes(32), window_of(c.node, x.shape, codes.shape)
    c.require(math.prod(window.out) == math.prod(y.shape[2:]), "the output has another size than the windows")
    out = c.temp(4 * window.n * -(-window.filters // lanes) * lanes * math.prod(window.out))
    _convolve(c, window, block(c, x, lanes), out)
    unblock(c, out, y, lanes)


@lower("BlockedBitConv", domain=DOMAIN)
def blocked_bit_conv(c: Lowering) -> None:
    x, codes, residual, y = c.input(0), c.input(1), c.input(5), c.outputs[0]
    assert x is not None and codes is not None and y is not None
    width = c.machine.target.lanes(32)
    lanes = int(c.attr("lanes"))
    c.require(lanes == width, f"blocks of {lanes} channels on a machine with {width} lanes")
    top, left, bottom, right = (int(p) for p in c.attr("pads"))
    window = Window(
        x.shape[0], int(c.attr("channels")), int(c.attr("out_channels")), two(x.shape[2:4]),
        two(c.attr("kernel_shape")), two(c.attr("strides")), two(c.attr("dilations")), (top, left, bottom, right),
        int(c.attr("group")),
    )  # fmt: skip
    last = bool(c.attr("residual_last"))
    if residual is not None and not last and residual.value is not x.value:
        c.inplace(5)
    _convolve(c, window, x, y, residual, last)


@dataclass(frozen=True)
class Pixels:
    """Images as bytes: s8 planes of ``plane`` bytes, i32 sums of the pixels in ``sum_groups`` groups of channels, and
    f32 steps of the images."""

    planes: int
    plane: int
    bytes: Temporary
    sum_groups: int
    sums: Temporary
    steps: Temporary


def _convolve(
    c: Lowering, window: Window, x: Argument, y: Operand | Temporary, residual: Operand | None = None,
    last: bool = False,
) -> None:  # fmt: skip
    """``x``, ``y`` and ``residual`` are in blocks."""
    codes, scale, offset = c.input(1), c.input(2), c.input(4)
    assert codes is not None and scale is not None
    c.require(codes.data is not None and scale.data is not None, "weights are not constant")
    c.require(offset is None or offset.data is not None, "offsets are not constant")
    c.require(min(window.pads) >= 0, "negative pads")
    lanes, word = c.machine.target.lanes(32), step_of(int(c.attr("bits")))
    each, filters = window.channels // window.group, window.filters // window.group
    c.require(
        window.group == 1 or (each % word == 0 and each % lanes == 0 and filters % lanes == 0),
        f"groups of {each} channels and {filters} filters are not whole words and vectors",
    )
    given = int(c.attr("channel_group"))
    channel_group = given if given else each
    c.require(
        channel_group == each or (channel_group % word == 0 and channel_group % lanes == 0),
        f"scales for {channel_group} channels are not for whole words and vectors",
    )
    pixels = _quantise(c, window, x, channel_group)
    for g in range(window.group):
        _products(c, window, g, channel_group, pixels, y, residual, last)


def _quantise(c: Lowering, window: Window, x: Argument, channel_group: int) -> Pixels:
    lanes, planes, n = c.machine.target.lanes(32), int(c.attr("planes")), window.n
    blocks, (high, wide) = -(-window.channels // lanes), window.padded
    size = blocks * math.prod(window.size) * lanes
    parts = max(1, min(16, size // _PART))
    peaks, steps = c.temp(4 * n * parts), c.temp(4 * n)
    c.call(
        _PIXELS, "image_peaks", x=x, images=n, size=size, parts=parts, peaks=peaks, chunks=n * parts,
        cost=30 + n * size / 20, bytes=4 * n * size,
    )  # fmt: skip
    plane, sum_groups = n * high * wide * window.pitch, window.channels // channel_group
    a, sums = c.temp(planes * plane + _SLACK), c.temp(4 * planes * sum_groups * n * high * wide)
    c.call(
        _PIXELS, "quantize_pixels", x=x, peaks=peaks, parts=parts, together=int(c.attr("together")), images=n,
        blocks=blocks, h=window.size[0], w=window.size[1], top=window.pads[0], left=window.pads[1], high=high,
        wide=wide, channels=window.pitch, group=-(-channel_group // lanes), planes=planes,
        least=float(c.attr("least")) if planes == 1 else 0.0, a=a, sums=sums, steps=steps, chunks=n * high,
        cost=50 + n * size * planes / 6, bytes=4 * n * size + planes * plane,
    )  # fmt: skip
    return Pixels(planes, plane, a, sum_groups, sums, steps)


def _products(
    c: Lowering, window: Window, g: int, channel_group: int, x: Pixels, y: Operand | Temporary,
    residual: Operand | None, last: bool,
) -> None:  # fmt: skip
    """Of one group of channels."""
    codes, scale, offset = c.input(1), c.input(2), c.input(4)
    assert codes is not None and scale is not None
    target, bits, n = c.machine.target, int(c.attr("bits")), window.n
    lanes, (high, wide), (rows, columns) = target.lanes(32), window.padded, window.out
    s, pixels = segments(window, g, channel_group, scale.rank > 2, bits), rows * columns
    zeros = c.temp(4 * x.planes * s.groups * n * pixels)
    c.call(
        _PIXELS, "window_sums", sums=x.sums, part=x.sum_groups * n * high * wide, parts=x.planes, images=n, high=high,
        wide=wide, taps=s.taps, groups=s.groups, count=s.taps.shape[1], stride_h=window.strides[0],
        stride_w=window.strides[1], out_h=rows, out_w=columns, zeros=zeros,
        factor=1 if bits == 1 or offset is not None else int(c.attr("zero")),
        chunks=x.planes * s.groups * n * rows, cost=30 + x.planes * n * pixels * s.taps.size / 8,
    )  # fmt: skip
    mode, p0, p1 = epilogue(c, None).mode
    form = f"conv{bits}_{'' if offset is None else 'affine_'}{'bytes' if x.planes == 1 else 'words'}"
    filters = window.filters // window.group
    for begin, count, vectors in panels(filters, target):
        first, panel = g * filters + begin, vectors * lanes
        packed = _packed(c, window, slice(first, first + count), s, channel_group, panel)
        flops = 2 * n * pixels * count * (window.channels // window.group) * math.prod(window.kernel)
        place = 4 * first * pixels
        c.call(
            _CONV if vectors == widths(target)[0] else _NARROW[vectors], form, a=x.bytes,
            image_bytes=high * wide * window.pitch, plane=x.plane, starts=starts(window), pixels=pixels, images=n,
            offsets=s.offsets, groups=s.groups, segments=s.count, steps=s.codes // step_of(bits), packed=packed,
            zeros=zeros, scale=x.steps, scale_step=1, bias=_bias(c, first, count, panel), n=count,
            residual=0 if residual is None else residual.at(place), residual_last=int(last), y=y.at(place),
            image_floats=-(-window.filters // lanes) * pixels * lanes, mode=mode, p0=p0, p1=p1,
            chunks=n * -(-count // panel) * -(-pixels // tile_heights(target, x.planes, vectors)[1]),
            cost=50 + x.planes * flops / _DOTS_PER_NS, flops=flops,
            bytes=packed.nbytes + x.planes * x.plane + 4 * n * pixels * count,
        )  # fmt: skip


def _packed(c: Lowering, window: Window, own: slice, s: Segments, channel_group: int, panel: int) -> Array:
    """The panels of some filters."""
    codes, scale, offset = c.input(1), c.input(2), c.input(4)
    assert codes is not None
    bits, filters = int(c.attr("bits")), own.stop - own.start

    def facts(given: Operand | None) -> Array | None:
        """One number a filter and group, groups as segments have them."""
        return None if given is None or given.data is None else given.data[own].reshape(filters, s.groups)

    scales, offsets = facts(scale), facts(offset)
    assert scales is not None
    digest = hashlib.blake2b(scales.tobytes() + (b"" if offsets is None else offsets.tobytes())).digest()
    key = ("conv", bits, own.start, own.stop, channel_group, s.groups, s.count, s.codes, s.folded, panel, digest)

    def pack(q: Array) -> Array:
        each, r, columns = q.shape[1], *window.kernel
        parts = q[own].reshape(filters, each // channel_group, channel_group, r, columns).transpose(0, 1, 3, 4, 2)
        if s.folded:
            wide = np.zeros((*parts.shape[:-1], window.pitch), np.uint8)
            wide[..., :channel_group] = parts
            runs = wide.reshape(filters, r, columns * window.pitch)[..., : s.codes]
        else:
            runs = parts.reshape(filters, s.groups * s.count, channel_group)
        full = np.zeros((*runs.shape[:2], s.codes), np.uint8)
        full[..., : runs.shape[-1]] = runs
        return pack_codes(full.reshape(filters, -1), scales, bits, s.count * s.codes, panel, offsets)

    return c.packed(codes, key, pack)


def _bias(c: Lowering, first: int, filters: int, panel: int) -> Array:
    given: Operand | None = c.input(3)
    wide = -(-filters // panel) * panel
    if given is None:
        return np.zeros(wide, np.float32)
    c.require(given.data is not None and given.dtype == F32, "a bias that is not constant")

    def pad(data: Array) -> Array:
        out = np.zeros(wide, np.float32)
        out[:filters] = data.reshape(-1)[first : first + filters]
        return out

    return c.packed(given, ("padded", first, filters, wide), pad)
