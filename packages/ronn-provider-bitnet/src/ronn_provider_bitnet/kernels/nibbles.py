"""Products of quantised activations with weights of four bits: ``kernels.products`` with two codes in a byte."""

from __future__ import annotations

from collections.abc import Callable

from ronn_codegen.native.declare import native
from ronn_codegen.simd.target import Target
from ronn_provider_bitnet.kernels.products import _products


@native("bits4_bytes(a, m, groups, group, n, packed, zeros, scale, bias, y, mode, p0: f32, p1: f32)")
def bits4_bytes(target: Target) -> Callable[..., None]:
    """y[m, n] = scale[m] * (a @ weights) + bias of s8 a[m, groups * group] and four-bit weights (see ``layout``);
    otherwise as ``products.bits2_bytes``."""
    return _products(target, 4, 1)


@native("bits4_words(a, m, groups, group, n, packed, zeros, scale, bias, y, mode, p0: f32, p1: f32)")
def bits4_words(target: Target) -> Callable[..., None]:
    """As ``bits4_bytes``, with two planes a[2, m, groups * group] and zeros[2, m, groups]."""
    return _products(target, 4, 2)


@native("affine4_bytes(a, m, groups, group, n, packed, zeros, scale, bias, y, mode, p0: f32, p1: f32)")
def affine4_bytes(target: Target) -> Callable[..., None]:
    """As ``bits4_bytes`` with an offset for each row and group; ``zeros`` are the sums of the activations."""
    return _products(target, 4, 1, affine=True)


@native("affine4_words(a, m, groups, group, n, packed, zeros, scale, bias, y, mode, p0: f32, p1: f32)")
def affine4_words(target: Target) -> Callable[..., None]:
    """As ``affine4_bytes``, with two planes."""
    return _products(target, 4, 2, affine=True)
