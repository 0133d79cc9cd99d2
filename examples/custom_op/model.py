"""The model: samples -> loudness curve -> frames -> the loud ones -> unit length -> 13 cosine coefficients each."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from examples.custom_op.operators import DOMAIN

SIZE, HOP, COEFFICIENTS = 400, 160, 13  # samples; at 16 kHz frames of 25 ms, a new one every 10 ms


def cosines() -> np.ndarray:
    """f32[SIZE, COEFFICIENTS]: the first rows of a cosine transform."""
    n, k = np.arange(SIZE)[:, None] + 0.5, np.arange(COEFFICIENTS)[None]
    return np.cos(np.pi * n * k / SIZE).astype(np.float32)


def make() -> ModelProto:
    """``audio`` f32[samples] -> ``features`` f32[frames, 13]."""
    nodes = [
        helper.make_node("Mul", ["audio", "gain"], ["louder"]),
        helper.make_node("Compand", ["louder"], ["curve"], "compand", domain=DOMAIN, mu=255.0),
        helper.make_node("Clip", ["curve", "low", "high"], ["clipped"]),
        helper.make_node("Frames", ["clipped"], ["rows"], "frames", domain=DOMAIN, size=SIZE, hop=HOP),
        helper.make_node("Loud", ["rows"], ["kept"], "loud", domain=DOMAIN, threshold=0.4),
        helper.make_node("Unit", ["kept"], ["units"], "unit", domain=DOMAIN),
        helper.make_node("MatMul", ["units", "cosines"], ["features"]),
    ]
    constants = {
        "gain": np.float32(2), "low": np.float32(-1), "high": np.float32(1), "cosines": cosines(),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "loud frames",
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["samples"])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["frames", COEFFICIENTS])],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def speech_like(seconds: float, rate: int = 16_000) -> np.ndarray:
    """A tone that comes and goes: f32[seconds * rate]."""
    t = np.arange(int(seconds * rate)) / rate
    envelope = np.maximum(np.sin(2 * np.pi * 1.5 * t), 0) ** 2
    return (0.3 * envelope * np.sin(2 * np.pi * 220 * t)).astype(np.float32)
