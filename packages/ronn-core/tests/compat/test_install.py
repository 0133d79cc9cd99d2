"""RONN under the name onnxruntime: in this process (a child does it), and as ``python -m ronn.compat``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BOTH = """
import importlib, importlib.metadata, importlib.util, sys
import ronn.compat
"""


def child(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments, "-c", code], capture_output=True, text=True, timeout=120)


def compat(*arguments: str, cwd: Path | None = None, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({} if path is None else {"PATH": path})}
    command = [sys.executable, "-m", "ronn.compat", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=cwd, env=environment)


def test_imports_specs_and_metadata() -> None:
    done = child(
        BOTH
        + """
assert not ronn.compat.installed()
ronn.compat.install()
ronn.compat.install()
assert ronn.compat.installed()
assert importlib.util.find_spec("onnxruntime") is not None
assert importlib.util.find_spec("onnxruntime.capi._pybind_state") is not None
assert importlib.util.find_spec("onnxruntime.training") is None
import onnxruntime
import onnxruntime.capi.onnxruntime_pybind11_state as state
from onnxruntime.capi import _pybind_state
from onnxruntime.transformers.io_binding_helper import TypeHelper
import ronn.compat.onnxruntime as own
assert onnxruntime is own and onnxruntime.InferenceSession is own.InferenceSession
assert _pybind_state.Fail is state.Fail
assert own.__spec__.name == "ronn.compat.onnxruntime"
assert importlib.metadata.version("onnxruntime") == onnxruntime.__version__ == "1.32.0"
assert importlib.metadata.packages_distributions()["onnxruntime"][0] == "onnxruntime"
assert importlib.metadata.version("ronn-core")
assert importlib.util.find_spec("onnxruntime") is not None
ronn.compat.uninstall()
assert not any(n.partition(".")[0] == "onnxruntime" for n in sys.modules)
assert not ronn.compat.installed()
"""
    )
    assert done.returncode == 0, done.stderr


def test_refuses_when_another_one_is_there(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text("__version__ = '9'\n", encoding="utf-8")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport onnxruntime, ronn.compat\nronn.compat.install()"
    done = child(code)
    assert done.returncode == 1
    assert "ImportError: onnxruntime 9 has been imported already" in done.stderr
    assert "before anything imports it" in done.stderr


def test_what_is_not_offered_is_absent() -> None:
    done = child(BOTH + "ronn.compat.install()\nfrom onnxruntime import SparseTensor")
    assert "ImportError: cannot import name 'SparseTensor'" in done.stderr


PROGRAM = """
import sys
import helper
import onnxruntime
print(onnxruntime.__name__, __name__, sys.argv[1:], helper.here)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "helper.py").write_text("here = 'beside it'\n", encoding="utf-8")
    path = tmp_path / "program.py"
    path.write_text(PROGRAM, encoding="utf-8")
    return path


WANTED = "ronn.compat.onnxruntime __main__ ['a', '-m', 'b'] beside it\n"


def test_a_file(program: Path) -> None:
    done = compat(str(program), "a", "-m", "b")
    assert (done.stdout, done.returncode) == (WANTED, 0), done.stderr


def test_the_file_is_known_by_its_whole_path(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text("import sys\nprint(__file__, sys.argv[0])\n", encoding="utf-8")
    wanted = f"{tmp_path / 'p.py'} p.py\n"
    plain = subprocess.run([sys.executable, "p.py"], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert compat("p.py", cwd=tmp_path).stdout == plain.stdout == wanted


def test_the_file_has_its_own_future_statements(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text("def f(x: 1 + 1): ...\nprint(f.__annotations__)\n", encoding="utf-8")
    assert compat("p.py", cwd=tmp_path).stdout == "{'x': 2}\n"


def test_a_module(program: Path) -> None:
    done = compat("-m", "program", "a", "-m", "b", cwd=program.parent)
    assert (done.stdout, done.returncode) == (WANTED, 0), done.stderr


@pytest.mark.skipif(os.name == "nt", reason="commands on Windows are not Python files")
def test_a_command_on_the_path(program: Path) -> None:
    command = program.with_name("reads-text")
    command.write_text(f"#!{sys.executable}\n{PROGRAM}", encoding="utf-8")
    command.chmod(0o755)
    done = compat("reads-text", "a", "-m", "b", path=f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    assert (done.stdout, done.returncode) == (WANTED, 0), done.stderr


def test_the_exit_code_is_the_programs(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text("raise SystemExit(7)\n", encoding="utf-8")
    assert compat(str(tmp_path / "p.py")).returncode == 7


def test_wrong_use() -> None:
    assert compat().returncode == 2
    assert "usage: python -m ronn.compat" in compat("--help").stdout
    done = compat("no-such-program")
    assert done.returncode == 2 and "there is no program 'no-such-program'" in done.stderr
    done = compat(sys.executable)
    assert done.returncode == 2 and "is not a Python program" in done.stderr


# --- programs that start others

STARTS = """
import multiprocessing, subprocess, sys
from concurrent.futures import ProcessPoolExecutor

def which(name):
    import onnxruntime
    return f"{name} {onnxruntime.__name__}"

if __name__ == "__main__":
    for method in ("spawn", "forkserver"):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
            print(pool.submit(which, method).result(), flush=True)
    code = "import onnxruntime, sys; print(onnxruntime.__name__, [p for p in sys.path if 'children' in p])"
    subprocess.run([sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"])
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no fork server")
def test_children_of_a_program_get_it_too(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(STARTS, encoding="utf-8")
    done = compat(str(tmp_path / "p.py"))
    own = "ronn.compat.onnxruntime"
    wanted = [f"spawn {own}", f"forkserver {own}", f"{own} []"]
    assert (done.stdout.splitlines(), done.stderr) == (wanted, "")


def test_the_environments_own_sitecustomize_is_run(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.mine = __file__\n", encoding="utf-8")
    code = BOTH + (
        "import os, subprocess\n"
        f"os.environ['PYTHONPATH'] = os.pathsep.join([{str(tmp_path)!r}, os.environ.get('PYTHONPATH', '')])\n"
        "ronn.compat.install(children=True)\n"
        "ask = 'import sys, sitecustomize as s, onnxruntime; print(sys.mine, s.__file__, onnxruntime.__name__)'\n"
        "subprocess.run([sys.executable, '-c', ask], check=True)\n"
        "ronn.compat.uninstall()\n"
        "ask = 'import sys, ronn.compat; print(sys.mine, ronn.compat.installed())'\n"
        "subprocess.run([sys.executable, '-c', ask], check=True)\n"
    )
    done = child(code)
    theirs = str(tmp_path / "sitecustomize.py")
    wanted = [f"{theirs} {theirs} ronn.compat.onnxruntime", f"{theirs} False"]
    assert done.stdout.splitlines() == wanted, done.stderr


def test_a_python_without_ronn_is_left_alone(tmp_path: Path) -> None:
    from ronn.compat import finder

    code = f"import sys; sys.path.insert(0, {finder._CHILDREN!r}); import sitecustomize; print(len(sys.meta_path))"
    bare = [sys.executable, "-I", "-S"]  # it finds the standard library and nothing else
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run([*bare, "-c", code], capture_output=True, text=True, timeout=60, env=environment)
    plain = subprocess.run([*bare, "-c", "import sys; print(len(sys.meta_path))"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, plain.stdout), done.stderr
