"""Counts that become places: where a share of counted things begins, and where each digit of a radix sort does."""

from __future__ import annotations

from typing import Any

from numba import njit

from ronn_codegen.simd.scalar import peek, poke

_jit = njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
_at, _put = peek("i64"), poke("i64")


@_jit
def before(counts: int, number: int, first: int) -> Any:
    """The sum of the counts before number ``first``, and that of all ``number`` of them."""
    found, whole = 0, 0
    for i in range(number):
        if i == first:
            found = whole
        whole += _at(counts, i)
    return found, whole


@_jit
def digit_starts(words: int, n: int, counts: int, drop: int, low: int, shift: int, digits: int) -> None:
    """How many of n words have a smaller digit, for each of ``digits`` (a power of two), to ``counts``. The digit is
    the key's distance from ``low`` at ``shift``, the key what is above the lowest ``drop`` bits of a word."""
    for d in range(digits):
        _put(counts, d, 0)
    for i in range(n):
        digit = (((_at(words, i) >> drop) - low) >> shift) & (digits - 1)
        _put(counts, digit, _at(counts, digit) + 1)
    total = 0
    for d in range(digits):
        count = _at(counts, d)
        _put(counts, d, total)
        total += count
