"""How far ONNX Runtime is from itself: the yardstick for task-level models, and a column in the models table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from benchmarks.contestants import open_onnxruntime
from benchmarks.tasks import task_score
from benchmarks.tolerance import compare_outputs
from benchmarks.zoo.feeds import Feed

NUDGE = 1e-6
SEEDS = (1, 2, 3)
LEAST_ELEMENTS = 16


def nudged_feed(feed: Feed, seed: int) -> Feed:
    """Float inputs moved by about one part in a million; everything else as it is."""
    rng = np.random.default_rng(seed)
    return {
        name: (value * (1 + NUDGE * rng.standard_normal(value.shape))).astype(value.dtype)
        if value.dtype.kind == "f"
        else value
        for name, value in feed.items()
    }


def nudged_model(path: Path, seed: int) -> bytes:
    """The model with its float32 weights moved by about one part in a million (small tensors may be sizes: kept)."""
    model = onnx.load(path)
    rng = np.random.default_rng(seed)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor)
            if array.size >= LEAST_ELEMENTS:
                moved = (array * (1 + NUDGE * rng.standard_normal(array.shape))).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))
    return bytes(model.SerializeToString())


def task_noise(path: Path, task: str, feeds: list[Feed], expected: list[dict[str, Any]]) -> list[float]:
    """For each feed the lowest score of ONNX Runtime against itself over nudged inputs and weights."""
    lowest = [1.0] * len(feeds)
    for seed in SEEDS:
        run = open_onnxruntime(nudged_model(path, seed), threads=1)
        for number, feed in enumerate(feeds):
            score = task_score(task, expected[number], run(nudged_feed(feed, seed)))
            lowest[number] = min(lowest[number], score)
    return lowest


def optimisation_noise(path: Path, feeds: list[Feed], expected: list[dict[str, Any]]) -> list[float] | None:
    """Largest difference, relative to the largest output, between all optimisations and none.

    None when ONNX Runtime cannot run the model without its optimisations.
    """
    try:
        run = open_onnxruntime(path, threads=1, optimise=False)
        outputs = [run(feed) for feed in feeds]
    except Exception:
        return None
    return [
        max((item.relative for item in compare_outputs(want, got).values()), default=0.0)
        for want, got in zip(expected, outputs, strict=True)
    ]
