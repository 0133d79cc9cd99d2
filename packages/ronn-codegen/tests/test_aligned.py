"""Arrays that begin with a line of the caches, and packed weights that do."""

from __future__ import annotations

import numpy as np
import pytest

from ronn_codegen.aligned import LINE, aligned_empty, aligned_zeros
from ronn_codegen.native.machine import machine
from ronn_codegen.templates import int8_pack
from ronn_codegen.templates.recurrent_layout import cells_of, pack_gates


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 5), (1000, 1001), ()])
@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.float64])
def test_arrays(shape: tuple[int, ...], dtype: type) -> None:
    for made in (aligned_empty(shape, dtype), aligned_zeros(shape, dtype)):
        assert made.shape == shape and made.dtype == dtype and made.flags.c_contiguous and made.flags.writeable
        assert made.size == 0 or made.ctypes.data % LINE == 0
    assert not aligned_zeros(shape, dtype).any()


def test_packed_weights() -> None:
    target = machine("native").target
    rng = np.random.default_rng(0)
    for hidden in (5, 130, 600):
        gates = pack_gates(rng.standard_normal((2, 3, hidden, hidden)).astype(np.float32), cells_of(target, 3))
        weights = rng.integers(-128, 128, (1, hidden, hidden)).astype(np.int8)
        packed = int8_pack.pack(weights, int8_pack.tile_of(target))
        rows = int8_pack.pack_rows(weights[0], 16, 64)
        assert {a.ctypes.data % LINE for a in (gates, packed, rows)} == {0}
