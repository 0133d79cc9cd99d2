"""The memory layouts of ``ronn_codegen.templates.recurrent``.

Hidden units are cut into panels of ``units`` (a few vectors). What all gates hold of one panel lies together:

| | layout |
| --- | --- |
| weights | ``[directions, panels, k, gates, units]``, k the inputs or the hidden units that they multiply |
| biases, peepholes | ``[directions, panels, gates, units]`` |
| projected input | ``[directions, rows, panels, gates, units]``, rows in the order of x |
| states | ``[rows, panels * units]`` |

Units beyond the hidden size are zero.
"""

from __future__ import annotations

import numpy as np

from ronn.records import dataclass
from ronn_codegen.aligned import aligned_empty
from ronn_codegen.simd.target import Target

ACTIVATIONS = (
    "sigmoid", "tanh", "relu", "hardsigmoid", "leakyrelu", "thresholdedrelu", "scaledtanh", "elu", "softsign",
    "softplus", "affine",
)  # fmt: skip


@dataclass(frozen=True)
class Cells:
    """How a target takes the gates of a panel: ``vectors`` vectors of units a gate, tiles of up to ``rows`` rows."""

    lanes: int
    gates: int
    vectors: int
    rows: int

    @property
    def units(self) -> int:
        """Hidden units of a panel."""
        return self.lanes * self.vectors

    def panels(self, hidden: int) -> int:
        return -(-hidden // self.units)

    def padded(self, hidden: int) -> int:
        """Units of a row of states."""
        return self.panels(hidden) * self.units


def cells_of(target: Target, gates: int) -> Cells:
    """The panels of an operator with so many gates: LSTM 4, GRU 3, RNN 1; 2 for the first gates of a GRU."""
    many = target.registers >= 32
    vectors = (4 if many else 2) if gates == 1 else 2 if many else 1
    rows = {1: 5, 2: 5, 3: 4, 4: 3}[gates] if many else {1: 4, 2: 4, 3: 3, 4: 2}[gates]
    return Cells(target.lanes(32), gates, vectors, rows)


def pack_gates(w: np.ndarray, cells: Cells) -> np.ndarray:
    """w[directions, gates, hidden, k] as ``[directions, panels, k, gates, units]``."""
    d, g, hidden, k = w.shape
    panels = cells.panels(hidden)
    out = aligned_empty((d, panels, k, g, cells.units), np.float32)
    padded = np.zeros((panels * cells.units, k), np.float32)
    for direction in range(d):
        for gate in range(g):
            padded[:hidden] = w[direction, gate]
            out[direction, :, :, gate] = padded.reshape(panels, cells.units, k).transpose(0, 2, 1)
    return out


def scratch_bytes(cells: Cells, hidden: int, batch: int) -> int:
    """Scratch of a recurrent kernel for one worker: two hidden states, a cell state, two gates of all units, sums."""
    # A GRU's states may be padded to the panels of either of its products, of which the one-gate kind is wider.
    padded = -(-hidden // (4 * cells.units)) * 4 * cells.units
    return 4 * batch * (5 * padded + 4 * cells.units * cells.gates)
