"""The operators of the domain ``example.audio``. Importing this module registers them."""

from __future__ import annotations

import math

import numpy as np

import ronn

DOMAIN = "example.audio"


@ronn.op(DOMAIN, "Compand", 1, loop="elementwise")
def compand(x, *, mu: float = 255.0):
    """The mu-law: quiet samples get more of the range. Followed into a native loop, fused with its neighbours."""
    return np.sign(x) * np.log1p(mu * np.abs(x)) / math.log1p(mu)


@ronn.op(DOMAIN, "Frames", 1, shape=lambda x, *, size, hop: (x.dtype, [(x.shape[0] - size) // hop + 1, size]))
def frames(x, *, size: int, hop: int):
    """Overlapping stretches of the signal, a row each. The shape rule tells ahead how many there are."""
    return np.lib.stride_tricks.sliding_window_view(x, size)[::hop]


@ronn.op(DOMAIN, "Loud", 1)
def loud(rows, *, threshold: float = 0.1):
    """The rows whose peak is above the threshold. How many only the data tells: what follows is planned at the run."""
    return rows[np.abs(rows).max(axis=-1) > threshold]


@ronn.op(DOMAIN, "Unit", 1, loop="rows")
def unit(rows, *, floor: float = 1e-6):
    """Each row divided by its length: a native loop with a reduction."""
    return rows / np.maximum(np.sqrt((rows * rows).sum(axis=-1, keepdims=True)), floor)
