"""``ronn compare``, ``ronn bisect`` and ``ronn run --trace`` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

REFERENCE = ("--provider", "reference")


@pytest.fixture
def wrong(classifier: Path, tmp_path: Path) -> Path:
    """The classifier with other weights in its last layer."""
    model = onnx.load(classifier)
    (last,) = (t for t in model.graph.initializer if t.name == "g")
    last.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(last) * np.float32(1.1), "g"))
    path = tmp_path / "wrong.onnx"
    onnx.save(model, path)
    return path


def test_compare_shows_tables(ronn: Any, classifier: Path) -> None:
    done = ronn("compare", classifier, "--providers-a", "reference", "--data", "random:2", "--seconds", "0.05")
    assert done.code == 0, done.err
    for text in ("Sides", "Outputs against A, 2 samples", "Values inside", "conv", "within the tolerance"):
        assert text in done.out


def test_compare_two_models(ronn: Any, classifier: Path, wrong: Path) -> None:
    both = ("--providers-a", "reference", "--providers-b", "reference", "--seconds", "0")
    done = ronn("compare", classifier, wrong, *both, "--json")
    assert done.code == 4
    assert done.data["equal"] is False
    assert [r["name"] for r in done.data["nodes"] if not r["equal"]] == ["scores"]
    assert done.data["outputs"][0]["max_rel"] == pytest.approx(0.1, rel=1e-3)
    assert ronn("compare", classifier, wrong, *both, "--rtol", "0.2").code == 0
    told = ronn("compare", classifier, wrong, *both, "--top", "1", "--no-nodes")
    assert told.code == 4 and "beyond the tolerance: B scores" in told.out and "Values inside" not in told.out


def test_compare_draws(ronn: Any, classifier: Path, wrong: Path, tmp_path: Path) -> None:
    both = ("--providers-a", "reference", "--providers-b", "reference", "--rtol", "0.2", "--seconds", "0.02")
    done = ronn("compare", classifier, wrong, *both, "--picture", tmp_path / "beside.svg")
    assert done.code == 0 and "wrote" in done.out, done.err
    assert (tmp_path / "beside.svg").read_text().startswith("<svg")
    failed = ronn("compare", classifier, wrong, *both, "--picture", tmp_path / "beside.png")
    assert failed.code == 1 and "beside.svg" in failed.err


def test_compare_options_are_those_of_b(ronn: Any, classifier: Path) -> None:
    done = ronn("compare", classifier, "--providers-a", "reference", "--providers-b", "reference", "--level", "basic",
                "--disable-pass", "fold-constants", "--seconds", "0", "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert [s["name"].partition(", ")[2] for s in done.data["sides"]] == [
        "on reference", "on reference, passes basic, without fold-constants",
    ]  # fmt: skip


def test_bisect_finds_nothing(ronn: Any, classifier: Path) -> None:
    done = ronn("bisect", classifier, *REFERENCE)
    assert done.code == 0 and "nothing to find" in done.out


def test_bisect_finds_a_pass(ronn: Any, classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ronn.passes import fuse_conv_bn

    right = fuse_conv_bn._along
    monkeypatch.setattr(fuse_conv_bn, "_along", lambda *given: 2 * right(*given))
    done = ronn("bisect", classifier, *REFERENCE, "--save-repro", tmp_path / "small.onnx", "--json")
    assert done.code == 4, done.err
    assert (done.data["verdict"], done.data["pass"], done.data["rewrite"]) == ("pass", "fuse-conv-bn", 1)
    assert done.data["node"] in ("conv", "norm") and len(done.data["repro"]) == 2
    small = onnx.load(tmp_path / "small.onnx")
    assert [n.op_type for n in small.graph.node] == ["Conv", "BatchNormalization"]
    told = ronn("bisect", tmp_path / "small.onnx", "--data", tmp_path / "small.npz", *REFERENCE)
    assert told.code == 4
    for text in ("a pass is guilty", "fuse-conv-bn", "before:", "after:", "--disable-pass fuse-conv-bn"):
        assert text in told.out
    assert ronn("bisect", classifier, *REFERENCE, "--disable-pass", "fuse-conv-bn").code == 0


def test_bisect_against_given_outputs(ronn: Any, classifier: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "want.npz", scores=np.zeros((1, 12), np.float32))
    done = ronn("bisect", classifier, *REFERENCE, "--against", tmp_path / "want.npz")
    assert done.code == 5 and "reference kernels, without any pass, differ" in done.out
    failed = ronn("bisect", classifier, *REFERENCE, "--against", "nothing")
    assert failed.code == 1 and "nothing to compare with" in failed.err


def test_run_traces(ronn: Any, classifier: Path, tmp_path: Path) -> None:
    done = ronn("run", classifier, *REFERENCE, "--trace", "?", "-t", "c", "--save", tmp_path / "all.npz", "--json")
    assert done.code == 0, done.err
    assert list(done.data["outputs"]) == ["scores", "c", "n", "r", "p", "f"]
    with np.load(tmp_path / "all.npz") as saved:
        assert saved["c"].shape == (1, 4, 8, 8)
    failed = ronn("run", classifier, *REFERENCE, "--trace", "conv1")
    assert failed.code == 1 and "no value 'conv1' to trace" in failed.err
