"""Tables of ``ronn_codegen.templates.text``: a vocabulary, and n-grams of its words. Both are hashed with open
addressing: who looks for something begins at its place and goes on to the next until it is found or a place is free.

| | layout (int64) |
| --- | --- |
| words | ``[places, 4]``: hash, first byte in ``spelled``, bytes, number of the word (-1: free) |
| grams | ``[places, 2]``: number of the n-gram without its last word times the words there are plus that word (-1: free), number of the n-gram |
| columns | ``[n-grams]``: what a text that holds the n-gram counts in, -1 for one that is only the beginning of others |

The n-gram of one word has the number of that word. Numbers of places are powers of two.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

SEED, FACTOR = 0x2545F491, 0x100000001B3
SPREAD = 0x1E3779B97F4A7C15
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class TextTables:
    """The tables of a vocabulary; the arrays must outlive the kernel calls."""

    words: np.ndarray
    spelled: np.ndarray
    grams: np.ndarray
    columns: np.ndarray
    vocabulary: int


def text_hash(word: bytes) -> int:
    """What the kernel computes of a word's bytes, as a signed number."""
    value = SEED
    for byte in word:
        value = ((value ^ byte) * FACTOR) & _MASK
    return value - (1 << 64) if value >> 63 else value


def _places(entries: int) -> int:
    return 1 << max(3, (2 * entries).bit_length())


def _first_free(table: np.ndarray, value: int, marks: int) -> int:
    """A free place for an unsigned hash; column ``marks`` tells which are free."""
    place = (value ^ (value >> 32)) & (len(table) - 1)
    while table[place, marks] != -1:
        place = (place + 1) & (len(table) - 1)
    return place


def text_tables(grams: Mapping[tuple[str, ...], int]) -> TextTables:
    """The tables of ``grams``: sequences of words, and the column that each counts in."""
    numbers: dict[str, int] = {}
    for gram in grams:
        for word in gram:
            numbers.setdefault(word, len(numbers))
    spelled = [w.encode("utf-8", "surrogatepass") for w in numbers]
    words = np.full((_places(len(numbers)), 4), -1, np.int64)
    start = 0
    for number, text in enumerate(spelled):
        value = text_hash(text)
        words[_first_free(words, value & _MASK, 3)] = value, start, len(text), number
        start += len(text)
    nodes: dict[tuple[int, int], int] = {}
    columns = dict.fromkeys(range(len(numbers)), -1)
    for gram, column in grams.items():
        node = numbers[gram[0]]
        for word in gram[1:]:
            node = nodes.setdefault((node, numbers[word]), len(numbers) + len(nodes))
            columns.setdefault(node, -1)
        columns[node] = column
    table = np.full((_places(len(nodes)), 2), -1, np.int64)
    for (parent, number), node in nodes.items():
        key = parent * len(numbers) + number
        table[_first_free(table, (key * SPREAD) & _MASK, 0)] = key, node
    letters = np.frombuffer(b"".join(spelled) + b"\0", np.uint8)
    return TextTables(words, letters, table, np.array([*columns.values(), -1], np.int64), len(numbers))
