"""Passes of the bitnet provider, in the order in which they run, before those of the CPU provider."""

from __future__ import annotations

from functools import partial

from ronn.passes.deferred import about

_about = partial(about, __name__)

PASSES = (
    _about("unpack-trits", "Trits", keeps_types=True),
    _about("take-bits", "MatMulNBits DequantizeLinear", keeps_types=True, late=True),
    _about("take-integers", "MatMulInteger QLinearMatMul QGemm DynamicQuantizeMatMul", keeps_types=True, late=True),
    _about("find-sign-convs", "Sign Greater Less", keeps_types=True, late=True),
    _about("conv-bits", "Conv FusedConv", keeps_types=True, late=True),
    _about("find-bits", "MatMul Gemm FusedMatMul FusedGemm", keeps_types=True, late=True),
    _about("find-signs", "Sign Greater Less", keeps_types=True, late=True),
)
