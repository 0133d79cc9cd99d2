"""A convolutional network for MNIST in float32, and with ternary, binary and XNOR inner layers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.zoo.recipes.mnist import load_digits
from ronn_provider_bitnet.training import convert, fit

BATCH = 100
FLOAT_EPOCHS, BIT_EPOCHS, SIGN_EPOCHS = 3, 1, 3
RATE, BIT_RATE = 4e-3, 2e-3
VARIANTS = {"ternary": (1.58, 8), "binary": (1, 8), "XNOR": (1, 1)}
"""Bits of weights and of activations of the inner layers."""


def network(activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """x f32[N, 1, 28, 28] -> scores f32[N, 10]; the inner layers are conv2 and fc1."""
    layers = {
        "conv1": nn.Conv2d(1, 32, 3, bias=False), "pool1": nn.MaxPool2d(2), "norm1": nn.BatchNorm2d(32),
        "act1": activation(),
        "conv2": nn.Conv2d(32, 64, 3, bias=False), "pool2": nn.MaxPool2d(2), "norm2": nn.BatchNorm2d(64),
        "act2": activation(), "flat": nn.Flatten(),
        "fc1": nn.Linear(1600, 128, bias=False), "norm3": nn.BatchNorm1d(128), "act3": nn.ReLU(),
        "fc2": nn.Linear(128, 10),
    }  # fmt: skip
    model = nn.Sequential()
    for name, layer in layers.items():
        model.add_module(name, layer)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def digits(part: str) -> tuple[Tensor, Tensor]:
    images, labels = load_digits(part)
    return torch.from_numpy(images), torch.from_numpy(labels)


def batches(seed: int, images: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Without end, in an order that is new in each epoch."""
    order = torch.Generator().manual_seed(seed)
    while True:
        for rows in torch.randperm(len(images), generator=order).split(BATCH):
            yield images[rows], labels[rows]


def train_float(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model, data = network(), digits("train")
    fit(model, batches(seed, *data), FLOAT_EPOCHS * len(data[0]) // BATCH, rate=RATE)
    return model


def with_bits(start: nn.Module, variant: str) -> nn.Module:
    """``start`` with inner layers of few bits. Signs want activations with negative values: Hardtanh's."""
    bits, activations = VARIANTS[variant]
    model = network(nn.Hardtanh if activations == 1 else nn.ReLU)
    model.load_state_dict(start.state_dict())
    convert(model, bits=bits, activations=activations)
    return model


def train_bits(start: nn.Module, variant: str, seed: int = 0) -> nn.Module:
    model, data = with_bits(start, variant), digits("train")
    epochs = SIGN_EPOCHS if VARIANTS[variant][1] == 1 else BIT_EPOCHS
    fit(model, batches(seed + 1, *data), epochs * len(data[0]) // BATCH, rate=BIT_RATE)
    return model


def top1(scores: np.ndarray, labels: np.ndarray) -> float:
    return float((scores.argmax(axis=1) == labels).mean())
