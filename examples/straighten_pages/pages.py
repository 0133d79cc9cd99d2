"""Pages to pixels, batches of them through a model, and pages for a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

KINDS = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}
SIDE, SHORT = 224, 256  # pixels: the model's square, and the shorter side of the page that it is cut from
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
TEXT = (
    "The stranger had come early in February, one wintry day, through a biting wind and a driving snow, over the down, "
    "walking from the railway station, and carrying a little black portmanteau in his thickly gloved hand."
)

Run = Callable[[np.ndarray], np.ndarray]
"""float32 (N, 3, 224, 224) -> probabilities (N, 4) of 0, 90, 180, 270 degrees."""


@dataclass(frozen=True)
class Found:
    """A page, how far it is turned (degrees, clockwise), and how sure that is."""

    file: Path
    angle: int
    score: float


def pictures(folder: Path) -> list[Path]:
    """The pictures of a folder, by name."""
    return sorted(f for f in folder.iterdir() if f.suffix.lower() in KINDS)


def prepare(file: Path) -> np.ndarray:
    """The middle of a page as the model takes it: float32 (3, 224, 224)."""
    with Image.open(file) as page:
        scale = SHORT / min(page.size)
        small = page.convert("RGB").resize((round(page.width * scale), round(page.height * scale)))
    left, top = (small.width - SIDE) // 2, (small.height - SIDE) // 2
    square = small.crop((left, top, left + SIDE, top + SIDE))
    return ((np.asarray(square) / 255 - MEAN) / STD).astype(np.float32).transpose(2, 0, 1)


def orientations(files: Sequence[Path], run: Run, size: int) -> Iterator[Found]:
    """How every page is turned, ``size`` pages a run; the next ones are read while the model works."""
    groups = [files[i : i + size] for i in range(0, len(files), size)]
    with ThreadPoolExecutor() as readers:
        waiting = [readers.submit(prepare, f) for f in groups[0]] if groups else []
        for number, group in enumerate(groups):
            batch = np.stack([page.result() for page in waiting])
            waiting = [readers.submit(prepare, f) for f in groups[number + 1]] if number + 1 < len(groups) else []
            for file, scores in zip(group, run(batch), strict=True):
                yield Found(file, 90 * int(scores.argmax()), float(scores.max()))


def straighten(found: Found, folder: Path) -> Path:
    """Writes the page, turned back, into ``folder``."""
    target = folder / found.file.name
    with Image.open(found.file) as page:
        page.rotate(found.angle, expand=True).save(target)
    return target


def draw_sample(folder: Path, count: int = 20) -> list[int]:
    """Draws pages of text, each turned by some angle; the angles (degrees, clockwise)."""
    chance = np.random.default_rng(0)
    angles = [int(a) for a in chance.choice([0, 90, 180, 270], count)]
    for number, angle in enumerate(angles):
        page = Image.new("RGB", (420, 560), (250, 249, 244))
        pen, font = ImageDraw.Draw(page), ImageFont.load_default(int(chance.integers(17, 24)))
        words, y = [str(w) for w in chance.permutation(TEXT.split())], 30
        while y < 520:
            line = ""
            while words and pen.textlength(f"{line} {words[0]}", font) < 360:
                line = f"{line} {words.pop(0)}".strip()
            words = words or [str(w) for w in chance.permutation(TEXT.split())]
            pen.text((30, y), line, (30, 30, 40), font)
            y += int(font.size * 1.4)
        page.rotate(-angle, expand=True).save(folder / f"page-{number:02}.png")
    return angles
