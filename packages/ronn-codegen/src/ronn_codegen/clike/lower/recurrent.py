"""LSTM, GRU and RNN in float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from ronn.records import dataclass
from ronn_codegen.clike.lower._widened import widened
from ronn_codegen.clike.table import lower
from ronn_codegen.clike.templates.recurrent import ROWS, units_of
from ronn_codegen.lower._recurrent import Layer, or_zero, output, sizes_of
from ronn_codegen.lowering import Lowering, Operand, Temporary

_MODULE = "ronn_codegen.templates.recurrent"


@dataclass
class _Layer(Layer):
    """A layer, and the calls that all three operators make."""

    @property
    def width(self) -> int:
        units = units_of(self.c.machine)
        return -(-self.hidden // units) * units

    def columns(
        self, source: Operand | None, key: str, k: int, sources: int, gates: int, first: int = 0, second: int = 0,
        seconds: int = 0,
    ) -> np.ndarray | Temporary:  # fmt: skip
        """``source[directions, sources, hidden, k]`` as [directions, k, gates, width]: gates ``first`` on, to the first
        ``seconds`` of which those from ``second`` on are added. None is all zeros."""
        c, d, width, hidden = self.c, self.directions, self.width, self.hidden
        if source is None:
            return np.zeros(d * k * gates * width, np.float32)
        if source.data is not None:

            def pack(data: np.ndarray) -> np.ndarray:
                given = data.reshape(d, sources, hidden, k)
                to = np.zeros((d, k, gates, width), np.float32)
                to[..., :hidden] = given[:, first : first + gates].transpose(0, 3, 1, 2)
                to[:, :, :seconds, :hidden] += given[:, second : second + seconds].transpose(0, 3, 1, 2)
                return to

            return c.packed(source, ("columns", key, d, hidden, width), pack)
        to = c.temp(4 * d * k * gates * width)
        c.call(
            _MODULE, "gates_pack_f32", source=source, to=to, directions=d, sources=sources, k=k, hidden=hidden,
            width=width, gates=gates, first=first, second=second, seconds=seconds,
        )  # fmt: skip
        return to

    def run(self, kernel: str, states: int, x: Operand, sources: int, bias: Any, **more: Any) -> None:
        """The projection of the inputs, and the kernel over all steps. sources: biases of a direction."""
        c, d, width, rows = self.c, self.directions, self.width, self.steps * self.batch
        gates = self.gates
        kept = {4: 4, 3: 2, 1: 1}[gates]  # recurrent biases that are added to those of the inputs
        weights = self.columns(c.inputs[1], "w", self.inputs, gates, gates)
        added = self.columns(c.input(3), "b", 1, sources, gates, 0, gates, kept)
        recurrent = self.columns(c.inputs[2], "r", self.hidden, gates, gates)
        row = gates * width
        projected = c.temp(4 * d * rows * row)
        c.call(
            _MODULE, "gates_project_f32", x=x, rows=rows, inputs=self.inputs, w=weights, bias=added,
            parts=row // units_of(c.machine), directions=d, to=projected, flops=2 * d * rows * self.inputs * row,
        )  # fmt: skip
        block = ROWS if self.batch > 1 else 1
        x_t, x_b = (row, self.steps * row) if self.batch_first else (self.batch * row, row)
        c.call(
            _MODULE, kernel if self.batch > 1 else kernel.replace("_f32", "_one_f32"), x=projected, steps=self.steps,
            batch=self.batch, directions=d, backwards=self.backwards, hidden=self.hidden, width=width, r=recurrent,
            bias=bias, acts=self.acts, clip=self.clip, lengths=or_zero(self.lengths()), x_t=x_t, x_b=x_b,
            h0=or_zero(c.input(5)), y=or_zero(output(c, 0)), yh=or_zero(output(c, 1)), **self.strides(),
            states=c.temp(4 * states * d * -(-self.batch // block) * block * width), **more,
            flops=2 * rows * d * self.hidden * row,
        )  # fmt: skip


def _layer(c: Lowering, gates: int, defaults: tuple[str, ...]) -> tuple[_Layer, Operand]:
    x = c.inputs[0]
    assert x is not None
    return _Layer(**sizes_of(c, gates, defaults)), x


@lower("LSTM")
@widened
def lstm(c: Lowering) -> None:
    """LSTM."""
    layer, x = _layer(c, 4, ("sigmoid", "tanh", "tanh"))
    looks = 0 if c.input(7) is None else layer.columns(c.input(7), "p", 1, 3, 3)
    layer.run(
        "lstm_f32", 3, x, 8, 0, peephole=looks, coupled=int(bool(c.attr("input_forget", 0))), c0=or_zero(c.input(6)),
        yc=or_zero(output(c, 2)),
    )  # fmt: skip


@lower("GRU")
@widened
def gru(c: Lowering) -> None:
    """GRU."""
    layer, x = _layer(c, 3, ("sigmoid", "tanh"))
    linear = bool(c.attr("linear_before_reset", 0))
    bias = layer.columns(c.input(3), "b_h", 1, 6, 1, 5)
    layer.run("gru_linear_f32" if linear else "gru_f32", 2 if linear else 4, x, 6, bias)


@lower("RNN")
@widened
def rnn(c: Lowering) -> None:
    """RNN."""
    layer, x = _layer(c, 1, ("tanh",))
    layer.run("rnn_f32", 2, x, 2, 0)
