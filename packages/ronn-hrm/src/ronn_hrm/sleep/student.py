"""Students: a small ternary network taught what the expensive model said, and written as ONNX.

The weights of all layers are ``-s``, 0 and ``s``, ``s`` the mean of absolute values of a row (BitNet b1.58, arXiv
2402.17764), taught by the straight-through estimator (arXiv 1308.3432): the passes see ternary weights, gradients go to
float32 ones behind them. What lies between layers, and the biases, are float32.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ronn.errors import OptionError
from ronn.records import dataclass, field

OPSET = 21
IR_VERSION = 10
_LEAST = np.float32(1e-8)


@dataclass(frozen=True, slots=True)
class Distil:
    """How a student is taught. A part of ``Sleep``.

    hidden: widths of its hidden layers (ReLU). source: what it sees: ``embedding``, the name of an input (episodes must
    keep their inputs), or ``auto``: the one input of the model where that is real numbers of one size and was kept,
    else the embedding. epochs, batch, rate: of Adam; the rate falls to zero. hard: weight
    of the expensive model's best class against its probabilities.
    """

    hidden: tuple[int, ...] = (64,)
    source: str = "auto"
    epochs: int = 16
    batch: int = 128
    rate: float = 6e-3
    hard: float = 0.5

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1 or not self.rate > 0.0 or not 0.0 <= self.hard <= 1.0:
            raise OptionError(
                f"epochs={self.epochs}, batch={self.batch}, rate={self.rate}, hard={self.hard}: out of range"
            )
        if any(width < 1 for width in self.hidden):
            raise OptionError(f"hidden={self.hidden!r}: layers have at least one unit")

    def as_data(self) -> dict[str, Any]:
        return {
            "hidden": list(self.hidden), "source": self.source, "epochs": self.epochs, "batch": self.batch,
            "rate": self.rate, "hard": self.hard,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ternary:
    """A layer: ``x @ (codes * scale[:, None]).T + bias``. codes int8 [out, in] of -1, 0 and 1; scale, bias [out]."""

    codes: np.ndarray = field(repr=False)
    scale: np.ndarray = field(repr=False)
    bias: np.ndarray = field(repr=False)


def teach(
    x: np.ndarray,
    targets: np.ndarray,
    settings: Distil,
    *,
    weights: np.ndarray | None = None,
    seed: int = 0,
    check: Callable[[], None] | None = None,
    until: float | None = None,
) -> list[Ternary]:
    """Layers for rows x float32 [N, D] and class probabilities targets float32 [N, C].

    weights: of the rows, float32 [N], with a mean of 1. check: called once a batch; what it raises ends the teaching.
    until: ``time.monotonic()`` by which it is to be done; fewer epochs are taught where the first batches tell that all
    of them would take longer.
    """
    random = np.random.default_rng(seed)
    middle, spread = x.mean(axis=0), max(float(x.std()), 1e-6)
    rows = (x - middle) * np.float32(1.0 / spread)
    layers = _start([x.shape[1], *settings.hidden, targets.shape[1]], random)
    moments = [[np.zeros_like(p) for p in layer] for layer in layers for _ in range(2)]
    batches = -(-len(rows) // settings.batch)
    steps, step, began = settings.epochs * batches, 0, time.monotonic()
    while step < steps:
        if step % batches == 0:
            order = random.permutation(len(rows))
        if until is not None and step == min(10, batches):
            fit = int((until - time.monotonic()) / max(time.monotonic() - began, 1e-9) * step / batches)
            steps = min(steps, max(fit, 1) * batches)
            if step == steps:
                break
        if check is not None:
            check()
        at = order[step % batches * settings.batch : (step % batches + 1) * settings.batch]
        step += 1
        speed = settings.rate * (1.0 - step / (steps + 1)) * (1.0 - 0.999**step) ** 0.5 / (1.0 - 0.9**step)
        _step(layers, moments, rows[at], targets[at], None if weights is None else weights[at], np.float32(speed))
    return _folded(layers, middle, spread)


def scores(layers: Sequence[Ternary], x: np.ndarray) -> np.ndarray:
    """What a student answers to rows x float32 [N, D]: float32 [N, C]."""
    for at, layer in enumerate(layers):
        x = x @ (layer.codes * layer.scale[:, None]).T + layer.bias
        if at + 1 < len(layers):
            x = np.maximum(x, 0)
    return np.asarray(x, np.float32)


def targets_of(answers: np.ndarray, hard: float, *, probabilities: bool = False) -> np.ndarray:
    """Class probabilities float32 [N, C] to teach, of answers [N, C] of the expensive model."""
    answers = np.asarray(answers, np.float32)
    soft = answers / np.maximum(answers.sum(axis=1, keepdims=True), _LEAST) if probabilities else softmax(answers)
    best = np.eye(answers.shape[1], dtype=np.float32)[answers.argmax(axis=1)]
    return np.asarray(hard * best + (1.0 - hard) * soft, np.float32)


def softmax(rows: np.ndarray) -> np.ndarray:
    odds = np.exp(rows - rows.max(axis=-1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=-1, keepdims=True))


def as_onnx(layers: Sequence[Ternary], *, probabilities: bool = False) -> bytes:
    """The student as an ONNX file: input ``x`` float32 [rows, D], output ``scores`` float32 [rows, C].

    Weights are two-bit numbers in four (INT4) behind DequantizeLinear, with one scale a row: standard ONNX, which any
    runtime of opset 21 computes in float32, and RONN's provider ``bitnet`` with two bits a weight.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants, value = [], [], "x"
    for at, layer in enumerate(layers):
        last = at + 1 == len(layers)
        made = helper.make_tensor(f"w{at}.codes", TensorProto.INT4, layer.codes.shape, layer.codes.reshape(-1).tolist())
        constants += [made, numpy_helper.from_array(layer.scale, f"w{at}.scale")]
        constants.append(numpy_helper.from_array(layer.bias, f"b{at}"))
        nodes.append(helper.make_node("DequantizeLinear", [f"w{at}.codes", f"w{at}.scale"], [f"w{at}"], axis=0))
        out = ("logits" if probabilities else "scores") if last else f"a{at}"
        nodes.append(helper.make_node("Gemm", [value, f"w{at}", f"b{at}"], [out], name=f"dense{at}", transB=1))
        if not last:
            value = f"h{at}"
            nodes.append(helper.make_node("Relu", [out], [value], name=f"relu{at}"))
    if probabilities:
        nodes.append(helper.make_node("Softmax", ["logits"], ["scores"], axis=-1))
    ends: list[Any] = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width])
        for name, width in (("x", layers[0].codes.shape[1]), ("scores", layers[-1].codes.shape[0]))
    ]
    graph = helper.make_graph(nodes, "student", ends[:1], ends[1:], constants)
    opsets = [helper.make_opsetid("", OPSET)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION).SerializeToString())


Weights = list[tuple[np.ndarray, np.ndarray]]


def _start(sizes: Sequence[int], random: np.random.Generator) -> Weights:
    return [
        ((random.standard_normal((b, a)) * (2 / a) ** 0.5).astype(np.float32), np.zeros(b, np.float32))
        for a, b in pairwise(sizes)
    ]


def _ternary(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes float32 [out, in] of -1, 0 and 1, and scales [out]."""
    scale = np.abs(weight).mean(axis=1) + _LEAST
    return np.clip(np.rint(weight * (1 / scale)[:, None]), -1, 1), scale


def _step(
    layers: Weights, moments: list[list[np.ndarray]], x: np.ndarray, targets: np.ndarray,
    weights: np.ndarray | None, speed: np.float32,
) -> None:  # fmt: skip
    """One step of Adam (arXiv 1412.6980) on the cross-entropy of a batch, in place."""
    seen, values = [], [x]
    for at, (weight, bias) in enumerate(layers):
        codes, scale = _ternary(weight)
        codes *= scale[:, None]
        seen.append(codes)
        y = values[-1] @ codes.T
        y += bias
        values.append(np.maximum(y, 0, out=y) if at + 1 < len(layers) else y)
    below = softmax(values[-1]) - targets
    below *= np.float32(1 / len(x)) if weights is None else (weights / np.float32(len(x)))[:, None]
    for at in reversed(range(len(layers))):
        gradients = (below.T @ values[at], below.sum(axis=0))
        if at:
            below = below @ seen[at]
            below *= values[at] > 0
        for p, g, m, v in zip(layers[at], gradients, moments[2 * at], moments[2 * at + 1], strict=True):
            m *= np.float32(0.9)
            m += g * np.float32(0.1)
            np.multiply(g, g, out=g)
            g *= np.float32(0.001)
            v *= np.float32(0.999)
            v += g
            np.sqrt(v, out=g)
            g += _LEAST
            np.divide(m, g, out=g)
            g *= speed
            p -= g


def _folded(layers: Weights, middle: np.ndarray, spread: float) -> list[Ternary]:
    """Ternary layers that take rows as they come: centre and scale of the rows go into the first scale and bias."""
    made = []
    for at, (weight, bias) in enumerate(layers):
        codes, scale = _ternary(weight)
        if at == 0:
            scale = scale / np.float32(spread)
            bias = bias - scale * (codes @ middle)
        made.append(Ternary(codes.astype(np.int8), scale.astype(np.float32), bias.astype(np.float32)))
    return made
