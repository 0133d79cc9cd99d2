"""Weights and biases in the order of the convolution kernels: once for constants, else in every run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ronn_codegen.aligned import aligned_empty, aligned_zeros
from ronn_codegen.templates.conv_phases import Phase
from ronn_codegen.templates.conv_plan import ConvPlan, WeightsOrder, pack_bias, pack_weights, usual_order
from ronn_codegen.templates.pair_plan import PairPlan
from ronn_codegen.templates.winograd_plan import WinogradPlan
from ronn_provider_cpu.lowering import Argument, Lowering, Operand
from ronn_provider_cpu.progress import compile_progress

_MODULE = "ronn_codegen.templates.conv"
_ROUND = "ronn_codegen.templates.bf16"


def packed_weights(c: Lowering, plan: ConvPlan, w: Operand, phase: Phase | None) -> Argument:
    """The weights ``w`` of a convolution, or of one phase of a transposed one, in the order of ``plan``."""
    shape = plan.shape
    if phase is None:
        order = usual_order(plan)
    else:
        kernel = (1, 1, 1, *w.shape[2:])[-3:]
        order = phase.order(kernel)
    if w.data is not None:
        key = ("conv", plan.lanes, plan.kind, shape.group, None if phase is None else phase.taps)
        return c.packed(w, key, _packer(c, plan, phase, order))
    packed = c.temp(4 * plan.packed_size)
    c.call(
        _MODULE, "conv_pack", plan=plan.words, weights=w, packed=packed, out_channels=shape.k,
        in_channels=shape.c // shape.group, taps=plan.taps, group_out=shape.k // shape.group, offsets=order.table,
        group_step=order.group_step, out_step=order.out_step, in_step=order.in_step, chunks=len(plan.groups),
        cost=100 + plan.packed_size, bytes=8 * plan.packed_size,
    )  # fmt: skip
    return packed


def paired_weights(c: Lowering, plan: PairPlan, w: Operand) -> np.ndarray:
    """Constant weights rounded to bfloat16, in the order of ``plan``."""
    pack, library = _packer(c, plan.wide, None, usual_order(plan.wide)), c.context.library

    def pack_words(weights: np.ndarray) -> np.ndarray:
        return plan.pack(pack(weights), library.kernel(_ROUND, "bf16_row_pairs"))

    return c.packed(w, ("conv bf16", plan.lanes, plan.shape.group), pack_words)


def _packer(
    c: Lowering, plan: ConvPlan, phase: Phase | None, order: WeightsOrder
) -> Callable[[np.ndarray], np.ndarray]:
    """Packs natively where the kernels are at hand; when they are still to be compiled, that waits for nobody."""
    library, shape = c.context.library, plan.shape
    if library.missing([_MODULE]):
        if phase is None:
            return lambda weights: pack_weights(plan, weights)
        return lambda weights: pack_weights(plan, phase.weights(weights, shape.group))

    def pack(weights: np.ndarray) -> np.ndarray:
        given, packed = np.ascontiguousarray(weights), aligned_empty((plan.packed_size,), np.float32)
        library.kernel(_MODULE, "conv_pack")(
            plan.words.ctypes.data, given.ctypes.data, packed.ctypes.data, shape.k, shape.c // shape.group, plan.taps,
            shape.k // shape.group, order.table.ctypes.data, order.group_step, order.out_step, order.in_step,
        )  # fmt: skip
        return packed

    return pack


def winograd_weights(c: Lowering, plan: WinogradPlan, w: Operand) -> np.ndarray:
    """Constant weights, transformed."""
    library = c.context.library

    def pack(weights: np.ndarray) -> np.ndarray:
        # Not with NumPy while the kernels are not there yet: that would be other bits than later sessions have.
        if library.missing([_MODULE]):
            with compile_progress() as progress:
                library.require([_MODULE], progress)
        given = np.ascontiguousarray(weights)
        packed = aligned_zeros((plan.packed_size,), np.float32)
        library.kernel(_MODULE, "winograd_pack")(
            plan.words.ctypes.data, given.ctypes.data, packed.ctypes.data, plan.shape.k, plan.shape.c
        )
        return packed

    return c.packed(w, ("winograd", plan.lanes), pack)


def padded_bias(c: Lowering, plan: ConvPlan, bias: Operand | None) -> Argument:
    """The bias (zeros where there is none) as whole vectors."""
    size = plan.out_blocks * plan.lanes
    if bias is None:
        return pack_bias(plan, None)
    if bias.data is not None:
        return c.packed(bias, ("conv bias", size), lambda values: pack_bias(plan, values))
    padded = c.temp(4 * size)
    c.call(_MODULE, "conv_pad", values=bias, padded=padded, count=plan.shape.k, size=size, cost=100.0 + size)
    return padded
