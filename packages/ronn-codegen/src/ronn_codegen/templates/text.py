"""Texts: words cut out of them and looked up in a vocabulary, n-grams of those counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd.scalar import peek, poke
from ronn_codegen.simd.target import Target
from ronn_codegen.templates.text_tables import FACTOR, SEED, SPREAD

_byte, _word, _float = peek("u8"), peek("i64"), peek("f32")
_set_word, _set_float = poke("i64"), poke("f32")


def _compile(function: Any) -> Any:
    return njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)(function)


@_compile
def _number(text: Any, start: Any, size: Any, value: Any, words: Any, mask: Any, spelled: Any) -> Any:
    """The number of the word text[start : start + size] whose hash is ``value``; -1 where it is none."""
    place = (value ^ ((value >> 32) & 0xFFFFFFFF)) & mask
    while _word(words, 4 * place + 3) >= 0:
        if _word(words, 4 * place) == value and _word(words, 4 * place + 2) == size:
            first = _word(words, 4 * place + 1)
            same = 0
            while same < size and _byte(spelled, first + same) == _byte(text, start + same):
                same += 1
            if same == size:
                return _word(words, 4 * place + 3)
        place = (place + 1) & mask
    return -1


@_compile
def _longer(parent: Any, word: Any, vocabulary: Any, grams: Any, mask: Any) -> Any:
    """The number of the n-gram ``parent`` with ``word`` behind it; -1 where there is none."""
    key = parent * vocabulary + word
    value = key * SPREAD
    place = (value ^ ((value >> 32) & 0xFFFFFFFF)) & mask
    while _word(grams, 2 * place) >= 0:
        if _word(grams, 2 * place) == key:
            return _word(grams, 2 * place + 1)
        place = (place + 1) & mask
    return -1


@native(
    "count_grams_f32(text, size, rows, inside, alone, fewest, words, word_mask, spelled, grams, gram_mask, columns,"
    " vocabulary, shortest, longest, recent, y, width, scale, once)"
)
def count_grams(target: Target) -> Callable[..., None]:
    """y[rows, width] += how often the n-grams of the tables stand in each of ``rows`` texts.

    text: ``size`` bytes of UTF-8, the texts with a zero byte between two. inside[256] (u8) tells bytes of words from
    those between words (zero is one of these); ``alone``: every character is a word; ``fewest`` characters that a word
    has. words, spelled, grams, columns and vocabulary: see ``text_tables``; masks: their numbers of places - 1.
    n-grams of ``shortest`` to ``longest`` words count. recent: scratch, ``longest`` words for each worker. scale (0:
    none): what columns are multiplied by; with ``once`` they hold that, or 0 where there is no such n-gram.
    """

    @njit(error_model="numpy", nogil=True)
    def run(
        text: Any, size: Any, rows: Any, inside: Any, alone: Any, fewest: Any, words: Any, word_mask: Any,
        spelled: Any, grams: Any, gram_mask: Any, columns: Any, vocabulary: Any, shortest: Any, longest: Any,
        recent: Any, y: Any, width: Any, scale: Any, once: Any, worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        first, last = rows * worker // workers, rows * (worker + 1) // workers
        recent += 8 * longest * worker
        at = 0
        for row in range(last):
            if row < first:
                while at < size and _byte(text, at) != 0:
                    at += 1
                at += 1
                continue
            for level in range(longest):
                _set_word(recent, level, -1)
            while at < size:
                byte = _byte(text, at)
                if _byte(inside, byte) == 0:
                    if byte == 0:
                        break
                    at += 1
                    continue
                start, characters, value = at, 0, SEED
                while True:
                    if byte & 0xC0 != 0x80:
                        if alone != 0 and characters == 1:
                            break
                        characters += 1
                    value = (value ^ byte) * FACTOR
                    at += 1
                    if at >= size:
                        break
                    byte = _byte(text, at)
                    if _byte(inside, byte) == 0:
                        break
                if characters < fewest:
                    continue
                word = _number(text, start, at - start, value, words, word_mask, spelled)
                for level in range(longest - 1, -1, -1):
                    gram = word
                    if level > 0 and word >= 0:
                        gram = _word(recent, level - 1)
                        if gram >= 0:
                            gram = _longer(gram, word, vocabulary, grams, gram_mask)
                    _set_word(recent, level, gram)
                    column = _word(columns, gram) if gram >= 0 and level + 1 >= shortest else -1
                    if column >= 0:
                        place = row * width + column
                        if once != 0:
                            _set_float(y, place, _float(scale, column))
                        else:
                            _set_float(y, place, _float(y, place) + np.float32(1))
            at += 1
            if scale != 0 and once == 0:
                for column in range(width):
                    place = row * width + column
                    _set_float(y, place, _float(y, place) * _float(scale, column))

    return run
