"""Kernels of ``kernels.convolutions`` for tiles of one vector: for the filters that whole ones leave over.

They take what ``conv2_bytes`` does (with two planes: ``words``; ``affine``: an offset for each row and group), but for
``packed`` and ``bias``, which are panels of one vector.
"""

from __future__ import annotations

from collections.abc import Callable

from ronn_codegen.native.declare import native
from ronn_codegen.simd.target import Target
from ronn_provider_bitnet.kernels.convolutions import PARAMS, convolution

_VECTORS = 1


@native(f"conv2_bytes({PARAMS})")
def conv2_bytes(target: Target) -> Callable[..., None]:
    """See above."""
    return convolution(target, _VECTORS, 2, 1)


@native(f"conv2_words({PARAMS})")
def conv2_words(target: Target) -> Callable[..., None]:
    """See above."""
    return convolution(target, _VECTORS, 2, 2)


@native(f"conv2_affine_bytes({PARAMS})")
def conv2_affine_bytes(target: Target) -> Callable[..., None]:
    """See above."""
    return convolution(target, _VECTORS, 2, 1, affine=True)


@native(f"conv2_affine_words({PARAMS})")
def conv2_affine_words(target: Target) -> Callable[..., None]:
    """See above."""
    return convolution(target, _VECTORS, 2, 2, affine=True)


@native(f"conv1_bytes({PARAMS})")
def conv1_bytes(target: Target) -> Callable[..., None]:
    """See above."""
    return convolution(target, _VECTORS, 1, 1)


@native(f"conv1_words({PARAMS})")
def conv1_words(target: Target) -> Callable[..., None]:
    """See above."""
    return convolution(target, _VECTORS, 1, 2)
