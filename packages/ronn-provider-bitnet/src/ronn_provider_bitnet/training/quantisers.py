"""Quantisers whose gradients are those of the identity: straight-through estimators (Bengio et al., 2013)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

LEAST = 1e-5
"""The smallest scale: rows of zeros have this one."""


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, quantised: Tensor, within: float | None) -> Tensor:
        context.within = within
        if within is not None:
            context.save_for_backward(x)
        return quantised.view_as(quantised)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        if context.within is not None:
            (x,) = context.saved_tensors
            gradient = gradient * (x.abs() <= context.within)
        return gradient, None, None


def _straight_through(x: Tensor, quantised: Tensor, within: float | None = None) -> Tensor:
    """``quantised``, with the gradient of ``x`` (where |x| <= within)."""
    return _StraightThrough.apply(x, quantised, within) if x.requires_grad else quantised


def ternary(w: Tensor, *, per_row: bool = True) -> Tensor:
    """``round(w / s)`` of -1, 0 and 1, times s: the mean magnitude of a row (of all, as BitNet b1.58 has it, Ma et al.,
    2024). w: float[N, ...]."""
    with torch.no_grad():
        scale = _mean_magnitude(w, per_row)
        signs = (w / scale).round().clamp(-1, 1)
    return _straight_through(w, signs * scale)


def binary(w: Tensor, *, per_row: bool = True) -> Tensor:
    """The signs of w (1 for 0) times the mean magnitude of a row, or of all (XNOR-Net, Rastegari et al., 2016).
    w: float[N, ...]."""
    with torch.no_grad():
        scale = _mean_magnitude(w, per_row)
        quantised = torch.where(w >= 0, scale, -scale)
    return _straight_through(w, quantised)


def eight_bits(x: Tensor, axes: tuple[int, ...] = (-1,)) -> Tensor:
    """``clip(round(x * s), -128, 127) / s`` with ``s = 127 / max(|x|)`` over ``axes``, as BitNet has it (Wang et al.,
    2023). x: float of any shape."""
    with torch.no_grad():
        # A tensor: exporters make a multiplication with a reciprocal of 127 / t, which rounds otherwise.
        top = torch.full((), 127.0, dtype=x.dtype, device=x.device)
        scale = top / x.abs().amax(axes, keepdim=True).clamp(min=LEAST)
        quantised = (x * scale).round().clamp(-128, 127) / scale
    return _straight_through(x, quantised)


def signs(x: Tensor) -> Tensor:
    """1 where x >= 0, else -1; gradients pass where |x| <= 1 (Binarized Neural Networks, Hubara et al., 2016)."""
    with torch.no_grad():
        one = torch.ones((), dtype=x.dtype, device=x.device)
        quantised = torch.where(x >= 0, one, -one)
    return _straight_through(x, quantised, within=1.0)


def _mean_magnitude(w: Tensor, per_row: bool) -> Tensor:
    axes = tuple(range(1, w.dim())) if per_row else tuple(range(w.dim()))
    return w.abs().mean(axes, keepdim=True).clamp(min=LEAST)
