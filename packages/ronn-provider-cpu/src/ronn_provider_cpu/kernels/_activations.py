"""Activation functions by ONNX name, as recurrent and fused operators name them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ronn_provider_cpu.kernels._numeric import BLOCK
from ronn_provider_cpu.kernels.activation import gelu, gelu_tanh, softplus

Activation = Callable[[np.ndarray], np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e**-x)."""
    with np.errstate(over="ignore"):  # e**-x of a very negative x is infinite, its reciprocal 0
        y: np.ndarray = np.exp(-x)
    y += 1
    return np.reciprocal(y, out=y)


def relu(x: np.ndarray) -> np.ndarray:
    """max(x, 0)"""
    return np.maximum(x, x.dtype.type(0))


def hard_sigmoid(x: np.ndarray, alpha: float = 0.2, beta: float = 0.5) -> np.ndarray:
    """max(0, min(1, alpha x + beta))"""
    return np.clip(x * x.dtype.type(alpha) + x.dtype.type(beta), 0, 1)


def leaky_relu(x: np.ndarray, alpha: float = 0.01) -> np.ndarray:
    """x, and alpha x below 0."""
    return np.where(x < 0, x * x.dtype.type(alpha), x)


def elu(x: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    """x, and alpha (e**x - 1) below 0."""
    return np.where(x < 0, x.dtype.type(alpha) * np.expm1(np.minimum(x, 0)), x)


def selu(x: np.ndarray, alpha: float = 1.6732632423543772, gamma: float = 1.0507009873554805) -> np.ndarray:
    """gamma elu(x)"""
    return np.asarray(x.dtype.type(gamma) * elu(x, alpha))


def clip(x: np.ndarray, low: float = -math.inf, high: float = math.inf) -> np.ndarray:
    """min(max(x, low), high)"""
    return np.minimum(np.maximum(x, x.dtype.type(low)), x.dtype.type(high))


def swish(x: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    """x sigmoid(alpha x)"""
    y = sigmoid(x if alpha == 1.0 else x * x.dtype.type(alpha))
    y *= x
    return y


_FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "relu": relu,
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "affine": lambda x, alpha=1.0, beta=0.0: x * x.dtype.type(alpha) + x.dtype.type(beta),
    "leakyrelu": leaky_relu,
    "thresholdedrelu": lambda x, alpha=1.0: np.where(x > alpha, x, x.dtype.type(0)),
    "scaledtanh": lambda x, alpha=1.0, beta=1.0: x.dtype.type(alpha) * np.tanh(x.dtype.type(beta) * x),
    "hardsigmoid": hard_sigmoid,
    "elu": elu,
    "selu": selu,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "softplus": softplus,
    "clip": clip,
    "hardswish": lambda x, alpha=1 / 6, beta=0.5: x * hard_sigmoid(x, alpha, beta),
    "swish": swish,
    "silu": swish,
    "gelu": gelu,
    "gelutanh": gelu_tanh,
    "fastgelu": gelu_tanh,
    "mish": lambda x: x * np.tanh(softplus(x)),
}


def known(name: str | None) -> bool:
    """Whether ``activation`` has a function for ``name``."""
    return name is None or name.lower() in _FUNCTIONS or name.lower() in ("", "none", "identity")


def activation(name: str | None, params: Sequence[float] = ()) -> Activation | None:
    """The function called ``name`` (case does not matter) with ``params`` bound; None for no activation.

    Raises KeyError for an unknown name.
    """
    if name is None or name.lower() in ("", "none", "identity"):
        return None
    fn = _FUNCTIONS[name.lower()]
    values = tuple(float(p) for p in params)
    return (lambda x: fn(x, *values)) if values else fn


def activate(y: np.ndarray, fn: Activation | None) -> np.ndarray:
    """Applies ``fn`` to ``y`` where it stands, block by block so that temporaries stay in cache. Gives ``y`` back."""
    if fn is None:
        return y
    if fn is relu:
        return np.maximum(y, 0, out=y)
    if y.size <= BLOCK or not y.flags.c_contiguous:
        y[...] = fn(y)
        return y
    flat = y.reshape(-1)
    for i in range(0, flat.size, BLOCK):
        part = flat[i : i + BLOCK]
        part[...] = fn(part)
    return y
