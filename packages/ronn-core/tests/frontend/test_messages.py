"""Models are read without importing onnx, into onnx's own message classes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from ronn.frontend.messages import messages

_READ = """
import sys
import ronn
model = ronn.load(sys.argv[1])
print([n.op for n in model.graph], "onnx" in sys.modules)
from ronn.frontend.messages import messages
made = messages().ModelProto()
import onnx
print(type(made) is onnx.ModelProto, isinstance(onnx.load(sys.argv[1]), messages().ModelProto))
print([n.op for n in ronn.load(onnx.load(sys.argv[1])).graph])
onnx.checker.check_model(onnx.load(sys.argv[1]))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A model of two nodes."""
    header = '<ir_version: 9, opset_import: ["": 17]>'
    model = onnx.parser.parse_model(header + "g (float[N] x) => (float[N] y) { h = Relu(x) y = Neg(h) }")
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.mark.parametrize("implementation", ["upb", "python"])
def test_a_model_is_read_without_onnx(path: Path, implementation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", implementation)
    done = subprocess.run([sys.executable, "-c", _READ, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['Relu', 'Neg'] False", "True True", "['Relu', 'Neg']"]


def test_the_classes_are_those_of_onnx() -> None:
    assert messages().ModelProto is onnx.ModelProto
    assert messages().IR_VERSION == onnx.IR_VERSION
