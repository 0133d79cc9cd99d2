"""One contestant alone in a fresh process: `python -m benchmarks.alone --worker-result FILE JOB`.

The base line is a process that has NumPy and the inputs, and nothing else that a contestant may need: what importing
a runtime takes, in time and memory, is part of what it takes. So the job (a pickle that the caller wrote: see `Job`)
brings feed and sizes along, and this module imports little itself.
"""

from __future__ import annotations

import gc
import importlib
import os
import pickle
import sys
import time
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from benchmarks.contestants import open_for
from benchmarks.workers import write_result

MORE_RUNS = 2
"""Runs after the first one; all arenas, caches and pools are there then."""


class Job(TypedDict):
    """What to measure. sizes: of the symbolic dims of the model's inputs."""

    contestant: str
    path: str
    threads: int
    feed: dict[str, np.ndarray]
    sizes: dict[str, int]


def write_job(job: Job, path: Path) -> None:
    with path.open("wb") as file:
        pickle.dump(job, file)


def memory_bytes(field: str) -> int:
    """A line of this process's status (`VmRSS`: memory in use now, `VmHWM`: the most so far); 0 where there is none."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return 0


def _forget_peak() -> None:
    """Makes the peak count from now on (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass  # then it counts from the start, and the base line has come close to it


def measure(job: Job) -> dict[str, Any]:
    """Seconds of import, load and first run; MiB at the peak of the process, and of that above the base line."""
    feed = job["feed"]
    gc.collect()
    _forget_peak()
    base = memory_bytes("VmRSS")
    clock = time.perf_counter
    began = clock()
    importlib.import_module(job["contestant"])
    imported = clock()
    run = open_for(job["contestant"], Path(job["path"]), job["threads"], feed, job["sizes"])
    loaded = clock()
    run(feed)
    ran = clock()
    for _ in range(MORE_RUNS):
        run(feed)
    peak = memory_bytes("VmHWM")
    found: dict[str, Any] = {
        "import_s": imported - began, "load_s": loaded - imported, "first_run_s": ran - loaded, "start_s": ran - began,
    }  # fmt: skip
    if peak:
        found |= {"peak_memory_mib": peak / 2**20, "taken_memory_mib": (peak - base) / 2**20}
    return found


def main(arguments: list[str]) -> int:
    _, result, job = arguments
    with open(job, "rb") as file:
        given: Job = pickle.load(file)
    os.unlink(job)
    write_result(result, measure(given))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
