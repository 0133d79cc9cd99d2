"""A layer rounded in each of several ways, and how far off each is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ronn.records import dataclass
from ronn_provider_bitnet.quantize.gptq import DAMPING, Rounded, gptq, nearest
from ronn_provider_bitnet.quantize.grids import FITS, Fit
from ronn_provider_bitnet.quantize.layers import Layer
from ronn_provider_bitnet.quantize.planes import two_planes
from ronn_provider_bitnet.quantize.statistics import Inputs
from ronn_provider_bitnet.quantize.write import Part, pack
from ronn_provider_bitnet.quantize.write_conv import pack_rows
from ronn_provider_bitnet.quantize.write_trits import can_be_trits, pack_planes

Array = np.ndarray
ORDINARY, TRITS = FORMS = ("onnx", "trits")
"""Of files: ordinary ONNX, or five ternary digits in a byte, for the provider ``bitnet``."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A layer with ``bits``, packed. values: the weights that these stand for, f32[N, K]. noise: power of the error of
    its products over the power of the products (of weights, where there are no data); cosine: of the two."""

    bits: str
    planes: int
    group: int
    method: str
    parts: Sequence[Part]
    values: Array
    noise: float
    cosine: float

    @property
    def nbytes(self) -> int:
        return sum(p.nbytes for p in self.parts)

    @property
    def sqnr_db(self) -> float:
        """Signal over the noise of rounding, in decibels; infinite where nothing was lost."""
        return math.inf if self.noise == 0 else -10 * math.log10(self.noise)


def candidates(
    layer: Layer, bits: Sequence[str], *, inputs: Inputs | None, method: str, group: int, planes: int, form: str
) -> list[Candidate]:
    """The layer rounded to each of ``bits``. group: columns with one scale, 0: all. planes: of ternary weights. form:
    of the file."""
    return [_candidate(layer, b, inputs, method, group, planes if b == "1.58" else 1, form) for b in bits]


def _candidate(
    layer: Layer, bits: str, inputs: Inputs | None, method: str, group: int, planes: int, form: str
) -> Candidate:
    group = 0 if layer.window is not None else group  # weights of convolutions have a scale a row
    fit: Fit = two_planes if planes == 2 else FITS[bits]
    rounded, how = _rounded(layer.w, fit, inputs, method, group)
    noise, cosine = compare(layer.w, rounded.values, None if inputs is None else inputs.hessian)
    shared = group if 0 < group < layer.w.shape[1] else 0
    parts: Sequence[Part]
    if form == TRITS and can_be_trits(rounded):
        parts = pack_planes(rounded, layer)
    else:
        parts = pack(rounded) if layer.window is None else pack_rows(rounded, layer)
    return Candidate(bits, planes, shared, how, parts, rounded.values, noise, cosine)


def _rounded(w: Array, fit: Fit, inputs: Inputs | None, method: str, group: int) -> tuple[Rounded, str]:
    if method == "gptq" and inputs is not None and inputs.hessian.any():
        for damping in (DAMPING, 10 * DAMPING, 1.0):
            try:
                found = gptq(w, inputs.hessian, fit, group, damping)
            except np.linalg.LinAlgError:
                continue
            return found, "gptq"
    return nearest(w, fit, group), "nearest"


def compare(w: Array, rounded: Array, hessian: Array | None) -> tuple[float, float]:
    """Noise over signal, and cosine, of f32[N, K]'s products with inputs of ``hessian``; of itself without one."""
    a, b = w.astype(np.float64), rounded.astype(np.float64)

    def power(left: Array, right: Array) -> float:
        return float(np.einsum("nk,nk->", left if hessian is None else left @ hessian, right))

    signal, other, both = power(a, a), power(b, b), power(a, b)
    noise = power(a - b, a - b)
    if signal <= 0 or other <= 0:
        return (0.0, 1.0) if noise <= 0 else (1.0 if signal > 0 else math.inf, 0.0)
    return max(noise, 0.0) / signal, min(1.0, both / math.sqrt(signal * other))
