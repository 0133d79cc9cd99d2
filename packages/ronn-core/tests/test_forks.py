"""Forks while another thread is in the middle of something."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ronn.cached import cached_property
from ronn.plan.frame import make_arena

PROGRAM = """
import os, signal, sys, threading, time
sys.path.insert(0, sys.argv[1])
import ronn.forks

def work():
    import ronn_slow_part

threading.Thread(target=work).start()
while "ronn_slow_part" not in sys.modules:
    time.sleep(0.001)
child = os.fork()
if child == 0:
    signal.alarm(10)
    import ronn_slow_part
    os._exit(ronn_slow_part.done)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

ITSELF = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
import ronn.forks
began = time.monotonic()
import ronn_forks_itself
print(time.monotonic() - began < 1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("seconds", [0.3, 4])
def test_a_fork_waits_for_imports_of_other_threads_and_outlives_long_ones(tmp_path: Path, seconds: float) -> None:
    (tmp_path / "ronn_slow_part.py").write_text(f"import time\ntime.sleep({seconds})\ndone = 7\n")
    done = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "7", done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_module_that_forks_as_it_is_imported_waits_for_nobody(tmp_path: Path) -> None:
    text = "import os\nchild = os.fork()\nif child == 0: os._exit(0)\nos.waitpid(child, 0)\n"
    (tmp_path / "ronn_forks_itself.py").write_text(text)
    done = subprocess.run([sys.executable, "-c", ITSELF, tmp_path], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("size", [1 << 10, 1 << 20, 9 << 20])
def test_what_a_child_computes_stays_out_of_the_parents_arenas(size: int) -> None:
    arena = make_arena(size)
    arena[:] = 1
    child = os.fork()
    if child == 0:
        arena[:] = 2
        os._exit(0)
    os.waitpid(child, 0)
    assert set(arena[:: size // 64].tolist()) == {1}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_property_that_another_thread_computes_can_be_computed_in_a_child() -> None:
    class Slow:
        @cached_property
        def value(self) -> int:
            asked.set()
            over.wait(10)
            return 7

    asked, over, slow = threading.Event(), threading.Event(), Slow()
    thread = threading.Thread(target=lambda: slow.value)
    thread.start()
    asked.wait(10)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        over.set()
        os._exit(Slow().value)
    over.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_nothing_of_ronn_uses_properties_with_locks() -> None:
    sources = Path(__file__).parents[2].glob("*/src/**/*.py")
    users = [p.name for p in sources if re.search(r"from functools import .*cached_property", p.read_text("utf-8"))]
    assert users == ["cached.py"]
