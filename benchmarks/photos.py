"""Crops of the twenty ImageNet photographs that the package foolbox ships, for models that look at 224 x 224 pixels."""

from __future__ import annotations

import io
import re
import zipfile

import numpy as np
from PIL import Image

from benchmarks.zoo.fetch import fetch_archive

SIDE = 224
_MEMBER = re.compile(r"foolbox/data/imagenet_(\d+)_(\d+)\.jpg")


def photos() -> list[tuple[Image.Image, int]]:
    """The photographs, each with its class of ImageNet's 1000."""
    found = []
    with zipfile.ZipFile(fetch_archive("foolbox")) as wheel:
        for name in sorted(wheel.namelist()):
            match = _MEMBER.fullmatch(name)
            if match is not None:
                image = Image.open(io.BytesIO(wheel.read(name))).convert("RGB")
                found.append((image, int(match.group(2))))
    return found


def crops(chosen: list[tuple[Image.Image, int]], each: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """f32[N, 3, 224, 224] of (byte - 127) / 128, and classes i64[N]: of each photograph the middle, then squares of
    half its shorter side up to all of it at random places, every other one mirrored."""
    r = np.random.default_rng(seed)
    arrays, classes = [], []
    for image, label in chosen:
        width, height = image.size
        for i in range(each):
            side = min(width, height) if i == 0 else int(min(width, height) * r.uniform(0.5, 1))
            left, top = ((n - side) // 2 if i == 0 else int(r.integers(0, n - side + 1)) for n in (width, height))
            box = (left, top, left + side, top + side)
            pixels = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box), np.float32)
            arrays.append(((pixels[:, ::-1] if i % 2 else pixels) - 127) / 128)
            classes.append(label)
    return np.ascontiguousarray(np.stack(arrays).transpose(0, 3, 1, 2)), np.array(classes)
