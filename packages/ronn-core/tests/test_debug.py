"""What RONN says: nothing unless asked, each rung of RONN_DEBUG what it promises, loggers below ``ronn`` only."""

from __future__ import annotations

import ast
import logging
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper as h

import ronn
from ronn import debug, knobs

SOURCES = [p for p in Path(__file__).parents[2].glob("*/src/**/*.py") if "template" not in p.parts]
X = np.array([-1, 2], np.float32)


def model(dims: list[int | str] | None = None) -> bytes:
    io = [h.make_tensor_value_info(n, T.FLOAT, ["N"] if dims is None else dims) for n in "xy"]
    nodes = [h.make_node("Identity", ["x"], ["i"]), h.make_node("Relu", ["i"], ["y"], name="act")]
    made = h.make_model(h.make_graph(nodes, "g", io[:1], io[1:]), opset_imports=[h.make_opsetid("", 18)], ir_version=9)
    return made.SerializeToString()


def session() -> None:
    with ronn.Session(model(), providers=["reference"]) as s:
        s.run(X)


def test_a_normal_session_prints_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model())
    text = (
        "import sys, numpy, ronn\n"
        "with ronn.Session(sys.argv[1]) as s:\n"
        "    s.run(numpy.float32([1])); s.run(numpy.float32([1, 2])); s.memory(); s.trim()\n"
    )
    done = subprocess.run([sys.executable, "-c", text, path], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


PROMISES = {
    1: ["ronn: session ", "reference ("],
    2: ["ronn: portable: ", " ms", "ronn: plan for f32[2]: "],
    3: ["ronn: assignment\n"],
    5: ["--- imported", "--- portable", "--- specialised", "--- assigned", "Relu(%"],
    6: ["--- after eliminate-identity (round "],
}


@pytest.mark.parametrize("rung", range(7))
def test_each_rung_says_what_it_promises_and_no_higher_one(
    rung: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RONN_DEBUG", str(rung))
    session()
    out, err = capfd.readouterr()
    assert out == ""
    for at, promises in PROMISES.items():
        for promise in promises:
            if at <= rung:
                assert promise in err, f"rung {rung} does not say {promise!r}"
            elif promise != " ms":
                assert promise not in err, f"rung {rung} says {promise!r}, which is of rung {at}"
    if rung == 0:
        assert err == ""


def test_the_knob_names_every_rung() -> None:
    promised = dict(re.findall(r"(\d) ([a-z ]+)[,.]", knobs.DEBUG.help.replace("IR per", "ir per")))
    assert {int(n): text.split()[0] for n, text in promised.items()} == {
        1: "providers", 2: "timings", 3: "assignment", 4: "generated", 5: "ir", 6: "ir",
    }  # fmt: skip
    assert len(debug.RUNGS) == 6


def test_rungs_are_loggers(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    with caplog.at_level(logging.DEBUG, "ronn"):
        session()
    assert {r.name for r in caplog.records} == {"ronn.providers"}
    caplog.clear()
    with caplog.at_level(logging.DEBUG - 4, "ronn.ir"):
        session()
    assert {(r.name, r.levelno) for r in caplog.records} == {("ronn.ir", 6)}
    caplog.clear()
    with caplog.at_level(1, "ronn"):
        session()
    assert {r.name for r in caplog.records} == {f"ronn.{r}" for r in debug.RUNGS if r != "source"}
    assert capfd.readouterr() == ("", "")


def test_nobody_else_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    """Without handlers of the program, warnings of ``ronn`` go nowhere, and nothing is done to the root logger."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    debug.tell(debug.WARNING, "providers", "nobody hears this")
    assert (root.level, list(root.handlers)) == before
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("ronn").handlers)
    text = "import logging; from ronn import debug; debug.tell(40, 'providers', 'unheard'); print('done')"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("done", "")
    assert capfd.readouterr() == ("", "")


def test_warnings_are_said_once() -> None:
    text = (
        "import sys, ronn\n"
        "from onnx import TensorProto as T, helper as h\n"
        "io = [h.make_tensor_value_info(n, T.FLOAT, [1]) for n in 'xy']\n"
        "g = h.make_graph([h.make_node('Relu', ['x'], ['y'])], 'g', io[:1], io[1:])\n"
        "m = h.make_model(g, opset_imports=[h.make_opsetid('', 999)], ir_version=9)\n"
        "for _ in range(3): ronn.load(m)\n"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr.count("ModelWarning") == 1 and "opset 999" in done.stderr


def test_stderr_may_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RONN_DEBUG", "6")
    monkeypatch.setattr(sys, "stderr", None)
    session()


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            found.append((ast.unparse(node.func), node))
    return found


def test_nothing_prints_outside_the_command_line_and_no_root_logger_is_used() -> None:
    # The drop-in prints what onnxruntime prints when it falls back; benches of kernels are programs.
    programs = {"bench.py", "bench_conv.py", "onnx_backend.py"}
    compat = {"compat/onnxruntime/session.py"}
    guilty = []
    assert len(SOURCES) > 100
    for path in SOURCES:
        where = path.as_posix()
        if "/cli/" in where or path.name in programs or where.endswith("ronn_serve/cli.py"):
            continue
        for name, call in calls(path):
            to = [ast.unparse(k.value) for k in call.keywords if k.arg == "file"]
            if name == "print" and to != ["stream"] and not any(where.endswith(c) for c in compat):
                guilty.append(f"{where}:{call.lineno}: print")
            if name in {f"logging.{n}" for n in ("debug", "info", "warning", "error", "exception", "basicConfig")}:
                guilty.append(f"{where}:{call.lineno}: {name}")
            if name == "logging.getLogger":
                given = ast.unparse(call.args[0]) if call.args else ""
                if not given.strip("f\"'").startswith("ronn"):
                    guilty.append(f"{where}:{call.lineno}: getLogger({given})")
    assert guilty == []
