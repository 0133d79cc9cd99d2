"""Trits in NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_provider_bitnet.ops import DOMAIN
from ronn_provider_bitnet.trits import unpack_trits

Array = np.ndarray


@kernel("Trits", domain=DOMAIN)
def trits(ctx: KernelContext, packed: Array, *, shape: list[int]) -> Array:
    return from_trits(packed, shape)


def from_trits(packed: Array, shape: Sequence[int]) -> Array:
    """int8 of ``shape``: -1, 0 and 1."""
    return unpack_trits(packed, shape).view(np.int8) - np.int8(1)
