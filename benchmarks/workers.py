"""One model, one process: a crash or a hang of a runtime ends that process and becomes a line of the result."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
REPOSITORY = Path(__file__).resolve().parents[1]


def _environment(threads: int) -> dict[str, str]:
    """This process's, with the libraries that take their number of threads from it held to `threads`."""
    limits = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads)
    )
    return {**os.environ, **limits}


def run_worker(module: str, arguments: list[str], threads: int, timeout_s: float) -> dict[str, Any]:
    """What `python -m module --worker-result FILE arguments` writes to FILE, or {"error": why there is nothing}."""
    # Imported here: a worker that measures what a runtime takes needs none of it.
    import signal
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch) / "result.json"
        command = [sys.executable, "-m", module, "--worker-result", str(result), *arguments]
        try:
            done = subprocess.run(
                command, cwd=REPOSITORY, env=_environment(threads), capture_output=True, text=True, timeout=timeout_s
            )
        except subprocess.TimeoutExpired:
            return {"error": f"no result within {timeout_s:.0f} s"}
        if done.returncode == 0 and result.is_file():
            answer: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
            return answer
        if done.returncode < 0:
            return {"error": f"process died: {signal.Signals(-done.returncode).name}"}
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return {"error": " | ".join(lines[-3:]) if lines else f"process exited {done.returncode}"}


def write_result(path: str, value: dict[str, Any]) -> None:
    Path(path).write_text(json.dumps(value), encoding="utf-8")
