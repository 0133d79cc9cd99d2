"""Five ternary digits in a byte: 1.6 bits a weight, the smallest form on disk.

A byte is ``sum(code[i] * 3 ** i)`` of five consecutive codes 0, 1 and 2, so 242 at most (3 ** 5 = 243 of 256 values are
used; 1.585 bits are the bound).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ronn.errors import ModelError

Array = np.ndarray
PER_BYTE = 5
_POWERS = 3 ** np.arange(PER_BYTE)
_DIGITS = (np.arange(3**PER_BYTE)[:, None] // _POWERS % 3).astype(np.uint8)


def pack_trits(codes: Array) -> Array:
    """u8[ceil(size / 5)] of codes 0, 1 and 2 in C order; the rest of the last byte is zeros."""
    if codes.size and int(codes.max()) > 2:
        raise ModelError(f"codes up to {int(codes.max())} are no ternary digits")
    flat = np.zeros(-(-codes.size // PER_BYTE) * PER_BYTE, np.uint8)
    flat[: codes.size] = codes.reshape(-1)
    return (flat.reshape(-1, PER_BYTE) @ _POWERS.astype(np.uint8)).astype(np.uint8)


def unpack_trits(packed: Array, shape: Sequence[int]) -> Array:
    """Codes u8 of ``shape`` of what ``pack_trits`` made. Raises ModelError where bytes are too few, too many or above
    242."""
    size = int(np.prod(np.asarray(shape, dtype=object), initial=1))
    if packed.dtype != np.uint8 or packed.ndim != 1 or len(packed) != -(-size // PER_BYTE) or min(shape, default=0) < 0:
        raise ModelError(
            f"{packed.dtype}{list(packed.shape)} is not {-(-size // PER_BYTE)} bytes of trits for {list(shape)}"
        )
    if packed.size and int(packed.max()) >= len(_DIGITS):
        raise ModelError(f"a byte of {int(packed.max())} is not five ternary digits", hint="the file is damaged")
    return _DIGITS[packed].reshape(-1)[:size].reshape(tuple(shape))
