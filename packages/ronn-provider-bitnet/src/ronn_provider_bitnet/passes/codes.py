"""Constant integer weights with scales and zero points, as codes of one, two or four bits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Array = np.ndarray
MANY = "weights of more than 16 values in equal steps"
_WIDEST = 1 << 12  # the range of integers that is worth counting
_PART = 1 << 16  # integers that are counted at once: what is made of them stays in the cache


class Codes(NamedTuple):
    """Weights as BitLinear takes them: ``(code - zero) * scale`` with codes u8[N, K], and scale and zero f32[N, groups]
    for groups of ``group`` elements along K (0: one group). With one bit a weight is ``(2 * code - 1) * scale``."""

    codes: Array
    scale: Array
    zero: Array
    group: int
    bits: int

    @property
    def one_zero(self) -> int | None:
        """The zero point of all groups, where it is one whole number."""
        first = self.zero.reshape(-1)[0]
        return int(first) if first == np.rint(first) and (self.zero == first).all() else None


class Even(NamedTuple):
    """Integers that are ``low + step * code``, codes from 0 to ``most``."""

    low: int
    step: int
    most: int

    @property
    def bits(self) -> int:
        return 2 if self.most < 4 else 4 if self.most < 16 else 8


def evenly(values: Array) -> Even:
    """How far apart integers lie: ``step`` divides all of them, where they are not zero only."""
    low, high = int(values.min()), int(values.max())
    if high - low > _WIDEST:
        return Even(low, 1, high - low)
    seen, flat = np.zeros(high - low + 1, np.bool_), values.reshape(-1)
    for start in range(0, flat.size, _PART):
        seen[flat[start : start + _PART] - low] = True
    found = np.flatnonzero(seen) + low
    step = max(int(np.gcd.reduce(np.abs(found))), 1)
    return Even(low, step, (high - low) // step)


def few(q: Array, scale: Array, zeros: Array, group: int) -> Codes | str:
    """Integers [N, K] as codes, or why not; scale f32 and zeros [N, groups] (zeros may be real numbers).

    Codes are of the differences to the zero points, or of the integers where these take fewer bits. Scales and zero
    points that are repeated along every row become one a row.
    """
    if not q.size:
        return "weights without elements"
    if group and (scale == scale[:, :1]).all() and (zeros == zeros[:, :1]).all():
        scale, zeros, group = np.ascontiguousarray(scale[:, :1]), zeros[:, :1], 0
    if np.unique(q[0]).size > 16 and np.unique(q[0].astype(np.int64) - _along(zeros, q.shape[1], group)[0]).size > 16:
        return MANY
    q = q.astype(np.int32)
    whole = bool((zeros == np.rint(zeros)).all())
    given = evenly(q)
    if whole:
        less = q - _along(zeros, q.shape[1], group).astype(np.int32)
        found = evenly(less)
        if found.bits <= given.bits and found.bits < 8:
            return _centred(less, found, scale, group)
    if given.step > 1 and ((zeros - given.low) % given.step != 0).any():
        given = Even(given.low, 1, given.most * given.step)
    if given.bits == 8:
        return MANY
    codes = ((q - given.low) // given.step).astype(np.uint8)
    zero = (np.asarray(zeros, np.float64) - given.low) / given.step
    return Codes(codes, _times(scale, given.step), zero.astype(np.float32), group, given.bits)


def _centred(less: Array, found: Even, scale: Array, group: int) -> Codes:
    """Codes of integers that have no zero point any more."""
    scale = _times(scale, found.step)
    if (np.abs(less) == found.step).all():
        return Codes((less > 0).astype(np.uint8), scale, np.ones_like(scale), group, 1)
    codes = ((less - found.low) // found.step).astype(np.uint8)
    return Codes(codes, scale, np.full_like(scale, -found.low // found.step), group, found.bits)


def _along(facts: Array, k: int, group: int) -> Array:
    """Facts [N, groups] for every element [N, K] (or [N, 1] of one group)."""
    return np.repeat(facts, group, axis=1)[:, :k] if group else facts


def _times(scale: Array, step: int) -> Array:
    return np.ascontiguousarray(scale, np.float32) * np.float32(step)
