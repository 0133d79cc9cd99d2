"""Products with ternary weights by look-up."""

from __future__ import annotations

from collections.abc import Callable

from ronn_codegen.native.declare import native
from ronn_codegen.simd.target import Target
from ronn_provider_bitnet.kernels.lookup_layout import TERNARY
from ronn_provider_bitnet.kernels.lookups import products


@native(
    "ternary_rows_bytes(a, m, groups, words, wide, n, packed, factors, zeros, scale, bias, sums, y, mode, p0: f32,"
    " p1: f32)"
)
def ternary_rows_bytes(target: Target) -> Callable[..., None]:
    """y[m, n] = scale[m] * factors[n] * (a @ weights) + bias of s8 a[m, wide] and ternary weights, ``words`` words
    in a row (see ``lookup_layout``); ``zeros`` are not read. ``groups`` is 1.

    64 bytes behind ``a`` may be read. ``factors`` and ``bias`` are padded to whole panels, ``sums`` is memory (see
    ``sums_bytes``). ``mode``, p0 and p1 are an activation: see ``ronn_codegen.simd.modes``.
    """
    return products(target, TERNARY, 1, False)


@native(
    "ternary_groups_bytes(a, m, groups, words, wide, n, packed, factors, zeros, scale, bias, sums, y, mode, p0: f32,"
    " p1: f32)"
)
def ternary_groups_bytes(target: Target) -> Callable[..., None]:
    """As ``ternary_rows_bytes`` with scales of ``groups`` groups, of ``words`` words each, in ``packed``; activations
    a[m, groups * wide]. ``factors`` are not read."""
    return products(target, TERNARY, 1, True)


@native(
    "ternary_rows_words(a, m, groups, words, wide, n, packed, factors, zeros, scale, bias, sums, y, mode, p0: f32,"
    " p1: f32)"
)
def ternary_rows_words(target: Target) -> Callable[..., None]:
    """As ``ternary_rows_bytes``, with two planes of activations of which the first counts 256 times."""
    return products(target, TERNARY, 2, False)


@native(
    "ternary_groups_words(a, m, groups, words, wide, n, packed, factors, zeros, scale, bias, sums, y, mode, p0: f32,"
    " p1: f32)"
)
def ternary_groups_words(target: Target) -> Callable[..., None]:
    """As ``ternary_groups_bytes``, with two planes of activations of which the first counts 256 times."""
    return products(target, TERNARY, 2, True)
