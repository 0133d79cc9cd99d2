"""Texts to passages, passages to vectors, vectors to the nearest ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LONGEST = 128  # tokens of a passage that the model sees

Tokens = Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]
"""Texts to token ids and mask, int64 (N, longest of them)."""
Run = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Ids and mask (N, L) to one vector a token, float32 (N, L, D)."""


@dataclass(frozen=True)
class Passage:
    """A paragraph: the file and the heading that it stands under."""

    file: Path
    heading: str
    text: str


def passages(file: Path) -> list[Passage]:
    """The paragraphs of a Markdown or plain text file; code, tables, comments and pictures are left out."""
    text = re.sub(r"^```.*?^```|<!--.*?-->", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    heading, out = "", []
    for block in re.split(r"\n\s*\n", text):
        lines = block.strip()
        if lines.startswith("#"):
            heading = lines.lstrip("# ").splitlines()[0]
        elif len(lines) > 60 and not lines.startswith(("|", "![", ":::", "    ")):
            plain = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", " ".join(lines.split()))
            out.append(Passage(file, heading, plain))
    return out


def embed(texts: Sequence[str], tokens: Tokens, run: Run, batch: int = 16) -> np.ndarray:
    """One vector of length 1 a text, float32 (N, D): the mean over its tokens. Texts of like length share a run."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    rows: list[np.ndarray | None] = [None] * len(texts)
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        ids, mask = tokens([texts[i] for i in chosen])
        weight = mask[..., None].astype(np.float32)
        mean = (run(ids, mask) * weight).sum(axis=1) / weight.sum(axis=1)
        for i, vector in zip(chosen, mean / np.linalg.norm(mean, axis=1, keepdims=True), strict=True):
            rows[i] = vector
    return np.array(rows, np.float32)


def nearest(question: np.ndarray, vectors: np.ndarray, count: int) -> list[tuple[int, float]]:
    """The rows of ``vectors`` (N, D) most like ``question`` (D,), with their cosines, best first."""
    cosines = vectors @ question
    return [(int(i), float(cosines[i])) for i in np.argsort(-cosines)[:count]]
