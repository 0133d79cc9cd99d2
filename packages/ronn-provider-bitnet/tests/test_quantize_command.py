"""``ronn quantize``: what it writes, prints, draws and refuses."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from xml.etree import ElementTree

import digits
import numpy as np
import onnxruntime as ort
import pytest
from typer.testing import CliRunner

from ronn.cli.app import make_app
from ronn.errors import OptionError
from ronn.plugins import Registry
from ronn_provider_bitnet import plugin
from ronn_provider_bitnet.cli import parse_group, parse_size


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    train, _, test, labels = digits.data()
    (tmp_path / "digits.onnx").write_bytes(digits.model())
    np.save(tmp_path / "train.npy", train)
    np.save(tmp_path / "test.npy", test)
    np.save(tmp_path / "labels.npy", labels)
    return tmp_path


def run(folder, *options):
    app = make_app(plugins=False)
    plugin.ronn_cli(app=app)
    named = ["--data", folder / "train.npy", "--test", folder / "test.npy", "--labels", folder / "labels.npy"]
    return CliRunner().invoke(app, ["quantize", str(folder / "digits.onnx"), *map(str, [*named, *options])])


def test_a_model_is_written_with_a_table_and_a_picture(folder):
    out, svg = folder / "out.onnx", folder / "cost.svg"
    found = run(folder, "--bits", "2", "-o", out, "--picture", svg)
    assert found.exit_code == 0, found.output
    assert "top-1" in found.output and "layer1" in found.output and "640 weights, fewer than 1024" in found.output
    assert ort.InferenceSession(out, providers=["CPUExecutionProvider"]).get_inputs()[0].name == "x"
    root = ElementTree.fromstring(svg.read_text(encoding="utf-8"))
    tips = [t.text for t in root.iter("{http://www.w3.org/2000/svg}title")]
    assert any("layer1: 2 bits" in t for t in tips)


def test_json_has_the_whole_report(folder):
    found = run(folder, "--bits", "1", "--max-bytes", "16kB", "--json")
    report = json.loads(found.stdout)
    assert [r["name"] for r in report["layers"]] == ["layer0", "layer1"]
    assert report["bytes_after"] <= 16000 and report["task"]["rows"] == 500
    assert report["search"] and report["skipped"][0]["name"] == "layer2"


def test_a_bad_model_is_refused_with_exit_code_4(folder):
    out = folder / "out.onnx"
    worst = ("--bits", "1", "--edge-bits", "1", "--method", "nearest", "--smallest", "1", "-o", out)
    found = run(folder, *worst)
    assert found.exit_code == 4 and not out.exists()
    assert "was not written" in found.stderr and "top-1 falls" in found.stderr
    assert run(folder, *worst, "--force").exit_code == 0 and out.exists()


def test_what_is_there_is_not_overwritten(folder):
    out = folder / "out.onnx"
    out.write_bytes(b"precious")
    found = run(folder, "-o", out)
    assert isinstance(found.exception, OptionError) and "is there already" in str(found.exception)
    assert out.read_bytes() == b"precious"
    assert run(folder, "-o", out, "--overwrite").exit_code == 0
    for target, words in ((folder / "digits.onnx", "is the model that is read"), (folder / "no" / "o", "no folder")):
        assert words in str(run(folder, "-o", target, "--overwrite").exception)


def test_the_command_comes_with_the_package(folder):
    point = EntryPoint("bitnet-cli", "ronn_provider_bitnet.plugin", "ronn")
    found = Registry([point])
    assert [r.reason for r in found.records] == [""]
    app = make_app(plugins=False)
    found.manager.hook.ronn_cli(app=app)
    shown = CliRunner().invoke(app, ["quantize", "--help"])
    assert shown.exit_code == 0 and "--max-bytes" in shown.output


def test_sizes_and_groups():
    assert [parse_size(t) for t in ("20MB", "1.5gb", "2000", "3kB", "7B")] == [2 * 10**7, 15 * 10**8, 2000, 3000, 7]
    assert [parse_group(t) for t in ("row", "64")] == [0, 64]
    for text in ("", "MB", "-3", "1e999", "many"):
        with pytest.raises(OptionError, match="no size"):
            parse_size(text)
    for text in ("0", "-1", "all"):
        with pytest.raises(OptionError, match="no number of columns"):
            parse_group(text)


def test_the_smallest_form_is_written(folder):
    plain, small = folder / "plain.onnx", folder / "small.onnx"
    assert run(folder, "-o", plain).exit_code == 0
    found = run(folder, "-o", small, "--form", "trits", "--no-sequential")
    assert found.exit_code == 0, found.output
    assert small.stat().st_size < plain.stat().st_size and "1.6 bits a weight" in found.output
