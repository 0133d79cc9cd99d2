"""LSTM, GRU and RNN in float32."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ronn.records import dataclass
from ronn_codegen.templates.recurrent_layout import ACTIVATIONS, Cells, cells_of, pack_gates, scratch_bytes
from ronn_provider_cpu.kernels._activations import ARITY
from ronn_provider_cpu.lowering import F32, I32, Lowering, Operand, Temporary, lower

_MODULE = "ronn_codegen.templates.recurrent"
_DEFAULTS = {"hardsigmoid": (0.2, 0.5), "leakyrelu": (0.01, 0.0), "elu": (1.0, 0.0), "affine": (1.0, 0.0)}
Pick = tuple[int, int, int]
_GFLOPS = 60.0  # about what a core does of such products


@dataclass
class _Layer:
    """What the three operators have in common."""

    c: Lowering
    gates: int
    steps: int
    batch: int
    inputs: int
    hidden: int
    directions: int
    batch_first: bool
    clip: float
    acts: np.ndarray
    plain: bool

    @property
    def cells(self) -> Cells:
        return cells_of(self.c.machine.target, self.gates)

    def packed(
        self,
        source: Operand | None,
        key: str,
        cells: Cells,
        sources: int,
        picks: Sequence[tuple[int, int, int]],
        k: int,
    ) -> np.ndarray | Temporary:
        """``source[directions, sources, hidden, k]`` packed for ``cells``: by each (first, count, into) gates
        ``first`` on are added to gates ``into`` on; None is all zeros."""
        d, hidden = self.directions, self.hidden
        panels, total = cells.panels(hidden), cells.gates
        if source is None:
            return np.zeros(d * panels * total * cells.units * k, np.float32)
        if source.data is not None:

            def pack(data: np.ndarray) -> np.ndarray:
                given = data.reshape(d, sources, hidden, k)
                if list(picks) == [(0, total, 0)]:
                    return pack_gates(given[:, :total], cells)
                gates = np.zeros((d, total, hidden, k), np.float32)
                for first, count, into in picks:
                    gates[:, into : into + count] += given[:, first : first + count]
                return pack_gates(gates, cells)

            return self.c.packed(source, ("gates", key, cells, hidden, d), pack)
        to = self.c.temp(4 * d * panels * total * cells.units * k)
        common = {"source": source, "to": to, "directions": d, "sources": sources, "k": k, "units": cells.units}
        common |= {"panels": panels, "total": total, "chunks": d * panels, "cost": 1.0 * source.size}
        if len(picks) > 1 or picks[0][1] < total:
            # Of no hidden units: zeros everywhere.
            self._call("units_pack_f32", **common, first=0, gates=total, hidden=0, into=0, add=0)
        for i, (first, count, into) in enumerate(picks):
            add = int(i > 0 or count < total)
            self._call("units_pack_f32", **common, first=first, gates=count, hidden=hidden, into=into, add=add)
        return to

    def _call(self, kernel: str, **arguments: Any) -> None:
        self.c.call(_MODULE, kernel, **arguments)

    def project(self, x: Operand, w: np.ndarray | Temporary, bias: np.ndarray | Temporary) -> Temporary:
        cells, rows = self.cells, self.steps * self.batch
        panels = cells.panels(self.hidden)
        width = panels * cells.gates * cells.units
        to = self.c.temp(4 * self.directions * rows * width)
        flops = 2 * self.directions * rows * self.inputs * width
        self._call(
            "gates_project_f32", x=x, rows=rows, inputs=self.inputs, w=w, bias=bias, gates=self.gates,
            directions=self.directions, panels=panels, to=to, chunks=max(rows // 8, self.directions * panels),
            cost=flops / _GFLOPS, flops=flops,
        )  # fmt: skip
        return to

    def common(
        self, x: Temporary, r: np.ndarray | Temporary, bias: np.ndarray | Temporary | int, lengths: Operand | None,
        h0: Operand | None,
    ) -> dict[str, Any]:  # fmt: skip
        """The arguments that all recurrent kernels take."""
        c, cells, d = self.c, self.cells, self.directions
        panels, hidden = cells.panels(self.hidden), self.hidden
        row = panels * cells.gates * cells.units
        x_t, x_b = (row, self.steps * row) if self.batch_first else (self.batch * row, row)
        if self.batch_first:
            y_t, y_d, y_b, s_d, s_b = d * hidden, hidden, self.steps * d * hidden, hidden, d * hidden
        else:
            y_t, y_d, y_b = d * self.batch * hidden, self.batch * hidden, hidden
            s_d, s_b = self.batch * hidden, hidden
        if lengths is not None and lengths.data is not None and bool((lengths.data == self.steps).all()):
            lengths = None
        chunks = min(d * self.batch, 16)
        size = -(-scratch_bytes(cells, hidden, self.batch) // 64) * 64
        flops = 2 * self.steps * self.batch * d * hidden * row
        return {
            "x": x, "steps": self.steps, "batch": self.batch, "directions": d,
            "backwards": {"forward": 0, "reverse": 1, "bidirectional": 2}[_direction(c)], "hidden": hidden,
            "panels": panels, "r": r, "bias": bias, "acts": self.acts, "clip": self.clip, "plain": int(self.plain),
            "lengths": _or_zero(lengths), "x_t": x_t, "x_b": x_b, "h0": _or_zero(h0), "y": _or_zero(_output(c, 0)),
            "y_t": y_t, "y_d": y_d, "y_b": y_b, "yh": _or_zero(_output(c, 1)), "s_d": s_d, "s_b": s_b,
            "scratch": c.temp(size * chunks), "apart": size, "chunks": chunks, "cost": flops / (_GFLOPS / 2),
            "flops": flops,
        }  # fmt: skip


def _or_zero(given: Operand | None) -> Operand | int:
    return 0 if given is None else given


def _output(c: Lowering, index: int) -> Operand | None:
    return c.outputs[index] if index < len(c.outputs) else None


def _direction(c: Lowering) -> str:
    return str(c.attr("direction", "forward")).lower()


def _layer(c: Lowering, gates: int, defaults: tuple[str, ...]) -> _Layer:
    """The layer of a node whose first inputs are X, W, R, B, sequence_lens and initial_h."""
    x, w, r = c.inputs[:3]
    assert x is not None and w is not None and r is not None
    for given in c.inputs:
        c.require(given is None or given.dtype in (F32, I32), f"only float32, not {given and given.dtype}")
    directions, hidden = r.shape[0], r.shape[2]
    c.require(
        w.shape[1] == gates * hidden and directions == (2 if _direction(c) == "bidirectional" else 1), "odd shapes"
    )
    batch_first = bool(c.attr("layout", 0))
    steps, batch = (x.shape[1], x.shape[0]) if batch_first else (x.shape[0], x.shape[1])
    clip = c.attr("clip")
    limit = math.inf if clip is None or clip <= 0 else float(clip)
    acts, plain = _activations(c, defaults, directions)
    return _Layer(
        c, gates, steps, batch, x.shape[2], hidden, directions, batch_first, limit, acts, plain and limit == math.inf
    )


def _activations(c: Lowering, defaults: tuple[str, ...], directions: int) -> tuple[np.ndarray, bool]:
    """The table of activations (int64 words of number, alpha, beta), and whether they are the defaults."""
    names = c.attr("activations")
    needed = list(defaults) * directions
    names = [n.lower() for n in names][: len(needed)] if names else needed
    alphas, betas = list(c.attr("activation_alpha", [])), list(c.attr("activation_beta", []))
    c.require(len(names) == len(needed), "not as many activations as gates need")
    table = np.zeros((len(names), 3), np.int64)
    for i, name in enumerate(names):
        c.require(name in ACTIVATIONS, f"activation {name}")
        arity = ARITY.get(name, 0)
        alpha, beta = _DEFAULTS.get(name, (1.0, 1.0))
        given = arity >= 1 and bool(alphas)
        if given:
            alpha = alphas.pop(0)
        if arity == 2 and betas:
            second = betas.pop(0)
            beta = second if given else beta
        bits = np.array([alpha, beta], np.float32).view(np.uint32)
        table[i] = ACTIVATIONS.index(name), *bits
    return table, names == needed


def _lengths(c: Lowering) -> Operand | None:
    return c.input(4)


@lower("LSTM")
def lstm(c: Lowering) -> None:
    """LSTM."""
    layer = _layer(c, 4, ("sigmoid", "tanh", "tanh"))
    cells, (x, w, r) = layer.cells, c.inputs[:3]
    assert x is not None
    peephole, coupled = c.input(7), int(bool(c.attr("input_forget", 0)))
    layer.plain = layer.plain and peephole is None and not coupled
    three = Cells(cells.lanes, 3, cells.vectors, cells.rows)
    weights = layer.packed(w, "w", cells, 4, [(0, 4, 0)], layer.inputs)
    bias = layer.packed(c.input(3), "b", cells, 8, [(0, 4, 0), (4, 4, 0)], 1)
    recurrent = layer.packed(r, "r", cells, 4, [(0, 4, 0)], layer.hidden)
    looks = 0 if peephole is None else layer.packed(peephole, "p", three, 3, [(0, 3, 0)], 1)
    projected = layer.project(x, weights, bias)
    c.call(
        _MODULE, "lstm_f32", **layer.common(projected, recurrent, 0, _lengths(c), c.input(5)), peephole=looks,
        coupled=coupled, c0=_or_zero(c.input(6)), yc=_or_zero(_output(c, 2)),
    )  # fmt: skip


@lower("GRU")
def gru(c: Lowering) -> None:
    """GRU."""
    layer = _layer(c, 3, ("sigmoid", "tanh"))
    cells, (x, w, r), b = layer.cells, c.inputs[:3], c.input(3)
    assert x is not None
    linear = int(bool(c.attr("linear_before_reset", 0)))
    two, one = cells_of(c.machine.target, 2), cells_of(c.machine.target, 1)
    weights = layer.packed(w, "w", cells, 3, [(0, 3, 0)], layer.inputs)
    bias = layer.packed(b, "b", cells, 6, [(0, 3, 0), (3, 2, 0)], 1)
    recurrent: np.ndarray | Temporary
    last: np.ndarray | Temporary | int = 0
    if linear:
        recurrent = layer.packed(r, "r", cells, 3, [(0, 3, 0)], layer.hidden)
        own_bias = layer.packed(b, "b_linear", cells, 6, [(5, 1, 2)], 1)
    else:
        recurrent = layer.packed(r, "r_zr", two, 3, [(0, 2, 0)], layer.hidden)
        last = layer.packed(r, "r_h", one, 3, [(2, 1, 0)], layer.hidden)
        own_bias = layer.packed(b, "b_h", one, 6, [(5, 1, 0)], 1)
    projected = layer.project(x, weights, bias)
    c.call(
        _MODULE, "gru_f32", **layer.common(projected, recurrent, own_bias, _lengths(c), c.input(5)), linear=linear,
        r_h=last, panels_h=one.panels(layer.hidden),
    )  # fmt: skip


@lower("RNN")
def rnn(c: Lowering) -> None:
    """RNN."""
    layer = _layer(c, 1, ("tanh",))
    cells, (x, w, r) = layer.cells, c.inputs[:3]
    assert x is not None
    weights = layer.packed(w, "w", cells, 1, [(0, 1, 0)], layer.inputs)
    bias = layer.packed(c.input(3), "b", cells, 2, [(0, 1, 0), (1, 1, 0)], 1)
    recurrent = layer.packed(r, "r", cells, 1, [(0, 1, 0)], layer.hidden)
    projected = layer.project(x, weights, bias)
    c.call(_MODULE, "rnn_f32", **layer.common(projected, recurrent, 0, _lengths(c), c.input(5)))
