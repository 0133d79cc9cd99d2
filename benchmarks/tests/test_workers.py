"""A worker's crash, error or hang becomes a line of the result and ends nothing else."""

from __future__ import annotations

import pytest

from benchmarks.workers import run_worker

WORKER = "benchmarks.tests.misbehaving_worker"


def test_answer_comes_back_and_libraries_are_held_to_the_threads() -> None:
    assert run_worker(WORKER, ["answer"], threads=3, timeout_s=60) == {"threads": ["3"] * 4}


@pytest.mark.parametrize(
    ("behaviour", "message"), [("crash", "SIGSEGV"), ("raise", "cannot load this model"), ("nothing", "exited 0")]
)
def test_failure_is_told(behaviour: str, message: str) -> None:
    assert message in run_worker(WORKER, [behaviour], threads=1, timeout_s=60)["error"]


def test_hang_is_cut_off() -> None:
    assert run_worker(WORKER, ["hang"], threads=1, timeout_s=2)["error"] == "no result within 2 s"
