"""The provider template: what the scaffold writes, installed with pip, found, run inside ResNet-50, and conformant."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from ronn.errors import OptionError
from ronn.scaffold import create_provider

EXAMPLE = Path(__file__).parents[3] / "examples" / "provider-template"

_RESNET = """
import os, numpy as np, onnx, ronn
from ronn.plugins import registry
assert "toy" in registry().names, registry().names
model = os.path.join(os.path.dirname(onnx.__file__), "backend/test/data/light/light_resnet50.onnx")
x = (np.arange(3 * 224 * 224).reshape(1, 3, 224, 224) / (3 * 224 * 224)).astype(np.float32)
session = ronn.Session(model, providers=["toy", "cpu", "reference"])
placed = session.placement().counts()
ours = {row.op for row in session.placement() if row.provider == "toy"}
assert ours <= {"Relu", "Add"} and placed["toy"] >= 10, placed
alone = ronn.Session(model, providers=["cpu", "reference"])
np.testing.assert_allclose(session.run(x)[0], alone.run(x)[0], rtol=1e-4, atol=1e-7)
print("placed", placed)
"""


def install(package: Path, into: Path) -> dict[str, str]:
    """Installs with pip into a folder; returns the environment in which it is found."""
    isolation = ["--no-build-isolation"] if find_spec("hatchling") is not None else []
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        *isolation,
        "--target",
        str(into),
        str(package),
    ]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(into), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    }


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A package fresh from the scaffold, and an environment in which it is installed."""
    package = tmp_path_factory.mktemp("new") / "ronn-provider-toy"
    create_provider("toy", package)
    return package, install(package, tmp_path_factory.mktemp("site"))


def test_example_is_what_the_scaffold_writes(tmp_path: Path) -> None:
    made = {p.relative_to(tmp_path / "t"): p.read_text() for p in create_provider("toy", tmp_path / "t")}
    assert made == {path: (EXAMPLE / path).read_text() for path in made}


def test_module_is_short() -> None:
    assert len((EXAMPLE / "ronn_provider_toy.py").read_text().splitlines()) <= 25


def test_runs_inside_resnet50(toy: tuple[Path, dict[str, str]]) -> None:
    done = subprocess.run([sys.executable, "-c", _RESNET], env=toy[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "placed" in done.stdout


def test_generated_tests_pass(toy: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    package, environment = toy
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--ronn-report={tmp_path}", "tests"],
        cwd=package, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert {p.name for p in tmp_path.iterdir()} == {"toy.json", "toy.md", "toy.svg"}


@pytest.mark.parametrize("name", ["", "My", "a_b", "-a", "a--b", "class", "../x"])
def test_names_that_no_package_can_have(name: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError):
        create_provider(name, tmp_path)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    create_provider("my-npu", tmp_path)
    assert (tmp_path / "ronn_provider_my_npu.py").read_text().count("MyNpuProvider") == 1
    with pytest.raises(OptionError, match="exists"):
        create_provider("my-npu", tmp_path)
