"""onnxscript functions called on arrays: one session for each operator."""

import numpy as np
import onnxscript
from onnxscript import FLOAT
from onnxscript import opset18 as op
from show import show


@onnxscript.script()
def mix(x: FLOAT["N", 4], w: FLOAT[4, 3]) -> FLOAT["N", 3]:  # noqa: F821
    scores = op.Softmax(op.MatMul(x, w), axis=-1)
    total = op.ReduceSum(x, keepdims=0)
    if total > 0.0:
        out = scores * 2.0
    else:
        out = op.Neg(scores)
    return out


rng = np.random.default_rng(0)
x, w = rng.standard_normal((3, 4)).astype(np.float32), rng.standard_normal((4, 3)).astype(np.float32)
import onnxruntime  # noqa: E402, F401  # onnxscript imports it when it first evaluates

show(positive=mix(np.abs(x), w), negative=mix(-np.abs(x), w))
