"""Activation functions. Each is a few NumPy passes over a cache-sized block."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_provider_cpu.kernels._numeric import in_blocks, kernels, store, widen, wider
from ronn_provider_cpu.kernels.unary import erf

Block = Callable[[np.ndarray], np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)); saturates without NaN at both ends."""
    y = np.negative(x)
    np.exp(y, out=y)
    y += 1
    return np.reciprocal(y, out=y)


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x)), stable at both ends."""
    y = np.abs(x)
    np.negative(y, out=y)
    np.exp(y, out=y)
    np.log1p(y, out=y)
    y += np.maximum(x, 0)
    return y


def hard_sigmoid(x: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    """max(0, min(1, alpha x + beta))"""
    y = x * alpha
    y += beta
    return np.clip(y, 0, 1, out=y)


def gelu(x: np.ndarray) -> np.ndarray:
    """x Phi(x)"""
    y = erf(x * x.dtype.type(math.sqrt(0.5)))
    y += 1
    y *= x
    y *= 0.5
    return y


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    """The tanh approximation of gelu."""
    y = x * x
    y *= 0.044715
    y += 1
    y *= x
    y *= math.sqrt(2 / math.pi)
    np.tanh(y, out=y)
    y += 1
    y *= x
    y *= 0.5
    return y


def _exp_below_zero(x: np.ndarray, scale: float, gamma: float = 1.0, rate: float = 1.0) -> np.ndarray:
    """gamma x above zero, scale (exp(x / rate) - 1) below."""
    below = np.minimum(x, 0)
    if rate != 1:
        below /= rate
    np.expm1(below, out=below)
    below *= scale
    return np.where(x > 0, x * gamma if gamma != 1 else x, below)


SIMPLE: dict[str, Block] = {
    "Sigmoid": sigmoid,
    "Softplus": softplus,
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Relu": lambda x: np.maximum(x, 0),
    "HardSwish": lambda x: x * hard_sigmoid(x, 1 / 6, 0.5),
    "Mish": lambda x: x * np.tanh(softplus(x)),
}


def _make(ctx: KernelContext) -> Block:
    """The block function of an activation with attributes."""
    attr = ctx.attr
    match ctx.node.op:
        case "HardSigmoid":
            alpha, beta = attr("alpha"), attr("beta")
            return lambda x: hard_sigmoid(x, alpha, beta)
        case "LeakyRelu":
            alpha = attr("alpha")
            if 0 <= alpha <= 1:
                return lambda x: np.maximum(x, x * x.dtype.type(alpha))
            return lambda x: np.where(x < 0, x * x.dtype.type(alpha), x)
        case "Elu":
            alpha = attr("alpha")
            return lambda x: _exp_below_zero(x, alpha)
        case "Selu":
            alpha, gamma = attr("alpha"), attr("gamma")
            return lambda x: _exp_below_zero(x, alpha * gamma, gamma)
        case "Celu":
            alpha = attr("alpha")
            return lambda x: _exp_below_zero(x, alpha, rate=alpha)
        case "ThresholdedRelu":
            alpha = attr("alpha")
            return lambda x: np.where(x > alpha, x, np.zeros_like(x))
        case "Swish":
            alpha = attr("alpha")
            return lambda x: x * sigmoid(x * alpha)
        case "Gelu":
            return gelu_tanh if attr("approximate") == "tanh" else gelu
        case "Shrink":
            bias, limit = attr("bias"), attr("lambd")
            return lambda x: np.where(x < -limit, x + bias, np.where(x > limit, x - bias, 0))
    return SIMPLE[ctx.node.op]


PARAMETRIC = ("HardSigmoid", "LeakyRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "Swish", "Gelu", "Shrink")


@kernels((*(op for op in SIMPLE if op != "Relu"), *PARAMETRIC), rounded=True, prepare=True, into=True, inplace=(0,))
def activation(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """Operators of ``SIMPLE`` and ``PARAMETRIC``."""
    return in_blocks(_make(ctx), ctx.dtype())


@kernel("Relu", into=True, inplace=(0,))
def relu(ctx: KernelContext, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Relu."""
    found = np.asarray(np.maximum(x, x.dtype.type(0), out=out))
    return found if found.dtype == x.dtype else found.astype(x.dtype)  # of two small integers NumPy makes int8


@kernels(["PRelu"], rounded=True, prepare=True, into=True, inplace=(0,))
def prelu(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """PRelu. Before opset 7 a slope of one dim belongs to the channels (axis 1)."""
    by_channel = ctx.since < 7

    def call(x: np.ndarray, slope: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        with np.errstate(all="ignore"):
            if by_channel and slope.ndim == 1 and slope.size > 1 and x.ndim > 2:
                slope = slope.reshape(-1, *(1,) * (x.ndim - 2))
            wide = widen(x)
            return store(np.where(wide < 0, wide * widen(slope), wide), x.dtype, out)

    return call


@kernels(("Gelu", "BiasGelu", "FastGelu"), domain="com.microsoft", rounded=True, prepare=True, into=True, inplace=(0,))
def biased_gelu(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """Gelu, BiasGelu (erf) and FastGelu (tanh) of com.microsoft, with a bias along the last axis."""
    call = in_blocks(gelu_tanh if ctx.node.op == "FastGelu" else gelu, ctx.dtype())

    def biased(x: np.ndarray, bias: np.ndarray | None = None, out: np.ndarray | None = None) -> np.ndarray:
        return call(x if bias is None else widen(x) + widen(bias), out=out)

    return biased


@kernels(["QuickGelu"], domain="com.microsoft", rounded=True, prepare=True, into=True, inplace=(0,))
def quick_gelu(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """QuickGelu of com.microsoft: x sigmoid(alpha x)."""
    alpha = ctx.attr("alpha", 1.702)
    return in_blocks(lambda x: x * sigmoid(x * x.dtype.type(alpha)), ctx.dtype())


@kernels(["SwiGLU"], rounded=True, into=True, inplace=(0, 1))
def swiglu(
    ctx: KernelContext, gate: np.ndarray, value: np.ndarray, *, alpha: float, out: np.ndarray | None = None
) -> np.ndarray:
    """SwiGLU: gate sigmoid(alpha gate) value."""
    with np.errstate(all="ignore"):
        wide = gate.astype(wider(gate.dtype), copy=False).reshape(-1)
        y = sigmoid(wide * wide.dtype.type(alpha))
        y *= wide
        y *= widen(value).reshape(-1)
        return store(y.reshape(gate.shape), gate.dtype, out)
