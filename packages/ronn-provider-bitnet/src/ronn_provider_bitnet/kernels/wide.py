"""Products of quantised activations with weights of eight bits: ``kernels.products`` with a code a byte."""

from __future__ import annotations

from collections.abc import Callable

from ronn_codegen.native.declare import native
from ronn_codegen.simd.target import Target
from ronn_provider_bitnet.kernels.products import _products


@native("bits8_bytes(a, m, groups, group, n, packed, zeros, scale, bias, y, mode, p0: f32, p1: f32)")
def bits8_bytes(target: Target) -> Callable[..., None]:
    """y[m, n] = scale[m] * (a @ weights) + bias of s8 a[m, groups * group] and eight-bit weights (see ``layout``) in
    groups of at most ``WIDEST``; otherwise as ``products.bits2_bytes``."""
    return _products(target, 8, 1)


@native("bits8_words(a, m, groups, group, n, packed, zeros, scale, bias, y, mode, p0: f32, p1: f32)")
def bits8_words(target: Target) -> Callable[..., None]:
    """As ``bits8_bytes``, with two planes a[2, m, groups * group] and zeros[2, m, groups]."""
    return _products(target, 8, 2)


@native("affine8_bytes(a, m, groups, group, n, packed, zeros, scale, bias, y, mode, p0: f32, p1: f32)")
def affine8_bytes(target: Target) -> Callable[..., None]:
    """As ``bits8_bytes`` with an offset for each row and group; ``zeros`` are the sums of the activations."""
    return _products(target, 8, 1, affine=True)


@native("affine8_words(a, m, groups, group, n, packed, zeros, scale, bias, y, mode, p0: f32, p1: f32)")
def affine8_words(target: Target) -> Callable[..., None]:
    """As ``affine8_bytes``, with two planes."""
    return _products(target, 8, 2, affine=True)
