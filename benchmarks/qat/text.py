"""A small transformer that predicts the next byte of source code: the standard library of the running Python."""

from __future__ import annotations

import copy
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ronn_provider_bitnet.training import convert, fit

LAYERS, WIDTH, HEADS, CONTEXT = 4, 128, 4, 128
BATCH = 8
STEPS, MORE = 1000, 800
RATE, MORE_RATE = 4e-3, 3e-3
TEACHER_SHARE = 0.7
VARIANTS = {"ternary": (1.58, 8), "binary": (1, 8)}
"""Bits of weights and of activations of the layers inside blocks."""
TESTED = 20  # every one of so many files is for tests
WINDOWS = 512  # of CONTEXT bytes, in a test


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        rows, length, _ = x.shape
        heads = self.qkv(self.norm1(x)).view(rows, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        queries, keys = rotated(heads[0], *turn), rotated(heads[1], *turn)
        mixed = functional.scaled_dot_product_attention(queries, keys, heads[2], is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, length, WIDTH))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


def rotated(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Places as angles (Su et al., 2021): x f32[..., T, D], its halves turned by f32[T, D / 2]."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * cosines - b * sines, a * sines + b * cosines], -1)


class Transformer(nn.Module):
    """Bytes int64[N, T] -> logits f32[N, T, 256], T at most CONTEXT; the head is the embedding, transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.norm = nn.Embedding(256, WIDTH), nn.LayerNorm(WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        half = WIDTH // HEADS // 2
        angles = torch.arange(CONTEXT)[:, None] * 1000.0 ** (-torch.arange(half) / half)
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                into = (2 * LAYERS) ** -0.5 if name.endswith(("out.weight", "down.weight")) else 1.0
                nn.init.normal_(p, std=0.1 if name == "bytes.weight" else 0.06 * into)

    def forward(self, x: Tensor) -> Tensor:
        turn = self.cosines[: x.shape[1]], self.sines[: x.shape[1]]
        y = self.bytes(x)
        for block in self.blocks:
            y = block(y, turn)
        return functional.linear(self.norm(y), self.bytes.weight)


def read_sources() -> tuple[np.ndarray, np.ndarray]:
    """The bytes to train with and those to test with: the standard library's modules outside packages, by name."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    parts = [np.frombuffer(f.read_bytes(), np.uint8) for f in files]
    test = parts[::TESTED]
    return np.concatenate([p for i, p in enumerate(parts) if i % TESTED]), np.concatenate(test)


def batches(seed: int, text: np.ndarray) -> Iterator[tuple[Tensor, Tensor]]:
    """Windows at random places, and the bytes that follow each of theirs; without end."""
    r = np.random.default_rng(seed)
    while True:
        at = r.integers(0, len(text) - CONTEXT, (BATCH, 1)) + np.arange(CONTEXT + 1)
        rows = torch.from_numpy(text[at].astype(np.int64))
        yield rows[:, :-1], rows[:, 1:]


def train_float(text: np.ndarray, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = Transformer()
    fit(model, batches(seed, text), STEPS, rate=RATE)
    return model


def train_on(start: nn.Module, text: np.ndarray, seed: int = 0) -> nn.Module:
    """``start``, trained for MORE steps: what those of few bits are compared with."""
    model = copy.deepcopy(start)
    fit(model, batches(seed + 1, text), MORE, rate=MORE_RATE)
    return model


def with_bits(start: nn.Module, variant: str) -> nn.Module:
    """``start`` with blocks of few bits."""
    bits, activations = VARIANTS[variant]
    model = copy.deepcopy(start)
    convert(model, bits=bits, activations=activations, edges=True)
    return model


def train_bits(start: nn.Module, teacher: nn.Module, variant: str, text: np.ndarray, seed: int = 0) -> nn.Module:
    """As ``train_on``, on the same windows, with few bits; most of the loss is the divergence from ``teacher``."""
    model = with_bits(start, variant)
    fit(model, batches(seed + 1, text), MORE, rate=MORE_RATE, teacher=teacher, share=TEACHER_SHARE)
    return model


def test_windows(text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64[WINDOWS, CONTEXT] at even distances, and the bytes that follow each of theirs."""
    at = np.linspace(0, len(text) - CONTEXT - 1, WINDOWS).astype(np.int64)[:, None] + np.arange(CONTEXT + 1)
    rows = text[at].astype(np.int64)
    return rows[:, :-1], rows[:, 1:]


def bits_per_byte(logits: np.ndarray, labels: np.ndarray) -> float:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    chances = np.take_along_axis(wide, labels[..., None], -1)[..., 0] - np.log(np.exp(wide).sum(axis=-1))
    return float(-chances.mean() / np.log(2))
