"""The guide to custom hardware, beside the package in examples/: the same files, few lines, installed with pip, and right."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "custom-hardware"
PAGE = ROOT / "docs" / "custom-hardware.md"
MOST_LINES = 150

_MODEL = """
import os, numpy as np, onnx, ronn
from ronn.plugins import registry
assert "acme" in registry().names, registry().names
model = os.path.join(os.path.dirname(onnx.__file__), "backend/test/data/light/light_shufflenet.onnx")
x = np.random.default_rng(0).random((1, 3, 224, 224), np.float32)
session = ronn.Session(model, providers=["acme"])
y = session.run(x)[0]
assert set(session.placement().counts()) == {"acme"}
expected = ronn.Session(model).run(x)[0]
np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
print("equal")
"""
CHECKS = "import or absence or refusals or ownership or options or errors or partitioning"


def test_the_page_shows_the_files_of_the_package() -> None:
    shown = dict(re.findall(r'^```\w+ title="ronn-provider-acme/(\S+)"\n(.*?)^```$', PAGE.read_text(), re.S | re.M))
    files = {name: (EXAMPLE / name).read_text() for name in shown}
    assert shown == files
    assert {str(p.relative_to(EXAMPLE)) for p in EXAMPLE.rglob("*.py")} - set(files) == {
        "ronn_provider_acme/__init__.py"
    }


def test_a_new_device_is_few_lines() -> None:
    lines = [
        len((EXAMPLE / "ronn_provider_acme" / f"{n}.py").read_text().splitlines()) for n in ("dialect", "launcher")
    ]
    assert sum(lines) <= MOST_LINES


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the package is installed."""
    into = tmp_path_factory.mktemp("site")
    isolation = ["--no-build-isolation"] if find_spec("hatchling") is not None else []
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", *isolation, "--target", into, EXAMPLE]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(into), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    }


def run(arguments: list[str], environment: dict[str, str], folder: Path = ROOT) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_it_is_found(installed: dict[str, str]) -> None:
    assert "acme:0" in run(["-m", "ronn", "providers"], installed)


def test_a_whole_model_runs_on_it(installed: dict[str, str]) -> None:
    assert "equal" in run(["-c", _MODEL], installed)


def test_the_checks_that_take_no_minutes(installed: dict[str, str]) -> None:
    told = run(["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", "-k", CHECKS], installed, EXAMPLE)
    assert "failed" not in told and " passed" in told
