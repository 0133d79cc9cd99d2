"""Wheels run on any Python of any system: every package builds as one, and the core alone runs a model from its own."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[2] / "packages"

ALONE = """
import sys
sys.path.insert(0, sys.argv[1])
import onnx.parser, numpy as np, ronn
from ronn.plugins import registry

assert ronn.__file__.startswith(sys.argv[1]), ronn.__file__
assert not any(name.startswith("ronn_") for name in sys.modules)
model = onnx.parser.parse_model('''<ir_version: 10, opset_import: ["" : 21]>
    agraph (float[N,2] x) => (float[N,2] y) { a = Relu(x)  y = Softmax(a) }''')
session = ronn.Session(model)
print(session.providers, session.run(np.array([[-1, 0]], np.float32))["y"].tolist())
"""


def build(package: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=PACKAGES / package, check=True, capture_output=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.mark.parametrize("package", sorted(p.parent.name for p in PACKAGES.glob("*/pyproject.toml")))
def test_wheels_are_for_any_python_and_system(package: str, tmp_path: Path) -> None:
    wheel = build(package, tmp_path)
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(n for n in names if n.endswith(".dist-info/WHEEL"))).decode()
    assert "Root-Is-Purelib: true" in metadata
    assert not [n for n in names if n.endswith((".so", ".pyd", ".dylib", ".dll"))]


def test_the_core_alone_runs_a_model(tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(build("ronn-core", tmp_path)) as archive:
        archive.extractall(site)
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(site)],
        env={**os.environ, "PYTHONPATH": "", "RONN_PROVIDERS": "reference"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == "['reference'] [[0.5, 0.5]]\n", done.stderr
