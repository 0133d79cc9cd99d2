"""docs/models.md says what is equal, what is wrong and what is missing."""

from __future__ import annotations

import numpy as np

from benchmarks.compare import _judge
from benchmarks.models_table import one_line, render
from benchmarks.zoo.manifest import load_manifest

VALUES = {"y": np.linspace(0, 1, 20, dtype=np.float32).reshape(2, 10)}


def row(name: str, actual: dict[str, np.ndarray], noise: float | None = None) -> dict[str, object]:
    return {"size": "1x3", "onnxruntime_noise": 1e-7, **_judge(load_manifest().models[name], VALUES, actual, noise)}


def entry(name: str, sizes: list[dict[str, object]]) -> dict[str, object]:
    return {
        "name": name, "nodes": 9, "sizes": sizes, "ok": all(size["ok"] for size in sizes),
        "providers": {"cpu": 8, "reference": 1}, "on_reference": ["LSTM"], "ronn_load_s": 0.1,
    }  # fmt: skip


def test_wrong_answers_are_called_wrong() -> None:
    assert row("magika-v3", VALUES)["ok"]
    wrong = row("magika-v3", {"y": VALUES["y"] + 1e-2})
    assert not wrong["ok"] and wrong["reason"] == "y: differs too much"
    text = render([entry("magika-v3", [wrong])])
    assert "**wrong**" in text and "**0 of 1 models**" in text and "(reference: LSTM)" in text


def test_task_level_models_are_judged_by_their_task() -> None:
    assert row("mnist-cnn-qdq", {"y": VALUES["y"] + 1e-2}, noise=1.0)["ok"]
    assert not row("mnist-cnn-qdq", {"y": VALUES["y"][:, ::-1]}, noise=1.0)["ok"]


def test_failures_and_absent_models_have_their_line() -> None:
    missing = {"name": "isnet-fp16", "unavailable": "needs npm", "ok": False}
    crashed = {"name": "magika-v3", "error": "process died: SIGSEGV", "ok": False}
    text = render([missing, crashed])
    assert "needs npm" in text and "SIGSEGV" in text and "**0 of 2 models**" in text
    assert one_line(missing) == "UNAVAILABLE: needs npm" and "SIGSEGV" in one_line(crashed)
