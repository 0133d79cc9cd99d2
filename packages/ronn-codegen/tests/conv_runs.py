"""What tests and timings of convolution kernels share: kernels of each level, blocked arrays, the definition."""

from __future__ import annotations

from typing import Any

import numpy as np

from ronn_codegen.native.library import Library, library
from ronn_codegen.native.machine import LEVELS, machine
from ronn_codegen.simd.modes import mode_of
from ronn_codegen.templates.conv_plan import ConvPlan, ConvShape, pack_bias, pixels_of, usual_order
from ronn_codegen.templates.pair_plan import PairPlan
from ronn_codegen.templates.winograd_plan import WinogradPlan

MODULE = "ronn_codegen.templates.conv"
DEPTHWISE_MODULE = "ronn_codegen.templates.depthwise"
ROUND_MODULE = "ronn_codegen.templates.bf16"


def levels() -> list[str]:
    """Those whose code this processor runs."""
    found = []
    for level in LEVELS[1:]:
        try:
            machine(level)
        except ValueError:
            continue
        found.append(level)
    return found


def plan_of(shape: ConvShape, level: str, *, plain: bool = False) -> ConvPlan:
    target = machine(level).target
    return ConvPlan(shape, target.lanes(32), pixels_of(target), plain)


def block(x: np.ndarray, lanes: int) -> np.ndarray:
    """x[N, C, ...] as [N, C/L, ..., L]."""
    n, c, *spatial = x.shape
    blocks = -(-c // lanes)
    padded = np.zeros((n, blocks * lanes, *spatial), np.float32)
    padded[:, :c] = x
    return np.ascontiguousarray(np.moveaxis(padded.reshape(n, blocks, lanes, *spatial), 2, -1))


def unblock(y: np.ndarray) -> np.ndarray:
    """[N, K/L, ..., L] as [N, K, ...], K a multiple of L."""
    moved = np.moveaxis(y, -1, 2)
    return moved.reshape(y.shape[0], -1, *y.shape[2:-1])


def by_definition(x: np.ndarray, w: np.ndarray, bias: np.ndarray, shape: ConvShape) -> np.ndarray:
    """In float64. x[N, C, D, H, W], w[K, C/group, D, R, S]."""
    pads = [(shape.pads[i], shape.pads[i + 3]) for i in range(3)]
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), *pads))
    out = np.zeros((shape.n, shape.k, *shape.out)) + bias[:, None, None, None]
    per, out_per = shape.c // shape.group, shape.k // shape.group
    for tap in np.ndindex(*shape.kernel):
        at = [
            t * d + s * np.arange(n) for t, d, s, n in zip(tap, shape.dilations, shape.strides, shape.out, strict=True)
        ]
        seen = padded[:, :, at[0]][:, :, :, at[1]][:, :, :, :, at[2]]
        for g in range(shape.group):
            channels, outs = slice(g * per, (g + 1) * per), slice(g * out_per, (g + 1) * out_per)
            out[:, outs] += np.einsum("ncdhw,kc->nkdhw", seen[:, channels], w[outs, :, *tap].astype(np.float64))
    return out


def pack(plan: ConvPlan, w: np.ndarray, lib: Library) -> np.ndarray:
    if isinstance(plan, PairPlan):
        return plan.pack(pack(plan.wide, w, lib), lib.kernel(ROUND_MODULE, "bf16_row_pairs"))
    shape, order = plan.shape, usual_order(plan)
    packed = np.full(plan.packed_size, np.nan, np.float32)
    lib.kernel(MODULE, "conv_pack")(
        plan.words.ctypes.data, w.ctypes.data, packed.ctypes.data, shape.k, shape.c // shape.group, plan.taps,
        shape.k // shape.group, order.table.ctypes.data, order.group_step, order.out_step, order.in_step,
    )  # fmt: skip
    return packed


def convolve(
    plan: ConvPlan, level: str, x: np.ndarray, w: np.ndarray, bias: np.ndarray, *, residual: np.ndarray | None = None,
    residual_last: bool = False, activation: str = "", params: tuple[float, ...] = (), workers: int = 1,
    aliased: bool = False, strips: bool = False,
) -> np.ndarray:  # fmt: skip
    """The kernel's output, blocked. ``aliased``: it is written over the residual; ``strips``: by ``depthwise_f32``."""
    lib = library(level)
    kernel = lib.kernel(DEPTHWISE_MODULE, "depthwise_f32") if strips else lib.kernel(MODULE, "conv_f32")
    if isinstance(plan, PairPlan):
        kernel = lib.kernel("ronn_codegen.templates.conv_bf16", "conv_bf16")
    assert not strips or plan.strip_kind is not None
    shape = plan.shape
    given = x if plan.plain else block(x, plan.lanes)
    if isinstance(plan, PairPlan):
        wide, pairs = given, lib.kernel(ROUND_MODULE, "bf16_pairs")
        given = np.empty(wide.size // 2, np.int32)
        pairs(wide.ctypes.data, given.ctypes.data, 1, wide.size, 0, 0)
    packed, b = pack(plan, w, lib), pack_bias(plan, bias)
    size = shape.n * plan.out_blocks * int(np.prod(shape.out)) * plan.lanes
    room = np.full(size + 64, np.nan, np.float32)
    more = None if residual is None else block(residual, plan.lanes)
    if aliased and more is not None:
        room[:size] = more.reshape(-1)
    source = room if aliased else more
    for worker in range(workers):
        kernel(
            plan.words.ctypes.data, *((plan.strip_kind,) if strips else ()), given.ctypes.data, packed.ctypes.data,
            b.ctypes.data, 0 if source is None else source.ctypes.data, room.ctypes.data, residual_last,
            *mode_of(activation, params), worker=worker, workers=workers,
        )  # fmt: skip
    assert np.isnan(room[size:]).all()  # nothing beyond the output is written
    return room[:size].reshape(shape.n, plan.out_blocks, *shape.out, plan.lanes)


def operands(shape: ConvShape, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random input, weights and bias."""
    rng = np.random.default_rng(seed)
    made: list[Any] = [
        rng.standard_normal(size).astype(np.float32)
        for size in (
            (shape.n, shape.c, *shape.size), (shape.k, shape.c // shape.group, *shape.kernel), (shape.k,),
        )
    ]  # fmt: skip
    return made[0], made[1], made[2]


def transform_weights(plan: WinogradPlan, w: np.ndarray, lib: Library) -> np.ndarray:
    packed = np.zeros(plan.packed_size, np.float32)
    lib.kernel(MODULE, "winograd_pack")(
        plan.words.ctypes.data, w.ctypes.data, packed.ctypes.data, plan.shape.k, plan.shape.c
    )
    return packed


def convolve_winograd(
    plan: WinogradPlan, level: str, x: np.ndarray, w: np.ndarray, bias: np.ndarray, *,
    residual: np.ndarray | None = None, residual_last: bool = False, activation: str = "",
    params: tuple[float, ...] = (), workers: int = 1,
) -> np.ndarray:  # fmt: skip
    """The output of Winograd's algorithm, blocked."""
    lib = library(level)
    shape, products = plan.shape, plan.products
    given, packed, b = block(x, plan.lanes), transform_weights(plan, w, lib), pack_bias(products, bias)
    y = np.full((shape.n, products.out_blocks, *shape.out, plan.lanes), np.nan, np.float32)
    v = np.full(plan.input_floats * (workers if plan.fused else shape.n * plan.blocks), np.nan, np.float32)
    m = np.full(plan.product_floats * workers, np.nan, np.float32)
    zero = np.zeros(2 * plan.lanes, np.float32)
    more = None if residual is None else block(residual, plan.lanes)
    if not plan.fused:
        for worker in range(workers):
            lib.kernel(MODULE, "winograd_input_f32")(
                plan.words.ctypes.data, given.ctypes.data, v.ctypes.data, worker=worker, workers=workers
            )
    for worker in range(workers):
        lib.kernel(MODULE, "winograd_f32")(
            plan.words.ctypes.data, given.ctypes.data, packed.ctypes.data, b.ctypes.data, zero.ctypes.data,
            0 if more is None else more.ctypes.data, y.ctypes.data, v.ctypes.data, m.ctypes.data, residual_last,
            *mode_of(activation, params), worker=worker, workers=workers,
        )  # fmt: skip
    return y
