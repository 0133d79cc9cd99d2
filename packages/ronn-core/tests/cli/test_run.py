"""``ronn run``: inputs from every kind of file, made-up inputs, outputs on disk."""

from __future__ import annotations

import json

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper


def test_made_up_inputs_are_said_to_be_made_up(ronn, classifier):
    result = ronn("run", classifier)
    assert result.code == 0, result.err
    assert "made up (seed 0)" in result.out and "The inputs were made up" in result.out
    assert "float32[1, 3, 8, 8]" in result.out and "float32[1, 12]" in result.out
    assert "top 5 of scores[0]" in result.out
    assert "ran on:" in result.out


def test_the_seed_decides_the_numbers(ronn, classifier):
    outputs = [ronn("run", classifier, "--seed", s, "--json").data["outputs"]["scores"]["mean"] for s in (1, 1, 2)]
    assert outputs[0] == outputs[1] != outputs[2]


def test_dims_and_shapes_can_be_set(ronn, classifier):
    assert ronn("run", classifier, "--dim", "batch=3", "--json").data["outputs"]["scores"]["shape"] == [3, 12]
    assert ronn("run", classifier, "--shape", "pixels=2,3,8,8", "--json").data["outputs"]["scores"]["shape"] == [2, 12]


def test_an_npy_file_and_saved_outputs(ronn, classifier, tmp_path):
    pixels = np.random.default_rng(3).standard_normal((2, 3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "p.npy", pixels)
    result = ronn(
        "run", classifier, "-i", f"pixels={tmp_path / 'p.npy'}", "--save", tmp_path / "out", "--output-dir",
        tmp_path / "each", "--repeat", 3, "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert not result.data["inputs"]["pixels"]["made_up"]
    assert result.data["run_ms"] > 0
    saved = np.load(tmp_path / "out.npz")["scores"]
    assert np.array_equal(saved, np.load(tmp_path / "each" / "scores.npy"))
    import onnxruntime

    expected = onnxruntime.InferenceSession(classifier).run(None, {"pixels": pixels})[0]
    np.testing.assert_allclose(saved, expected, rtol=1e-4, atol=1e-5)
    assert result.data["outputs"]["scores"]["top"][0][0][0] == int(expected[0].argmax())


def test_npz_by_its_names(ronn, classifier, tmp_path):
    np.savez(tmp_path / "in.npz", pixels=np.ones((1, 3, 8, 8), np.float32))
    result = ronn("run", classifier, "-i", tmp_path / "in.npz", "--json")
    assert result.data["inputs"]["pixels"]["mean"] == 1


def test_the_data_set_of_an_onnx_test(ronn, onnx_case, tmp_path):
    case = onnx_case("pytorch-operator", "test_operator_add_broadcast")
    data = case / "test_data_set_0"
    result = ronn(
        "run", case / "model.onnx", "-i", f"0={data / 'input_0.pb'}", "-i", f"1={data / 'input_1.pb'}", "-o",
        tmp_path / "out.npz",
    )  # fmt: skip
    assert result.code == 0, result.err
    expected = numpy_helper.to_array(TensorProto.FromString((data / "output_0.pb").read_bytes()))
    np.testing.assert_allclose(np.load(tmp_path / "out.npz")["2"], expected, rtol=1e-6)


def test_json_input_takes_the_declared_dtype(ronn, onnx_case, tmp_path):
    case = onnx_case("simple", "test_single_relu_model")
    (tmp_path / "x.json").write_text(json.dumps([[-2, 4]]))
    result = ronn("run", case / "model.onnx", "-i", tmp_path / "x.json", "--json")
    assert result.code == 0, result.err
    assert result.data["outputs"]["y"] == {
        "kind": "tensor", "dtype": "float32", "shape": [1, 2], "min": 0.0, "mean": 2.0, "max": 4.0, "top": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("normalize", "mean"), [("unit", 0.2), ("signed", -0.6), ("raw", 51.0), ("imagenet", (0.2 / 0.225))]
)
def test_a_picture_fits_the_input(ronn, classifier, tmp_path, normalize, mean):
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (50, 40), (51, 51, 51)).save(tmp_path / "grey.png")
    result = ronn("run", classifier, "-i", tmp_path / "grey.png", "--normalize", normalize, "--json")
    found = result.data["inputs"]["pixels"]
    assert found["shape"] == [1, 3, 8, 8]
    if normalize != "imagenet":
        assert found["mean"] == pytest.approx(mean, abs=1e-6)
    else:
        assert found["max"] == pytest.approx((0.2 - 0.406) / 0.225, abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["-i", "picsels=x.npy"], 1, ["no input 'picsels'", "did you mean 'pixels'?"]),
        (["-i", "missing.npy"], 1, ["there is no file 'missing.npy'"]),
        (["--dim", "bach=2"], 1, ["no dim 'bach'", "did you mean 'batch'?"]),
        (["--dim", "batch"], 1, ["--dim 'batch' is not NAME=SIZE"]),
        (["--shape", "pixels=1,x"], 1, ["is not NAME=1,3,224,224"]),
        (["--shape", "pixels=1,3,9,8"], 1, ["InputError", "got 9 instead of 8 at axis 2"]),
        (["--provider", "cup"], 1, ["there is no provider 'cup'"]),
        (["--optimization", "fastest"], 1, ["fastest"]),
        (["--disable-pass", "fuse-conv"], 1, ["there is no pass 'fuse-conv'"]),
        (["--repeat", "0"], 2, ["--repeat"]),
    ],
)
def test_mistakes_are_told_without_a_traceback(ronn, classifier, arguments, code, words):
    result = ronn("run", classifier, *arguments)
    assert result.code == code
    for word in words:
        assert word in result.err
    assert "Traceback" not in result.err


def test_an_input_left_out_needs_random(ronn, onnx_case):
    case = onnx_case("pytorch-operator", "test_operator_add_broadcast")
    given = ["-i", f"0={case / 'test_data_set_0' / 'input_0.pb'}"]
    refused = ronn("run", case / "model.onnx", *given)
    assert refused.code == 1 and "inputs are missing: 1" in refused.err and "--random" in refused.err
    taken = ronn("run", case / "model.onnx", *given, "--random", "--json")
    assert taken.code == 0
    assert [v["made_up"] for v in taken.data["inputs"].values()] == [False, True]


def test_a_broken_file_gives_a_message(ronn, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x07junk")
    result = ronn("run", tmp_path / "bad.onnx")
    assert result.code == 1
    assert result.err.startswith("ronn: ModelError:") and "Traceback" not in result.err


def test_debug_shows_the_traceback(classifier, monkeypatch):
    from ronn.cli.app import run
    from ronn.errors import OptionError

    monkeypatch.setenv("RONN_DEBUG", "1")
    with pytest.raises(OptionError):
        run(["run", str(classifier), "--dim", "batch"])
