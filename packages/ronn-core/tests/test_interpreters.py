"""Sub-interpreters are refused in words, and the interpreter around them goes on."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

INSIDE = """
import ronn
try:
    ronn.Session
except ronn.RonnError as e:
    print(type(e).__name__, "|", e)
else:
    print("nothing was raised")
"""

MAKE = {
    "concurrent.interpreters": "import concurrent.interpreters as i; i.create().exec(code)",
    "_interpreters": "import _interpreters as i; failed = i.exec(i.create(), code); assert not failed, failed",
    "_xxsubinterpreters": "import _xxsubinterpreters as i; assert not i.run_string(i.create(), code)",
}


def run(make: str) -> str:
    program = f"code = {INSIDE!r}\n{make}\nimport ronn; print(ronn.Session.__name__)"
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _there(name: str) -> bool:
    code = f"import {name}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60).returncode == 0


def test_a_sub_interpreter_is_refused_with_the_reason() -> None:
    name = next((n for n in MAKE if _there(n)), None)
    if name is None:
        pytest.skip("this Python shows no sub-interpreters to programs")
    first, *_, last = run(MAKE[name]).splitlines()
    assert first.startswith("RonnError | RONN does not run in a sub-interpreter: NumPy") and last == "Session"


def test_the_main_interpreter_is_not() -> None:
    from ronn import host

    host.check_interpreter()
