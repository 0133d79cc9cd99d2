"""The layout of signs, one bit each, for ``kernels.xnor``. Imports no compiler.

A bit is set where the sign is -1. 32 of them are a word, the lowest bit first, and words come in pairs: of 64 signs the
first word holds the first 32, the second the parity of both halves, or of all signs of the row up to there (*running*:
see ``kernels.mismatches``). Bits behind the last sign are 0 on both sides, so that they never differ.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from ronn_codegen.simd.target import Target
from ronn_provider_bitnet.kernels.memory import streamed_zeros

Array = np.ndarray
PAIR = 64  # signs of a pair of words
VECTORS = 2  # of rows of weights in a panel


@cache
def panel_rows(target: Target) -> int:
    """Rows of weights that are multiplied together."""
    return VECTORS * target.lanes(32)


def pairs_of(signs: int) -> int:
    """Pairs of words that so many signs take."""
    return -(-signs // PAIR)


def to_words(negative: Array, running: bool) -> Array:
    """bool[..., K] as uint32[..., 2 * pairs]."""
    *outer, k = negative.shape
    full = np.zeros((*outer, pairs_of(k) * PAIR), np.uint8)
    full[..., :k] = negative
    words = np.packbits(full, axis=-1, bitorder="little").view("<u4").astype(np.uint32)
    words[..., 1::2] ^= words[..., ::2]
    if running:
        words[..., 1::2] = np.bitwise_xor.accumulate(words[..., 1::2], axis=-1)
    return words


def pack_signs(codes: Array, scale: Array, rows: int, running: bool) -> Array:
    """Weights uint8[N, taps, C] (1: positive, 0: negative) and what they are multiplied with, f32[N], as int32.

    Panels of ``rows`` rows: first the scales of the rows, then for each tap and pair of words and for each half of the
    rows the first words and the second ones. ``running`` parities are those of one tap. Rows are padded with scales of
    0. The array begins with a line of memory.
    """
    n = len(codes)
    words = to_words(codes == 0, running).reshape(n, -1)
    panels, half = -(-n // rows), rows // VECTORS
    full = np.zeros((panels * rows, words.shape[1]), np.uint32)
    full[:n] = words
    laid = full.reshape(panels, VECTORS, half, -1, 2).transpose(0, 3, 1, 4, 2)
    out = streamed_zeros((panels, rows * (1 + words.shape[1])), np.int32)
    scales = np.zeros(panels * rows, np.float32)
    scales[:n] = scale.reshape(-1)
    out[:, :rows] = scales.view(np.int32).reshape(panels, rows)
    out[:, rows:] = laid.reshape(panels, -1).view(np.int32)
    return out.reshape(-1)
