"""``ronn put-weights``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from packed_files import hf_file, hf_packed, signs
from test_formats_onnx import float_graph
from typer.testing import CliRunner

import ronn
from ronn.cli.app import make_app
from ronn.errors import ModelError, OptionError, RonnError
from ronn_provider_bitnet import plugin


def run(folder: Path, *options: object) -> Any:
    app = make_app(plugins=False)
    plugin.ronn_cli(app=app)
    given = [folder / "m.onnx", "-w", folder / "model.safetensors", "-o", folder / "out.onnx", *options]
    return CliRunner().invoke(app, ["put-weights", *map(str, given)])


def refused(folder: Path, kind: type[RonnError], words: str, *options: object) -> None:
    error = run(folder, *options).exception
    assert isinstance(error, kind) and words in str(error)


def test_weights_into_a_model(tmp_path: Path) -> None:
    onnx.save(float_graph("node", 48, 512), tmp_path / "m.onnx")
    w = signs(48, 512)
    hf_file(tmp_path, {"m.q.weight": hf_packed(w), "m.q.weight_scale": np.array([4], np.float32)})
    out = tmp_path / "out.onnx"
    refused(tmp_path, ModelError, "which way the scales go")
    assert not out.exists()
    done = run(tmp_path, "--linear-class", "bitlinear", "--json")
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert told["layers"] == {"m.q": [48, 512]} and told["bytes"]["output"] == out.stat().st_size
    x = np.full((1, 512), 127, np.float32)
    np.testing.assert_allclose(ronn.Session(out, ["bitnet"]).run(x)["y"][0], w.sum(axis=1) * 127 / 4, rtol=1e-5)


def test_names_forms_and_what_is_there(tmp_path: Path) -> None:
    onnx.save(float_graph("node", 48, 512), tmp_path / "m.onnx")
    packed = {"other.weight": hf_packed(signs(48, 512)), "other.weight_scale": np.ones(1, np.float32)}
    hf_file(tmp_path, packed, config={"quant_method": "bitnet"})
    refused(tmp_path, ModelError, "other")
    refused(tmp_path, OptionError, "NODE=LAYER", "--name", "no")
    done = run(tmp_path, "--form", "trits", "--name", "/m/q/MatMul=other")
    assert done.exit_code == 0 and "48 x 512" in done.stdout
    assert "Trits" in [n.op_type for n in onnx.load(tmp_path / "out.onnx").graph.node]
    refused(tmp_path, OptionError, "is there already", "--name", "/m/q/MatMul=other")
    refused(tmp_path, OptionError, "no form", "--overwrite", "--form", "int3", "--name", "/m/q/MatMul=other")
