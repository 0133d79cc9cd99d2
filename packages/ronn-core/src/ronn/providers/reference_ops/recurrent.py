"""RNN, GRU and LSTM with every attribute of the specification: directions, sequence lengths, clip, activations, layout.

Weights are as in ONNX: W [D, gates*H, I], R [D, gates*H, H], B [D, 2*gates*H], P [D, 3*H]; gate order ``iofc`` (LSTM)
and ``zrh`` (GRU). float16 and bfloat16 are computed in float32 and rounded once at the end.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ronn.provider import KernelContext, kernel
from ronn.records import dataclass

Activation = Callable[[np.ndarray], np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) without overflow; same shape and dtype."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(x.dtype)


# name -> (function of x, alpha, beta; default alpha; default beta); None: the function has no such parameter
_ACTIVATIONS: dict[str, tuple[Callable[[np.ndarray, Any, Any], np.ndarray], float | None, float | None]] = {
    "relu": (lambda x, a, b: np.maximum(x, 0), None, None),
    "tanh": (lambda x, a, b: np.tanh(x), None, None),
    "sigmoid": (lambda x, a, b: sigmoid(x), None, None),
    "softsign": (lambda x, a, b: x / (1 + np.abs(x)), None, None),
    "softplus": (lambda x, a, b: np.logaddexp(x, x.dtype.type(0)), None, None),
    "affine": (lambda x, a, b: a * x + b, 1.0, 0.0),
    "leakyrelu": (lambda x, a, b: np.where(x >= 0, x, a * x), 0.01, None),
    "thresholdedrelu": (lambda x, a, b: np.where(x >= a, x, 0), 1.0, None),
    "scaledtanh": (lambda x, a, b: a * np.tanh(b * x), 1.0, 1.0),
    "hardsigmoid": (lambda x, a, b: np.clip(a * x + b, 0, 1), 0.2, 0.5),
    "elu": (lambda x, a, b: np.where(x >= 0, x, a * np.expm1(np.minimum(x, 0))), 1.0, None),
}


def activation_functions(
    names: Sequence[str], alphas: Sequence[float] | None, betas: Sequence[float] | None
) -> list[Activation]:
    """The functions called ``names``; each takes its alpha and beta from the front of the lists, or its defaults."""
    alpha_left, beta_left = list(alphas or ()), list(betas or ())
    out: list[Activation] = []
    for name in names:
        if name.lower() not in _ACTIVATIONS:
            raise ValueError(f"unknown activation {name!r}; known: {', '.join(sorted(_ACTIVATIONS))}")
        fn, alpha, beta = _ACTIVATIONS[name.lower()]
        if alpha is not None and alpha_left:
            alpha = alpha_left.pop(0)
        if beta is not None and beta_left:
            beta = beta_left.pop(0)

        def bound(x: np.ndarray, fn: Any = fn, alpha: float | None = alpha, beta: float | None = beta) -> np.ndarray:
            return np.asarray(fn(x, alpha, beta), x.dtype)

        out.append(bound)
    return out


@dataclass(frozen=True)
class Cell:
    """What a step function needs for one direction: ``hidden(h)`` is h @ R.T."""

    hidden: Callable[[np.ndarray], np.ndarray]
    r: np.ndarray
    rb: np.ndarray
    p: np.ndarray
    functions: list[Activation]
    clip: float | None
    linear_before_reset: bool
    input_forget: bool

    def bounded(self, x: np.ndarray) -> np.ndarray:
        return x if self.clip is None else np.clip(x, -self.clip, self.clip)


State = tuple[np.ndarray, np.ndarray]
Step = Callable[[Cell, np.ndarray, np.ndarray, np.ndarray], State]


def _rnn_step(k: Cell, xg: np.ndarray, h: np.ndarray, c: np.ndarray) -> State:
    return k.functions[0](k.bounded(xg + k.hidden(h) + k.rb)), c


def _gru_step(k: Cell, xg: np.ndarray, h: np.ndarray, c: np.ndarray) -> State:
    n = h.shape[-1]
    f, g = k.functions
    zr = f(k.bounded(xg[:, : 2 * n] + h @ k.r[: 2 * n].T + k.rb[: 2 * n]))
    z, reset = zr[:, :n], zr[:, n:]
    if k.linear_before_reset:
        hidden = reset * (h @ k.r[2 * n :].T + k.rb[2 * n :])
    else:
        hidden = (reset * h) @ k.r[2 * n :].T + k.rb[2 * n :]
    candidate = g(k.bounded(xg[:, 2 * n :] + hidden))
    return (1 - z) * candidate + z * h, c


def _lstm_step(k: Cell, xg: np.ndarray, h: np.ndarray, c: np.ndarray) -> State:
    f, g, last = k.functions
    i, o, forget, cell = np.split(xg + k.hidden(h) + k.rb, 4, axis=-1)
    pi, po, pf = np.split(k.p, 3)
    i = f(k.bounded(i + pi * c))
    forget = 1 - i if k.input_forget else f(k.bounded(forget + pf * c))
    c = forget * c + i * g(k.bounded(cell))
    return f(k.bounded(o + po * c)) * last(c), c


_STEPS: dict[str, tuple[Step, int, tuple[str, ...]]] = {
    "RNN": (_rnn_step, 1, ("Tanh",)),
    "GRU": (_gru_step, 3, ("Sigmoid", "Tanh")),
    "LSTM": (_lstm_step, 4, ("Sigmoid", "Tanh", "Tanh")),
}


def recurrent(
    kind: str,
    x: np.ndarray,
    w: np.ndarray,
    r: np.ndarray,
    b: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
    h0: np.ndarray | None = None,
    c0: np.ndarray | None = None,
    p: np.ndarray | None = None,
    *,
    direction: str = "forward",
    activations: Sequence[str] | None = None,
    activation_alpha: Sequence[float] | None = None,
    activation_beta: Sequence[float] | None = None,
    clip: float | None = None,
    layout: int = 0,
    linear_before_reset: int = 0,
    input_forget: int = 0,
    product: Callable[[str, int], Callable[[np.ndarray], np.ndarray]] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Y [T, D, N, H], Y_h and Y_c [D, N, H] of x [T, N, I]; ``layout=1`` puts N first in all of them.

    ``product("w" or "r", direction)`` may replace the products with W and R of an RNN or LSTM: it gets x as
    [T*N, I], the hidden state as [N, H].
    """
    step, gates, default = _STEPS[kind]
    dtype = x.dtype
    wide = np.dtype(np.float64) if dtype == np.float64 else np.dtype(np.float32)
    x = np.asarray(x, wide).swapaxes(0, 1) if layout else np.asarray(x, wide)
    steps, batch = x.shape[:2]
    directions, hidden = w.shape[0], r.shape[2]
    names = list(activations) if activations else list(default) * directions
    functions = activation_functions(names, activation_alpha, activation_beta)
    full = np.full(batch, steps, np.int64) if lengths is None else np.asarray(lengths, np.int64)
    if full.size and (full.min() < 0 or full.max() > steps):
        raise ValueError(f"sequence_lens must lie in [0, {steps}], not {full.tolist()}")

    def initial(state: np.ndarray | None) -> np.ndarray:
        if state is None:
            return np.zeros((directions, batch, hidden), wide)
        return np.asarray(state.swapaxes(0, 1) if layout else state, wide)

    h_start, c_start = initial(h0), initial(c0)
    bias = np.zeros((directions, 2 * gates * hidden), wide) if b is None else np.asarray(b, wide)
    peephole = np.zeros((directions, 3 * hidden), wide) if p is None else np.asarray(p, wide)
    y = np.zeros((steps, directions, batch, hidden), wide)
    y_h = np.empty((directions, batch, hidden), wide)
    y_c = np.empty((directions, batch, hidden), wide)
    per = len(default)
    for d in range(directions):
        backward = direction == "reverse" or (direction == "bidirectional" and d == 1)
        r_d, w_d = np.asarray(r[d], wide), np.asarray(w[d], wide)
        by_w = product("w", d) if product is not None else lambda rows, w_d=w_d: rows @ w_d.T
        by_r = product("r", d) if product is not None else lambda rows, r_d=r_d: rows @ r_d.T
        projected = by_w(x.reshape(steps * batch, -1)).reshape(steps, batch, gates * hidden)
        projected = projected + bias[d, : gates * hidden]
        cell = Cell(
            by_r, r_d, bias[d, gates * hidden :], peephole[d], functions[d * per : (d + 1) * per],
            clip, bool(linear_before_reset), bool(input_forget),
        )  # fmt: skip
        h, c = h_start[d], c_start[d]
        for t in range(steps):
            active = t < full
            at = np.where(active, full - 1 - t, t) if backward else np.full(batch, t)
            rows = np.arange(batch)
            new_h, new_c = step(cell, projected[at, rows], h, c)
            h = np.where(active[:, None], new_h, h)
            c = np.where(active[:, None], new_c, c)
            y[at[active], d, rows[active]] = h[active]
        y_h[d], y_c[d] = h, c
    if layout:
        y, y_h, y_c = y.transpose(2, 0, 1, 3), y_h.swapaxes(0, 1), y_c.swapaxes(0, 1)
    return y.astype(dtype), y_h.astype(dtype), y_c.astype(dtype)


@kernel("RNN", since=1)
@kernel("GRU", since=1)
@kernel("LSTM", since=1)
def recurrent_node(
    ctx: KernelContext,
    x: np.ndarray,
    w: np.ndarray,
    r: np.ndarray,
    b: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
    h0: np.ndarray | None = None,
    c0: np.ndarray | None = None,
    p: np.ndarray | None = None,
    *,
    direction: str,
    activations: Sequence[str] | None,
    activation_alpha: Sequence[float] | None,
    activation_beta: Sequence[float] | None,
    clip: float | None,
) -> Any:
    out = recurrent(
        ctx.node.op, x, w, r, b, lengths, h0, c0, p,
        direction=direction, activations=activations, activation_alpha=activation_alpha,
        activation_beta=activation_beta, clip=clip, layout=ctx.attr("layout", 0),
        linear_before_reset=ctx.attr("linear_before_reset", 0), input_forget=ctx.attr("input_forget", 0),
    )  # fmt: skip
    return out[0] if ctx.n_outputs == 1 else out[: ctx.n_outputs]
