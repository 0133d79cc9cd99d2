"""The layout of weights of one, two, four and eight bits for ``kernels.products``. Imports no compiler."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from ronn_codegen.simd.target import Target
from ronn_provider_bitnet.kernels.memory import streamed_zeros

Array = np.ndarray
WIDEST = 1 << 15
"""Elements of k in a group of eight bits: their sums stay below 2**31."""
_VECTOR = 16  # elements that activations are quantised by: a multiple of every target's lanes


@cache
def panel_vectors(target: Target) -> int:
    """Vectors of rows in a panel."""
    return 4


@cache
def panel_rows(target: Target) -> int:
    return panel_vectors(target) * target.lanes(32)


def step_of(bits: int) -> int:
    """Elements of k that a 32-bit word holds the codes of."""
    return 32 // bits


def padded(group: int, bits: int) -> int:
    """Elements of k that a group of ``group`` takes: whole words, and whole vectors of activations."""
    step = max(step_of(bits), _VECTOR)
    return -(-group // step) * step


def pack_codes(codes: Array, scales: Array, bits: int, group: int, rows: int, offsets: Array | None = None) -> Array:
    """``pack_panels`` with scales f32[N, groups] and, where these are given, ``offsets`` as facts."""
    facts = [scales] if offsets is None else [scales, offsets]
    return pack_panels(codes, [np.ascontiguousarray(f, np.float32) for f in facts], bits, group, rows)


def pack_panels(codes: Array, facts: Sequence[Array], bits: int, group: int, rows: int) -> Array:
    """Codes uint8[N, K] below ``2 ** bits``, and ``facts`` [N, groups], 32 bits each, of ``group`` elements along K, as
    int32.

    Panels of ``rows`` rows; in each, group by group: fact after fact of the rows, then for every ``32 / bits`` elements
    of k a word per row. Byte j of a word holds, from its lowest bits on, the codes of k = j, 4 + j, 8 + j ..., so that
    one shift and one mask give the bytes of four neighbouring k. Rows are padded with facts of 0, groups with codes of
    0.
    """
    n, k = codes.shape
    groups, step = facts[0].shape[1], step_of(bits)
    wide = padded(group, bits)
    panels = -(-n // rows)
    full = np.zeros((panels * rows, groups, wide), np.uint8)
    for g in range(groups):
        part = codes[:, g * group : min((g + 1) * group, k)]
        full[:n, g, : part.shape[1]] = part
    by_word = full.reshape(panels * rows, groups, wide // step, 8 // bits, 4)
    words = np.zeros(by_word.shape[:3], np.uint32)
    for i in range(8 // bits):
        for j in range(4):
            words |= by_word[..., i, j].astype(np.uint32) << np.uint32(8 * j + bits * i)
    out = np.zeros((panels * rows, groups, len(facts) + wide // step), np.uint32)
    for i, fact in enumerate(facts):
        out[:n, :, i] = np.ascontiguousarray(fact).view(np.uint32)
    out[:, :, len(facts) :] = words
    laid = streamed_zeros((panels, groups, out.shape[-1], rows), np.uint32)
    laid[:] = out.reshape(panels, rows, groups, -1).transpose(0, 2, 3, 1)
    return laid.view(np.int32).reshape(-1)
