"""Activation functions by ONNX name, as recurrent and fused operators name them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ronn_provider_cpu.kernels._common import erf

Activation = Callable[[np.ndarray], np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e**-x)."""
    with np.errstate(over="ignore"):  # e**-x of a very negative x is infinite, its reciprocal 0
        y = np.exp(-x)
    y = np.asarray(y)
    y += 1
    return np.reciprocal(y, out=y)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, x.dtype.type(0))


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + e**x), without overflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def gelu(x: np.ndarray) -> np.ndarray:
    """x * Phi(x)."""
    half = x.dtype.type(0.5)
    return half * x * (1 + erf(x * x.dtype.type(1 / math.sqrt(2))))


def fast_gelu(x: np.ndarray) -> np.ndarray:
    """GELU by its tanh approximation."""
    inner = x.dtype.type(math.sqrt(2 / math.pi)) * (x + x.dtype.type(0.044715) * x * x * x)
    return x.dtype.type(0.5) * x * (1 + np.tanh(inner))


def hard_sigmoid(x: np.ndarray, alpha: float = 0.2, beta: float = 0.5) -> np.ndarray:
    return np.clip(x * alpha + beta, 0, 1)


def leaky_relu(x: np.ndarray, alpha: float = 0.01) -> np.ndarray:
    return np.where(x < 0, x * x.dtype.type(alpha), x)


def elu(x: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    return np.where(x < 0, x.dtype.type(alpha) * np.expm1(np.minimum(x, 0)), x)


def clip(x: np.ndarray, low: float = -math.inf, high: float = math.inf) -> np.ndarray:
    return np.minimum(np.maximum(x, x.dtype.type(low)), x.dtype.type(high))


def swish(x: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    """x * sigmoid(alpha * x)."""
    return x * sigmoid(x if alpha == 1.0 else x * x.dtype.type(alpha))


def selu(x: np.ndarray, alpha: float = 1.6732632423543772, gamma: float = 1.0507009873554805) -> np.ndarray:
    return x.dtype.type(gamma) * elu(x, alpha)


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
    "fastgelu": fast_gelu,
    "gelutanh": fast_gelu,
    "mish": lambda x: x * np.tanh(softplus(x)),
}

# How many parameters each takes (alpha, beta): recurrent operators hand them out in order.
ARITY = {
    "affine": 2, "leakyrelu": 1, "thresholdedrelu": 1, "scaledtanh": 2, "hardsigmoid": 2, "elu": 1,
}  # fmt: skip


def known(name: str | None) -> bool:
    return not name or name.lower() in _FUNCTIONS or name.lower() in ("none", "identity")


def activation(name: str | None, params: Sequence[float] = ()) -> Activation | None:
    """The function called ``name`` (case does not matter) with ``params`` bound; None for no activation.

    Raises KeyError for an unknown name.
    """
    if not name or name.lower() in ("none", "identity"):
        return None
    fn = _FUNCTIONS[name.lower()]
    values = tuple(float(p) for p in params)
    return (lambda x: fn(x, *values)) if values else fn
