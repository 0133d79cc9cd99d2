"""ai.onnx.preview.training: one step of Adagrad, Adam and Momentum for any number of tensors."""

from __future__ import annotations

import numpy as np

from ronn.provider.kernels import KernelContext, kernel

TRAINING = "ai.onnx.preview.training"


def _groups(tensors: tuple[np.ndarray, ...], kinds: int) -> list[tuple[np.ndarray, ...]]:
    """The inputs of each optimised tensor: they come as all X, then all G, and so on."""
    n = len(tensors) // kinds
    return [tensors[i::n] for i in range(n)]


@kernel("Adagrad", domain=TRAINING)
def adagrad(
    ctx: KernelContext,
    rate: np.ndarray,
    step: np.ndarray,
    *tensors: np.ndarray,
    decay_factor: float,
    epsilon: float,
    norm_coefficient: float,
) -> tuple[np.ndarray, ...]:
    """Adagrad."""
    r = float(rate) / (1 + int(step) * decay_factor)
    moved, squares = [], []
    for x, g, h in _groups(tensors, 3):
        regular = norm_coefficient * x + g
        total = h + regular * regular
        moved.append((x - r * regular / (np.sqrt(total) + epsilon)).astype(x.dtype))
        squares.append(total.astype(x.dtype))
    return (*moved, *squares)


@kernel("Adam", domain=TRAINING)
def adam(
    ctx: KernelContext,
    rate: np.ndarray,
    step: np.ndarray,
    *tensors: np.ndarray,
    alpha: float,
    beta: float,
    epsilon: float,
    norm_coefficient: float,
    norm_coefficient_post: float,
) -> tuple[np.ndarray, ...]:
    """Adam."""
    t, r = int(step), float(rate)
    if t > 0:
        r = r * (1 - beta**t) ** 0.5 / (1 - alpha**t)
    moved, gradients, squares = [], [], []
    for x, g, v, h in _groups(tensors, 4):
        regular = norm_coefficient * x + g
        mean = alpha * v + (1 - alpha) * regular
        square = beta * h + (1 - beta) * regular * regular
        new = (1 - norm_coefficient_post) * (x - r * mean / (np.sqrt(square) + epsilon))
        moved.append(new.astype(x.dtype))
        gradients.append(mean.astype(x.dtype))
        squares.append(square.astype(x.dtype))
    return (*moved, *gradients, *squares)


@kernel("Momentum", domain=TRAINING)
def momentum(
    ctx: KernelContext,
    rate: np.ndarray,
    step: np.ndarray,
    *tensors: np.ndarray,
    alpha: float,
    beta: float,
    mode: str,
    norm_coefficient: float,
) -> tuple[np.ndarray, ...]:
    """Momentum, standard or Nesterov's."""
    r, scale = float(rate), beta if int(step) > 0 else 1.0
    moved, velocities = [], []
    for x, g, v in _groups(tensors, 3):
        regular = norm_coefficient * x + g
        velocity = alpha * v + scale * regular
        direction = regular + alpha * velocity if mode == "nesterov" else velocity
        moved.append((x - r * direction).astype(x.dtype))
        velocities.append(velocity.astype(x.dtype))
    return (*moved, *velocities)
