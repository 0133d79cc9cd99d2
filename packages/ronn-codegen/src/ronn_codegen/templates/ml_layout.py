"""Names and memory layouts of ``ronn_codegen.templates.ml``."""

from __future__ import annotations

import numpy as np

POSTS = ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO")
KERNELS = ("LINEAR", "RBF", "POLY", "SIGMOID")
NORMS = ("MAX", "L1", "L2")
ROWS = 4  # rows of x whose products share one load of weights


def pack_columns(weights: np.ndarray, lanes: int) -> np.ndarray:
    """weights[features, outputs] (float32) as [outputs / lanes][features][lanes], zero beyond the outputs."""
    features, outputs = weights.shape
    blocks = -(-outputs // lanes)
    padded = np.zeros((features, blocks * lanes), np.float32)
    padded[:, :outputs] = weights
    return np.ascontiguousarray(padded.reshape(features, blocks, lanes).transpose(1, 0, 2))


def svm_scratch_bytes(vectors: int, classes: int, lanes: int) -> int:
    """Scratch of ``svm_f32`` for one worker: kernel values of ``ROWS`` rows, sums per class, votes."""
    padded = -(-vectors // lanes) * lanes
    wide = -(-max(classes - 1, 1) // lanes) * lanes
    return 4 * (ROWS * padded + max(classes, 1) * wide + classes + lanes)
