"""The page is of the results, these are within the targets, and what needs no trained network is measured anew."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import bitnet_accuracy as accuracy
from benchmarks.bench_report import RESULTS
from benchmarks.photos import crops

FOUND = json.loads((RESULTS / f"{accuracy.NAME}.json").read_text(encoding="utf-8"))


def test_the_page_is_of_the_results() -> None:
    assert accuracy.tables(FOUND) in accuracy.PAGE.read_text(encoding="utf-8")


def test_results_are_within_the_targets() -> None:
    ternary = [r for r in FOUND["mnist"] if r["name"] == "ternary, in turn"]
    assert len(ternary) == 2 and all(r["before"] - r["after"] <= 0.005 for r in ternary)
    (planes,) = (r for r in FOUND["text"] if r["name"] == "two ternary planes, groups of 64, in turn")
    assert planes["loss_after"] <= 1.035 * planes["loss_before"]
    sizes = {(r["name"], r["form"]): r for r in FOUND["sizes"]}
    assert sizes["ternary", "trits"]["float32"] >= 19 * sizes["ternary", "trits"]["file"]
    assert sizes["ternary", "trits"]["float32"] >= 15.5 * sizes["ternary", "trits"]["packed"]
    assert sizes["binary", "trits"]["float32"] >= 31 * sizes["binary", "trits"]["packed"]


def test_bytes_of_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "SIZE", 256)
    found = {(r["name"], r["form"]): r for r in accuracy.run_sizes()}
    small, plain = found["ternary", "trits"], found["ternary", "onnx"]
    assert small["file"] < plain["file"] < plain["float32"] / 8
    assert found["binary", "onnx"]["packed"] < 0.6 * plain["packed"]


def test_crops_have_the_middle_first() -> None:
    image = Image.fromarray(np.arange(256, dtype=np.uint8)[None, :, None].repeat(256, 0).repeat(3, 2))
    arrays, classes = crops([(image, 7), (image, 8)], 3, 0)
    assert arrays.shape == (6, 3, 224, 224) and arrays.dtype == np.float32 and classes.tolist() == [7] * 3 + [8] * 3
    rows = arrays[:, 0, 100]
    assert (np.diff(rows[0]) >= 0).all() and rows[0, 0] == pytest.approx(-1, abs=0.02)
    assert (np.diff(rows[1]) <= 0).all() and (np.diff(rows[2]) >= 0).all()
