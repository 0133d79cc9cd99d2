"""Conv, FusedConv, ConvTranspose, QLinearConv and ConvInteger: convolutions as products (``clike.templates.conv``)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from ronn.ops.fused import ACTIVATION_ARITY
from ronn.records import dataclass
from ronn_codegen.clike.kernel import Kernel
from ronn_codegen.clike.table import lower
from ronn_codegen.clike.templates.conv import Conv, conv_kernel, pack_kernel
from ronn_codegen.clike.templates.conv_shape import BYTES, Shape, shape_of, takes_panels
from ronn_codegen.clike.templates.depthwise import Depthwise, depthwise_kernel
from ronn_codegen.lowering import F16, F32, F64, I8, I32, U8, Lowering, Operand
from ronn_codegen.windows import ints, resolve_pads, transposed_geometry

KINDS = {F32: "f32", F64: "f64", F16: "f16", I8: "i8", U8: "u8"}
_SUMMED: dict[str, np.dtype] = {"f32": F32, "f64": F64, "i32": I32, "i16": np.dtype(np.int16)}
Places = tuple[tuple[int, ...], ...]


def launch(c: Lowering, kernel: Kernel, **arguments: Any) -> None:
    """Adds a call of a kernel made for a node."""
    c.call_loop(kernel, **arguments)  # type: ignore[arg-type]  # devices of this kind build no object code


@dataclass(frozen=True)
class Windows:
    """Windows of one convolution: channels and rows of a group; of each dim the size of the input, how many windows,
    their stride, the step in the output from one to the next (elements), and where each tap lies from the window."""

    images: int
    groups: int
    channels: int
    rows: int
    sizes: tuple[int, ...]
    counts: tuple[int, ...]
    strides: tuple[int, ...]
    steps: tuple[int, ...]
    taps: Places
    y_plane: int

    @property
    def depth(self) -> int:
        return self.channels * math.prod(len(t) for t in self.taps)

    @property
    def pixels(self) -> int:
        return math.prod(self.counts)

    @property
    def flops(self) -> int:
        return 2 * self.images * self.groups * self.rows * self.depth * self.pixels

    def joined(self) -> Windows:
        """With as few dims as possible: planes of which every element is a window are lines."""
        if all(t == (0,) for t in self.taps) and set(self.strides) == {1} and self.sizes == self.counts:
            one = math.prod(self.sizes)
            if self.steps == _c_steps(self.sizes):
                return self._with((one,), (one,), (1,), (1,), ((0,),))
        kept = [i for i, n in enumerate(self.sizes) if (n, self.counts[i], self.taps[i]) != (1, 1, (0,))]
        kept = kept if kept else [0]
        sizes, counts, strides, steps = (tuple(v[i] for i in kept) for v in self._each)
        return self._with(sizes, counts, strides, steps, tuple(self.taps[i] for i in kept))

    @property
    def _each(self) -> tuple[tuple[int, ...], ...]:
        return self.sizes, self.counts, self.strides, self.steps

    def _with(
        self, sizes: tuple[int, ...], counts: tuple[int, ...], strides: tuple[int, ...], steps: tuple[int, ...],
        taps: Places,
    ) -> Windows:  # fmt: skip
        return Windows(
            self.images, self.groups, self.channels, self.rows, sizes, counts, strides, steps, taps, self.y_plane
        )


def _c_steps(sizes: Sequence[int]) -> tuple[int, ...]:
    return tuple(math.prod(sizes[i + 1 :]) for i in range(len(sizes)))


@lru_cache(256)
def _tap_table(channels: int, sizes: tuple[int, ...], taps: Places) -> np.ndarray:
    """int32[depth, 1 + dims]: see ``conv_kernel``."""
    steps, plane = _c_steps(sizes), math.prod(sizes)
    rows = [(sum(t * s for t, s in zip(tap, steps, strict=True)), *tap) for tap in product(*taps)]
    table = np.tile(np.array(rows, np.int64).reshape(len(rows), 1 + len(sizes)), (channels, 1))
    table[:, 0] += np.repeat(np.arange(channels) * plane, len(rows))
    return table.astype(np.int32)


@lru_cache(256)
def _dim_table(*rows: tuple[int, ...]) -> np.ndarray:
    return np.array(rows, np.int64)


@lower("Conv")
@lower("FusedConv", domain="ronn")
@lower("FusedConv", domain="com.microsoft")
def conv(c: Lowering) -> None:
    """Conv, with an activation and an addend where the operator has them."""
    x, w, bias, addend = (c.input(i) for i in range(4))
    y = c.outputs[0]
    assert x is not None and w is not None and y is not None
    c.require(x.dtype in (F32, F64, F16) and w.dtype == x.dtype, f"convolutions of {x.dtype}")
    c.require(addend is None or addend.shape == y.shape, "an addend of another shape than the result")
    c.require(x.dtype != F64 or c.machine.doubles, "the device has no float64")
    activation, params = str(c.attr("activation", "")), c.attr("activation_params", ())
    c.require(activation in ACTIVATION_ARITY, f"activation {activation!r}")
    params = () if params is None else params
    c.require(len(params) >= ACTIVATION_ARITY[activation], f"{activation} without its parameters")
    found = windows(c, x, w, y)
    if takes_depthwise(found) and addend is None:
        p0, p1 = (*map(float, params), 0.0, 0.0)[:2]
        depthwise(c, found, x, w, bias, y, activation, {"p0": p0, "p1": p1})
    else:
        convolve(c, found, x, w, bias, y, activation=activation, params=params, addend=addend)


def windows(c: Lowering, x: Operand, w: Operand, y: Operand) -> Windows:
    """The windows of a node with the attributes of Conv."""
    rank, group = x.rank - 2, int(c.attr("group", 1))
    c.require(rank >= 1, "no spatial axes")
    strides, dilations = ints(c.attr("strides"), rank, 1), ints(c.attr("dilations"), rank, 1)
    pads = resolve_pads(c.attr("auto_pad"), c.attr("pads"), x.shape[2:], w.shape[2:], strides, dilations)
    taps = tuple(tuple(k * d - p for k in range(n)) for n, d, (p, _) in zip(w.shape[2:], dilations, pads, strict=True))
    found = Windows(
        x.shape[0], group, x.shape[1] // group, w.shape[0] // group, x.shape[2:], y.shape[2:], tuple(strides),
        _c_steps(y.shape[2:]), taps, math.prod(y.shape[2:]),
    )  # fmt: skip
    c.require(w.shape[1] == found.channels and w.shape[0] % group == 0, "groups do not fit")
    return found


def takes_depthwise(given: Windows) -> bool:
    """Whether groups have one input channel, and at most two dims."""
    return given.channels == 1 and len(given.sizes) <= 2


def depthwise(
    c: Lowering, given: Windows, x: Operand, w: Operand, bias: Operand | None, y: Operand, activation: str,
    more: dict[str, Any],
) -> None:  # fmt: skip
    """A convolution whose groups have one input channel. ``more``: the arguments that floats or bytes have alone."""

    def two(values: Sequence[int], missing: int) -> tuple[int, int]:
        return (missing, values[0]) if len(values) == 1 else (values[0], values[1])

    (high, wide), (down, across) = two(given.sizes, 1), two(given.counts, 1)
    stride_y, stride_x = two(given.strides, 1)
    taps = given.taps if len(given.taps) == 2 else ((0,), given.taps[0])
    step_y, step_x = (t[1] - t[0] if len(t) > 1 else 1 for t in taps)
    form = Depthwise(
        KINDS[x.dtype], KINDS[w.dtype], "i32" if y.dtype == I32 else KINDS[y.dtype], activation, takes_panels(c.machine)
    )
    launch(
        c, depthwise_kernel(form), x=x, w=w, bias=0 if bias is None else bias, y=y,
        channels=y.shape[1], times=given.rows, planes=y.shape[0] * y.shape[1], high=high, wide=wide, down=down,
        across=across, tall=len(taps[0]), broad=len(taps[1]), stride_y=stride_y, stride_x=stride_x, step_y=step_y,
        step_x=step_x, above=-taps[0][0], left=-taps[1][0], flops=given.flops,
        bytes=x.nbytes + w.nbytes + y.nbytes, **more,
    )  # fmt: skip


@lower("ConvTranspose")
def conv_transpose(c: Lowering) -> None:
    """ConvTranspose: for each phase of the output a convolution of stride 1 with the taps that fall there."""
    x, w, bias = (c.input(i) for i in range(3))
    y = c.outputs[0]
    assert x is not None and w is not None and y is not None
    c.require(x.dtype in (F32, F64, F16), f"convolutions of {x.dtype}")
    c.require(x.dtype != F64 or c.machine.doubles, "the device has no float64")
    rank, group = x.rank - 2, int(c.attr("group", 1))
    strides, dilations = ints(c.attr("strides"), rank, 1), ints(c.attr("dilations"), rank, 1)
    kernel, sizes = w.shape[2:], x.shape[2:]
    begins, outs = transposed_geometry(
        sizes, kernel, strides, dilations, c.attr("auto_pad"), c.attr("pads"),
        ints(c.attr("output_padding"), rank, 0), c.attr("output_shape"),
    )  # fmt: skip
    c.require(tuple(outs) == y.shape[2:], "the output has another size than the windows")
    steps = _c_steps(outs)
    for phase in product(*[range(min(s, o)) for s, o in zip(strides, outs, strict=True)]):
        used = [
            [k for k in range(kernel[i]) if (phase[i] + begins[i] - k * dilations[i]) % strides[i] == 0]
            for i in range(rank)
        ]
        taps = tuple(
            tuple((phase[i] + begins[i] - k * dilations[i]) // strides[i] for k in used[i]) for i in range(rank)
        )
        counts = tuple(-(-(outs[i] - phase[i]) // strides[i]) for i in range(rank))
        part = Windows(
            x.shape[0], group, x.shape[1] // group, w.shape[1], sizes, counts, (1,) * rank,
            tuple(s * n for s, n in zip(strides, steps, strict=True)), taps, math.prod(outs),
        )  # fmt: skip
        at = sum(p * n for p, n in zip(phase, steps, strict=True))
        convolve(c, part, x, w, bias, y, first=at, used=tuple(map(tuple, used)), transposed=True)


def convolve(
    c: Lowering, given: Windows, x: Operand, w: Operand, bias: Operand | None, y: Operand, *, activation: str = "",
    params: Sequence[float] = (), addend: Operand | None = None, first: int = 0, used: Places | None = None,
    transposed: bool = False, scales: dict[str, Any] | None = None, zeros: tuple[Any, Any] = (None, None),
) -> None:  # fmt: skip
    """Calls the convolution of ``given``, whose results begin at element ``first`` of y. ``used``: the taps of w along
    each dim, of weights that are ``transposed``. ``scales``: the arguments of a quantised one; ``zeros``: the zero
    points of x and w."""
    kind = KINDS[x.dtype]
    shape, staged, sums = shape_of(c.machine, given.rows, kind)
    weights = _weights(c, given, shape, w, staged, used, transposed, zeros[1])
    part = given.joined()
    rank, depth, pixels = len(part.sizes), part.depth, part.pixels
    image, plane = x.size // x.shape[0], math.prod(part.sizes)
    c.require((shape.pixels // pixels + 2) * image < 2**31, "images of 2**31 elements")
    form = Conv(
        shape, rank, kind, "i32" if y.dtype == np.int32 else KINDS[y.dtype], staged, sums, activation,
        addend is not None,
    )  # fmt: skip
    tiles, panels = -(-part.images * pixels // shape.pixels), -(-part.rows // shape.rows)
    parts = panels
    if shape.many:
        parts = max(min(panels, -(-2 * c.machine.compute_units // (tiles * part.groups))), 1)
    blocks = shape.many and depth > shape.depth
    size = _SUMMED[sums].itemsize * part.groups * tiles * panels * shape.rows * shape.pixels
    held = c.temp(size) if blocks else 0
    p0, p1 = (*map(float, params), 0.0, 0.0)[:2]
    more = {} if scales is None else scales
    if form.quantised:
        none = {"x_zero": 0, "x_scale": 0, "w_scale": 0, "w_step": 0, "y_scale": 0, "y_zero": 0}
        more = {**none, **more, "x_zero": 0 if zeros[0] is None else zeros[0]}
    launch(
        c, conv_kernel(form), x=x, w=weights, bias=_bias(c, bias, sums), addend=0 if addend is None else addend,
        y=y.at(first * y.dtype.itemsize), sums=held, taps=_tap_table(part.channels, part.sizes, part.taps),
        dims=_dim_table(*zip(part.sizes, part.counts, part.strides, part.steps, strict=True)), depth=depth,
        rows=part.rows, total=part.images * pixels, pixels=pixels, image=image, group_step=part.channels * plane,
        y_image=part.groups * part.rows * part.y_plane, y_plane=part.y_plane, tiles=tiles, parts=parts,
        groups=part.groups, p0=p0, p1=p1, flops=part.flops, bytes=x.nbytes + w.nbytes + y.nbytes, **more,
    )  # fmt: skip


def _weights(
    c: Lowering, part: Windows, shape: Shape, w: Operand, staged: str, used: Places | None, transposed: bool,
    zeros: Operand | None,
) -> Any:  # fmt: skip
    """The packed weights: once on the host where they are constant."""
    kernel, groups, rows, height = w.shape[2:], part.groups, part.rows, shape.rows
    taps = tuple(tuple(range(n)) for n in kernel) if used is None else used
    if 0 in map(len, taps):
        return c.temp(8)
    if w.data is not None and (zeros is None or zeros.data is not None):
        zero = None if zeros is None else zeros.data

        def pack(data: np.ndarray) -> np.ndarray:
            data = data.astype(_SUMMED[staged])
            if zero is not None:
                data = data - zero.reshape(-1, *(1,) * (data.ndim - 1)).astype(_SUMMED[staged])
            if transposed:
                data = data.reshape(groups, -1, rows, *kernel).swapaxes(1, 2)
            data = data.reshape(groups, rows, -1, *kernel)[np.ix_(*map(range, (groups, rows, part.channels)), *taps)]
            data = data.reshape(groups, rows, -1)
            padded = np.zeros((groups, -(-rows // height) * height, data.shape[2]), data.dtype)
            padded[:, :rows] = data
            return np.ascontiguousarray(padded.reshape(groups, -1, height, data.shape[2]).swapaxes(2, 3))

        key = ("clike conv", staged, height, groups, taps, transposed, None if zero is None else zero.tobytes())
        return c.packed(w, key, pack)
    c.require(zeros is None or not transposed, "zero points of transposed weights")
    outer = math.prod(kernel)
    steps = _c_steps(kernel)
    inside = [sum(k * s for k, s in zip(tap, steps, strict=True)) for tap in product(*taps)]
    per_channel = rows * outer if transposed else outer
    places = np.add.outer(np.arange(part.channels) * per_channel, inside).reshape(-1).astype(np.int64)
    step, group_step = (outer, part.channels * rows * outer) if transposed else (part.channels * outer,) * 2
    if not transposed:
        group_step = rows * part.channels * outer
    packed = c.temp(BYTES[staged] * groups * -(-rows // height) * height * part.depth)
    launch(
        c, pack_kernel(KINDS[w.dtype], staged), w=w, packed=packed, places=places, groups=groups, rows=rows,
        depth=part.depth, height=height, step=step, group_step=group_step, zeros=0 if zeros is None else zeros,
        zero_step=int(zeros is not None and zeros.size > 1), bytes=2 * w.nbytes,
    )  # fmt: skip
    return packed


def _bias(c: Lowering, bias: Operand | None, sums: str) -> Any:
    """The bias as sums are."""
    if bias is None or bias.dtype == _SUMMED[sums]:
        return 0 if bias is None else bias
    if bias.data is not None:
        return c.packed(bias, ("clike bias", sums), lambda b: b.astype(_SUMMED[sums]))
    made = c.temp(4 * bias.size)
    launch(
        c, pack_kernel(KINDS[bias.dtype], sums), w=bias, packed=made, places=np.zeros(1, np.int64), groups=1,
        rows=bias.size, depth=1, height=1, step=1, group_step=0, zeros=0, zero_step=0,
    )  # fmt: skip
    return made
