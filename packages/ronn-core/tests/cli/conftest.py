"""Model files, and a way to run the command line in this process."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

from ronn.cli.app import run as run_command_line

ONNX_DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def ronn(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """``ronn("check", path)`` runs the command line: exit code and what it printed."""
    monkeypatch.setenv("RONN_DEBUG", "0")
    capsys.readouterr()

    def run(*arguments: object) -> Result:
        with pytest.raises(SystemExit) as left:
            run_command_line([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return Result(int(left.value.code or 0), out, err)

    return run


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """float ``pixels`` [batch, 3, 8, 8] and a constant -> ``scores`` [batch, 12]: Conv, BatchNorm, Relu, pool, Gemm."""
    rng = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(abs(rng.standard_normal(shape)).astype(np.float32), name)

    nodes = [
        h.make_node("Conv", ["pixels", "w"], ["c"], "conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        h.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"], "norm"),
        h.make_node("Relu", ["n"], ["r"], "relu"),
        h.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        h.make_node("Flatten", ["p"], ["f"], "flat"),
        h.make_node("Gemm", ["f", "g"], ["scores"], "classify"),
    ]
    graph = h.make_graph(
        nodes,
        "tiny",
        [h.make_tensor_value_info("pixels", T.FLOAT, ["batch", 3, 8, 8])],
        [h.make_tensor_value_info("scores", T.FLOAT, ["batch", 12])],
        [weights("w", 4, 3, 3, 3), *(weights(n, 4) for n in "sbmv"), weights("g", 4, 12)],
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9, producer_name="a test")
    h.set_model_props(model, {"labels": "a,b,c"})
    path = tmp_path / "classifier.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A model with a node that nobody runs, between two that everybody runs."""
    graph = h.make_graph(
        [
            h.make_node("Relu", ["x"], ["a"], "first"),
            h.make_node("Warp", ["a"], ["b"], "the strange one", domain="org.example"),
            h.make_node("Neg", ["b"], ["y"], "last"),
        ],
        "g",
        [h.make_tensor_value_info("x", T.FLOAT, [2])],
        [h.make_tensor_value_info("y", T.FLOAT, [2])],
    )
    opsets = [h.make_opsetid("", 17), h.make_opsetid("org.example", 1)]
    path = tmp_path / "foreign.onnx"
    onnx.save(h.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


@pytest.fixture
def onnx_case(tmp_path: Path):
    """Folder of a case of ONNX's own tests: model.onnx and test_data_set_0."""

    def copy(kind: str, name: str) -> Path:
        return Path(shutil.copytree(ONNX_DATA / kind / name, tmp_path / name))

    return copy
