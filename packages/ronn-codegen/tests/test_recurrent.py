"""Recurrent kernels: any number of shares gives the same bits, and nothing is written outside of the outputs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ronn_codegen.native.library import library
from ronn_codegen.templates.recurrent_layout import cells_of, pack_gates, scratch_bytes

MODULE = "ronn_codegen.templates.recurrent"
GUARD = 16


class Guarded:
    """An array with marked elements before and behind it."""

    def __init__(self, *shape: int) -> None:
        self.whole = np.full(math.prod(shape) + 2 * GUARD, 7, np.float32)
        self.array = self.whole[GUARD:-GUARD].reshape(shape)

    @property
    def address(self) -> int:
        return self.array.ctypes.data

    def check(self) -> np.ndarray:
        assert (self.whole[:GUARD] == 7).all() and (self.whole[-GUARD:] == 7).all()
        return self.array


@pytest.mark.parametrize("level", ["native", "avx2", "baseline"])
@pytest.mark.parametrize("gates", [4, 3, 1])
def test_shares_agree_bit_for_bit(gates: int, level: str) -> None:
    lib = library(level)
    target = lib.machine.target
    cells, one = cells_of(target, gates), cells_of(target, 1)
    rng = np.random.default_rng(gates)
    steps, batch, inputs, hidden, d = 3, 7, 10, 37, 2
    w, r, b = (
        pack_gates((rng.normal(size=(d, gates, hidden, k)) / 4).astype(np.float32), cells)
        for k in (inputs, hidden, 1)
    )  # fmt: skip
    x = rng.normal(size=(steps * batch, inputs)).astype(np.float32)
    lengths = rng.integers(0, steps + 1, batch).astype(np.int32)
    functions = {4: 3, 3: 2, 1: 1}[gates]
    acts = np.zeros((d, functions, 3), np.int64)
    acts[:, -1, 0] = 1
    row = cells.panels(hidden) * cells.gates * cells.units
    size = scratch_bytes(cells, hidden, batch)

    def run(workers: int) -> list[np.ndarray]:
        projected, y, state, cell = (
            Guarded(d, steps * batch, row), Guarded(steps, d, batch, hidden), Guarded(d, batch, hidden),
            Guarded(d, batch, hidden),
        )  # fmt: skip
        scratch = np.zeros(size * workers, np.uint8)
        project = lib.kernel(MODULE, "gates_project_f32")
        kernel = lib.kernel(MODULE, {4: "lstm_f32", 3: "gru_f32", 1: "rnn_f32"}[gates])
        extra = {
            4: (0, 0, 0, cell.address), 3: (1, 0, one.panels(hidden)), 1: (),
        }[gates]  # fmt: skip
        for worker in range(workers):
            project(
                x.ctypes.data, steps * batch, inputs, w.ctypes.data, b.ctypes.data, gates, d, cells.panels(hidden),
                projected.address, worker=worker, workers=workers,
            )  # fmt: skip
        for worker in range(workers):
            kernel(
                projected.address, steps, batch, d, 2, hidden, cells.panels(hidden), r.ctypes.data, b.ctypes.data,
                acts.ctypes.data, math.inf, 0, lengths.ctypes.data, batch * row, row, 0, y.address,
                d * batch * hidden, batch * hidden, hidden, state.address, batch * hidden, hidden,
                scratch.ctypes.data, size, *extra, worker=worker, workers=workers,
            )  # fmt: skip
        return [a.check() for a in (projected, y, state, cell)]

    whole = run(1)
    for workers in (2, 5, 20):
        for a, b_ in zip(run(workers), whole, strict=True):
            np.testing.assert_array_equal(a, b_)
