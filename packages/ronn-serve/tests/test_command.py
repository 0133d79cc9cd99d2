"""``ronn serve`` in a process of its own, and how it finds models."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from ronn.errors import OptionError
from ronn.plugins import Registry
from ronn_serve.models import from_paths

pytestmark = pytest.mark.sockets("a server, on this machine, and its clients")
COMMAND = """
import sys, typer
from ronn.cli import app
from ronn_serve import plugin
make = app.make_app
app.make_app = lambda plugins=True: (made := make(False), plugin.ronn_cli(app=made))[0]
app.run(sys.argv[1:])
"""
TEXT = "agraph (float[N,1] x) => (float[N,1] y) { y = Neg(x) }"


@pytest.fixture
def file(tmp_path: Path, model: Any) -> Path:
    path = tmp_path / "negate.onnx"
    path.write_bytes(model(TEXT))
    return path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", COMMAND, "serve", *map(str, arguments)]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(os.name == "nt", reason="SIGTERM ends a process at once there")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_end(file: Path, number: signal.Signals, client_of: Any) -> None:
    with subprocess.Popen(
        command(f"n={file}", file, "--port", 0, "--log-level", "warning"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None and server.stderr is not None
        line = server.stdout.readline()
        assert line.startswith("serving n, negate on http://127.0.0.1:")
        client = client_of(int(line.rpartition(":")[2].partition("/")[0])).wait()
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [4]}]}
        assert client.infer("negate", body)[1]["outputs"][0]["data"] == [-4]
        server.send_signal(number)
        assert server.wait(60) == 0
        assert server.stderr.read() == ""


def test_a_model_that_cannot_be_loaded_ends_it(tmp_path: Path, file: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    done = run(bad, file, "--port", 0, "--log-level", "critical")
    assert done.returncode == 1 and "ronn: ModelError: " in done.stderr and "bad.onnx" in done.stderr


def test_a_port_that_is_taken(file: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run(file, "--port", taken.getsockname()[1])
    assert done.returncode == 1 and "cannot listen on 127.0.0.1:" in done.stderr and "--port 0" in done.stderr


def test_wrong_arguments(file: Path) -> None:
    assert "did you mean warning?" in run(file, "--log-level", "warnin").stderr
    assert "there is no file 'nothing.onnx'" in run("nothing.onnx").stderr
    help_text = run("--help").stdout
    assert "KServe v2" in help_text and "--max-wait" in help_text


def test_models_of_folders(tmp_path: Path) -> None:
    for name in ("a.onnx", "b/model.onnx", "c/1/model.onnx", "c/12/model.onnx", "c/x/model.onnx", "d/readme.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = {(m.name, m.version, str(Path(m.source).relative_to(tmp_path))) for m in from_paths([str(tmp_path)])}
    assert found == {
        ("a", "1", "a.onnx"),
        ("b", "1", os.path.join("b", "model.onnx")),
        ("c", "12", os.path.join("c", "12", "model.onnx")),
    }
    (named,) = from_paths([f"mine={tmp_path / 'b'}"])
    assert (named.name, Path(named.source).name) == ("mine", "model.onnx")
    for wrong in (f"x={tmp_path}", str(tmp_path / "d")):
        with pytest.raises(OptionError, match="models"):
            from_paths([wrong])


def test_the_plugin_adds_the_command() -> None:
    found = Registry([EntryPoint("serve", "ronn_serve.plugin", "ronn")])
    assert [r.reason for r in found.records] == [""]
    import typer

    app = typer.Typer()
    found.manager.hook.ronn_cli(app=app)
    assert [c.name for c in app.registered_commands] == ["serve"]


def test_the_plugin_imports_no_server() -> None:
    code = "import sys, ronn_serve.plugin; assert not {'starlette', 'uvicorn', 'numpy', 'typer'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
