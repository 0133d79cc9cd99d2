"""Text recognition: strips with one line each go in, texts come out (CTC: one character, or none, per column)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

HEIGHT = 48  # pixels; the model's fixed input height
WIDTH_STEP = 32  # strips are padded to a multiple, so that few different shapes occur
BATCH = 6

Run = Callable[[np.ndarray], np.ndarray]


def alphabet_of(metadata: dict[str, str]) -> list[str]:
    """The characters by class number. Class 0 is CTC's blank; the last class is the space."""
    return ["", *metadata["character"].split("\n"), " "]


def prepare(strips: Sequence[Image.Image]) -> np.ndarray:
    """The recogniser's input, float32 (len(strips), 3, 48, W): scaled to -1..1, padded with 0 on the right."""
    widths = [max(1, round(HEIGHT * s.width / s.height)) for s in strips]
    batch = np.zeros((len(strips), 3, HEIGHT, -(-max(widths) // WIDTH_STEP) * WIDTH_STEP), np.float32)
    for row, strip, width in zip(batch, strips, widths, strict=True):
        pixels = np.asarray(strip.convert("RGB").resize((width, HEIGHT)), np.float32)
        row[:, :, :width] = (pixels[:, :, ::-1].transpose(2, 0, 1) / 255 - 0.5) / 0.5
    return batch


def decode(scores: np.ndarray, alphabet: Sequence[str]) -> tuple[str, float]:
    """Text and mean probability from one line's class probabilities (columns, classes): repeats collapse, blanks go."""
    best = scores.argmax(axis=1)
    kept = (best != 0) & (best != np.concatenate([[-1], best[:-1]]))
    if not kept.any():
        return "", 0.0
    return "".join(alphabet[i] for i in best[kept]), float(scores.max(axis=1)[kept].mean())


def recognise(strips: Sequence[Image.Image], run: Run, alphabet: Sequence[str]) -> list[tuple[str, float]]:
    """Text and score of every strip, in the order given. Strips of like width are read together."""
    order = sorted(range(len(strips)), key=lambda i: strips[i].width / strips[i].height)
    found: dict[int, tuple[str, float]] = {}
    for start in range(0, len(order), BATCH):
        group = order[start : start + BATCH]
        for i, scores in zip(group, run(prepare([strips[i] for i in group])), strict=True):
            found[i] = decode(scores, alphabet)
    return [found[i] for i in range(len(strips))]
