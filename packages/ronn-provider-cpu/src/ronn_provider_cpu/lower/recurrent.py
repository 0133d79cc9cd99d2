"""LSTM, GRU and RNN in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ronn.records import dataclass
from ronn_codegen.lower._recurrent import Layer, or_zero, output, sizes_of
from ronn_codegen.templates.recurrent_layout import Cells, cells_of, pack_gates, scratch_bytes
from ronn_provider_cpu.lowering import Lowering, Operand, Temporary, lower

_MODULE = "ronn_codegen.templates.recurrent"
_GFLOPS = 60.0  # about what a core does of such products


@dataclass
class _Layer(Layer):
    """A layer, and the calls that all three operators make."""

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
        self, x: Temporary, r: np.ndarray | Temporary, bias: np.ndarray | Temporary | int,
        h0: Operand | None,
    ) -> dict[str, Any]:  # fmt: skip
        """The arguments that all recurrent kernels take."""
        c, cells, d = self.c, self.cells, self.directions
        panels, hidden = cells.panels(self.hidden), self.hidden
        row = panels * cells.gates * cells.units
        x_t, x_b = (row, self.steps * row) if self.batch_first else (self.batch * row, row)
        chunks = min(d * self.batch, 16)
        size = -(-scratch_bytes(cells, hidden, self.batch) // 64) * 64
        flops = 2 * self.steps * self.batch * d * hidden * row
        return {
            "x": x, "steps": self.steps, "batch": self.batch, "directions": d,
            "backwards": self.backwards, "hidden": hidden,
            "panels": panels, "r": r, "bias": bias, "acts": self.acts, "clip": self.clip, "plain": int(self.plain),
            "lengths": or_zero(self.lengths()), "x_t": x_t, "x_b": x_b, "h0": or_zero(h0), "y": or_zero(output(c, 0)),
            "yh": or_zero(output(c, 1)), **self.strides(),
            "scratch": c.temp(size * chunks), "apart": size, "chunks": chunks, "cost": flops / (_GFLOPS / 2),
            "flops": flops,
        }  # fmt: skip


def _layer(c: Lowering, gates: int, defaults: tuple[str, ...]) -> _Layer:
    return _Layer(**sizes_of(c, gates, defaults))


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
        _MODULE, "lstm_f32", **layer.common(projected, recurrent, 0, c.input(5)), peephole=looks,
        coupled=coupled, c0=or_zero(c.input(6)), yc=or_zero(output(c, 2)),
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
        _MODULE, "gru_f32", **layer.common(projected, recurrent, own_bias, c.input(5)), linear=linear,
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
    c.call(_MODULE, "rnn_f32", **layer.common(projected, recurrent, 0, c.input(5)))
