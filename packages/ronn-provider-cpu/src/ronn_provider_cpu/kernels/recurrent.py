"""RNN, GRU and LSTM: the input is projected for all steps at once, then the steps run one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext
from ronn_codegen.lower._recurrent import ARITY
from ronn_codegen.windows import is_set
from ronn_provider_cpu.kernels._activations import Activation, activation, known, sigmoid
from ronn_provider_cpu.kernels._common import float_kernel

Array = np.ndarray
Project = Callable[[Array], Array]


def activations_of(ctx: KernelContext, defaults: Sequence[str], directions: int) -> list[list[Activation]]:
    """The activation functions of every direction; alphas and betas go to those that take them, in order."""
    names = ctx.attr("activations")
    names = list(defaults) * directions if names is None or len(names) == 0 else list(names)
    alphas = list(ctx.attr("activation_alpha", []))
    betas = list(ctx.attr("activation_beta", []))
    made: list[Activation] = []
    for name in names:
        arity = ARITY.get(name.lower(), 0)
        params: list[float] = []
        if arity >= 1 and alphas:
            params.append(alphas.pop(0))
        if arity == 2 and betas:
            beta = betas.pop(0)
            params = [*params, beta] if params else []
        fn = activation(name, params)
        assert fn is not None
        made.append(fn)
    per = len(defaults)
    return [made[d * per : (d + 1) * per] for d in range(directions)]


def _known_activations(node: Any) -> bool | str:
    unknown = [n for n in (node.attributes.get("activations") or ()) if not known(n)]
    return f"activations {unknown} are not known" if unknown else True


def directions_of(ctx: KernelContext) -> list[bool]:
    """Whether each direction runs backwards."""
    return {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[
        ctx.attr("direction", "forward").lower()
    ]


def run_directions(
    x: Array,
    layout: int,
    lengths: Array | None,
    initial: Sequence[Array | None],
    hidden: int,
    backwards: Sequence[bool],
    step_of: Callable[[int, Array, int], Callable[[int, list[Array]], list[Array]]],
) -> tuple[Array, list[Array]]:
    """Runs every direction and puts Y and the last states together, as ``layout`` wants them.

    step_of(direction, x (T, N, I), batch) makes the function of one step: (t, states) -> new states, the first of which
    is the output. States are (N, hidden).
    """
    if layout:
        x = x.swapaxes(0, 1)
    steps, batch = x.shape[:2]
    y = np.zeros((steps, len(backwards), batch, hidden), x.dtype)
    lasts: list[list[Array]] = []
    ragged = lengths is not None and bool((lengths != steps).any())
    for d, backward in enumerate(backwards):
        states = []
        for given in initial:
            if given is None:
                states.append(np.zeros((batch, hidden), x.dtype))
            else:
                states.append((given[:, d] if layout else given[d]).astype(x.dtype, copy=False))
        step = step_of(d, x, batch)
        for t in range(steps - 1, -1, -1) if backward else range(steps):
            new = step(t, states)
            if ragged:
                assert lengths is not None
                active = (t < lengths)[:, None]
                y[t, d] = np.where(active, new[0], 0)
                states = [np.where(active, n, s) for n, s in zip(new, states, strict=True)]
            else:
                y[t, d] = new[0]
                states = new
        lasts.append(states)
    last = [np.stack([lasts[d][i] for d in range(len(backwards))]) for i in range(len(initial))]
    if layout:
        y = y.transpose(2, 0, 1, 3)
        last = [s.swapaxes(0, 1) for s in last]
    return y, last


def outputs(ctx: KernelContext, y: Array, last: Sequence[Array]) -> Any:
    results = (y, *last)
    return results[: ctx.n_outputs] if ctx.n_outputs > 1 else y


def clipper(limit: Any) -> Callable[[Array], Array] | None:
    """The function that bounds what goes into activations; None without a bound."""
    if limit is None or limit <= 0:
        return None
    return lambda v: np.clip(v, -limit, limit)


def lstm_step(
    project: Project,
    bias: Array | None,
    peephole: Array | None,
    recur: Project,
    x: Array,
    hidden: int,
    acts: Sequence[Activation],
    clip: Callable[[Array], Array] | None,
    coupled: bool,
) -> Callable[[int, list[Array]], list[Array]]:
    """One LSTM step of one direction; gates lie in the order i, o, f, c."""
    steps, batch = x.shape[:2]
    gates_x = project(x.reshape(steps * batch, -1)).reshape(steps, batch, 4 * hidden)
    if bias is not None:
        gates_x = gates_x + (bias[: 4 * hidden] + bias[4 * hidden :])
    f, g, h = acts
    p_i, p_o, p_f = (None, None, None) if peephole is None else peephole.reshape(3, hidden)
    joint = peephole is None and clip is None and f is sigmoid

    def gate(v: Array, act: Activation) -> Array:
        return act(v if clip is None else clip(v))

    def step(t: int, states: list[Array]) -> list[Array]:
        last_h, last_c = states
        gates = recur(last_h)
        gates += gates_x[t]
        if joint:
            iof = sigmoid(gates[:, : 3 * hidden])
            i, o, forget = iof[:, :hidden], iof[:, hidden : 2 * hidden], iof[:, 2 * hidden :]
        else:
            i, o, forget = gates[:, :hidden], gates[:, hidden : 2 * hidden], gates[:, 2 * hidden : 3 * hidden]
            i = gate(i if p_i is None else i + p_i * last_c, f)
            forget = gate(forget if p_f is None else forget + p_f * last_c, f)
        if coupled:
            forget = 1 - i
        c = forget * last_c
        c += i * gate(gates[:, 3 * hidden :], g)
        if not joint:
            o = gate(o if p_o is None else o + p_o * c, f)
        return [o * h(c), c]

    return step


@float_kernel("LSTM", prepare=True, when=_known_activations)
def lstm(ctx: KernelContext, *, clip: Any, input_forget: Any, layout: Any) -> Callable[..., Any]:
    backwards = directions_of(ctx)
    acts = activations_of(ctx, ("sigmoid", "tanh", "tanh"), len(backwards))
    limit = clipper(clip)

    def run(
        x: Array,
        w: Array,
        r: Array,
        b: Array | None = None,
        lengths: Array | None = None,
        initial_h: Array | None = None,
        initial_c: Array | None = None,
        p: Array | None = None,
    ) -> Any:
        hidden = r.shape[-1]

        def step_of(d: int, xs: Array, batch: int) -> Callable[[int, list[Array]], list[Array]]:
            wt, rt = w[d].T, r[d].T
            return lstm_step(
                lambda v: v @ wt,
                None if b is None else b[d],
                None if p is None else p[d],
                lambda v: v @ rt,
                xs,
                hidden,
                acts[d],
                limit,
                is_set(input_forget),
            )

        y, last = run_directions(
            x, 0 if layout is None else layout, lengths, [initial_h, initial_c], hidden, backwards, step_of
        )
        return outputs(ctx, y, last)

    return run


@float_kernel("GRU", prepare=True, when=_known_activations)
def gru(ctx: KernelContext, *, clip: Any, layout: Any, linear_before_reset: Any) -> Callable[..., Any]:
    backwards = directions_of(ctx)
    acts = activations_of(ctx, ("sigmoid", "tanh"), len(backwards))
    limit = clipper(clip)
    linear = is_set(linear_before_reset)

    def bound(v: Array) -> Array:
        return v if limit is None else limit(v)

    def run(
        x: Array,
        w: Array,
        r: Array,
        b: Array | None = None,
        lengths: Array | None = None,
        initial_h: Array | None = None,
    ) -> Any:
        hidden = r.shape[-1]

        def step_of(d: int, xs: Array, batch: int) -> Callable[[int, list[Array]], list[Array]]:
            f, g = acts[d]
            gates_x = (xs.reshape(-1, xs.shape[-1]) @ w[d].T).reshape(xs.shape[0], batch, 3 * hidden)
            rb_h: Any = 0
            if b is not None:
                wb, rb = b[d, : 3 * hidden], b[d, 3 * hidden :].copy()
                rb_h = rb[2 * hidden :].copy()
                rb[2 * hidden :] = 0
                gates_x = gates_x + (wb + rb)
            r_zr, r_h, r_all = r[d, : 2 * hidden].T, r[d, 2 * hidden :].T, r[d].T

            def step(t: int, states: list[Array]) -> list[Array]:
                last = states[0]
                in_x = gates_x[t]
                if linear:
                    rec = last @ r_all
                    zr = f(bound(in_x[:, : 2 * hidden] + rec[:, : 2 * hidden]))
                    reset = zr[:, hidden:] * (rec[:, 2 * hidden :] + rb_h)
                else:
                    zr = f(bound(in_x[:, : 2 * hidden] + last @ r_zr))
                    reset = (zr[:, hidden:] * last) @ r_h + rb_h
                z = zr[:, :hidden]
                candidate = g(bound(in_x[:, 2 * hidden :] + reset))
                return [(1 - z) * candidate + z * last]

            return step

        y, last = run_directions(x, 0 if layout is None else layout, lengths, [initial_h], hidden, backwards, step_of)
        return outputs(ctx, y, last)

    return run


@float_kernel("RNN", prepare=True, when=_known_activations)
def rnn(ctx: KernelContext, *, clip: Any, layout: Any) -> Callable[..., Any]:
    backwards = directions_of(ctx)
    acts = activations_of(ctx, ("tanh",), len(backwards))
    limit = clipper(clip)

    def run(
        x: Array,
        w: Array,
        r: Array,
        b: Array | None = None,
        lengths: Array | None = None,
        initial_h: Array | None = None,
    ) -> Any:
        hidden = r.shape[-1]

        def step_of(d: int, xs: Array, batch: int) -> Callable[[int, list[Array]], list[Array]]:
            in_x = (xs.reshape(-1, xs.shape[-1]) @ w[d].T).reshape(xs.shape[0], batch, hidden)
            if b is not None:
                in_x = in_x + (b[d, :hidden] + b[d, hidden:])
            rt = r[d].T
            f = acts[d][0]

            def step(t: int, states: list[Array]) -> list[Array]:
                total = in_x[t] + states[0] @ rt
                return [f(total if limit is None else limit(total))]

            return step

        y, last = run_directions(x, 0 if layout is None else layout, lengths, [initial_h], hidden, backwards, step_of)
        return outputs(ctx, y, last)

    return run
