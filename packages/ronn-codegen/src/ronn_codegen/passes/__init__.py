"""Passes for every device: operators made of others that have kernels."""

from __future__ import annotations

from functools import partial

from ronn.passes.deferred import about

_about = partial(about, __name__)

EXPANSIONS = (
    _about("expand-lp-pools", "LpPool GlobalLpPool", keeps_types=True),
    _about("expand-spectra", "DFT STFT", keeps_types=True),
    _about("expand-einsum", "Einsum", keeps_types=True),
)
INTEGERS = (_about("fuse-quantised", "QuantizeLinear"),)
