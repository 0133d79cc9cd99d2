"""Which bytes of UTF-8 make words, told from the attributes of a Tokenizer."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ronn.provider.kernels import KernelContext

_ATOM = r"\[\^?(?:\\.|[^\\\[\]^])(?:\\.|[^\\\[\]])*\]|\\[^A-Za-z0-9]|\\[wWdDsS]|[A-Za-z0-9_ ,;:!?@#%&=<>\"'`~/\n\t-]|\."
_RUN = re.compile(rf"(?:\(\?u\))?(\\b)?({_ATOM})(\2)?(\+|\{{(\d+),\}})?(\\b)?", re.S)
_BEYOND_ASCII = re.compile(r"\\(?![ntrfv])[A-Za-z0-9]|[^\x00-\x7f]")


@dataclass(frozen=True)
class WordBytes:
    """``inside[256]`` (uint8) tells the bytes of words from the others, of which zero is one. ``alone``: each character
    is a word; otherwise words are as long as can be, of at least ``fewest`` characters. ``ascii``: good for ASCII only.
    """

    inside: np.ndarray
    alone: bool
    fewest: int
    ascii: bool


def word_bytes(ctx: KernelContext) -> WordBytes | None:
    """None where a table of bytes cannot tell words."""
    separators, expression = ctx.attr("separators"), ctx.attr("tokenexp")
    fewest = max(ctx.attr("mincharnum", 1), 1)
    alone = False
    if expression:
        found = _RUN.fullmatch(expression)
        if found is None:
            return None
        edge, atom, twice, many, least, other_edge = found.groups()
        if ((edge or other_edge) and (atom != r"\w" or not many)) or (twice and not many):
            return None
        inside, beyond = _of_atom(atom)
        alone = not many
        fewest = max(fewest, int(least or 1) + bool(twice))
    elif separators in ([""], [], None):
        inside, beyond, alone = np.ones(128, bool), True, True
    else:
        if not all(re.fullmatch(_ATOM, s, re.S) for s in separators):
            return None
        classes = [_of_atom(s) for s in separators]
        inside = ~np.logical_or.reduce([c for c, _ in classes])
        beyond = None if any(b is None for _, b in classes) else not any(b for _, b in classes)
    table = np.zeros(256, np.uint8)
    table[:128] = inside
    table[128:] = bool(beyond)
    table[0] = 0
    return WordBytes(table, alone, fewest, beyond is None)


def _of_atom(atom: str) -> tuple[np.ndarray, bool | None]:
    """Which of the ASCII characters an expression for one character matches, and whether it matches all others (True),
    none (False), or that depends (None)."""
    pattern = re.compile(atom)
    inside = np.array([pattern.fullmatch(chr(i)) is not None for i in range(128)])
    if _BEYOND_ASCII.search(atom):
        return inside, None
    return inside, atom == "." or atom.startswith("[^")
