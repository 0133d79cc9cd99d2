"""A short run of the fuzzer, the same one each time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.mark.skipif(sys.platform == "win32", reason="the fuzzer ends hanging cases with SIGALRM")
def test_fuzz(tmp_path: Path) -> None:
    cases = "120"
    command = [
        sys.executable,
        str(HERE / "fuzz.py"),
        "--cases",
        cases,
        "--seed",
        "1",
        "--save",
        str(tmp_path / "found"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{cases} cases" in done.stdout
