"""The model gives what NumPy gives, where it is said to run."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ronn
from examples.custom_op import model, operators

ROOT = Path(__file__).parents[3]


def expected(audio: np.ndarray) -> np.ndarray:
    curve = np.clip(operators.compand(audio * np.float32(2)), -1, 1)
    rows = operators.loud(operators.frames(curve, size=model.SIZE, hop=model.HOP), threshold=0.4)
    return operators.unit(rows) @ model.cosines()


@pytest.mark.parametrize("seconds", [0.1, 1.0, 1.7])
def test_the_features_are_those_of_numpy(seconds: float) -> None:
    audio = model.speech_like(seconds)
    found = ronn.Session(model.make()).run(audio)["features"]
    np.testing.assert_allclose(found, expected(audio), rtol=1e-3, atol=1e-4)


def test_nodes_run_where_the_readme_says() -> None:
    session = ronn.Session(model.make())
    session.run(model.speech_like(1.0))
    rows = {r.node: r for r in session.placement()}
    assert rows["compand"].provider == "cpu" and "as a native loop" in rows["compand"].reason
    assert rows["frames"].provider == rows["loud"].provider == "python"
    assert "Python function loud in examples.custom_op.operators" in rows["loud"].reason


def test_compand_is_one_loop_with_its_neighbours() -> None:
    profile = str(ronn.Session(model.make()).profile(model.speech_like(1.0), runs=2))
    (line,) = [row for row in profile.splitlines() if "log1p" in row]
    assert "compand" in line and "Mul" in line and "Clip" in line


def run_pickled(text: bytes, audio: np.ndarray) -> np.ndarray:
    return pickle.loads(text).run(audio)["features"]


def test_a_pickled_session_runs_in_another_process() -> None:
    audio = model.speech_like(0.5)
    text = pickle.dumps(ronn.Session(model.make()))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(run_pickled, (text, audio))
    np.testing.assert_allclose(found, expected(audio), rtol=1e-3, atol=1e-4)


def test_the_program_runs() -> None:
    done = subprocess.run([sys.executable, "-m", "examples.custom_op"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "frames are loud" in done.stdout
