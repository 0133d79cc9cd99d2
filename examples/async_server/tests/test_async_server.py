"""Talks to the server as its clients do."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

import ronn
from examples.async_server.__main__ import LARGEST, ask, demonstrate, serving

pytestmark = pytest.mark.sockets("a server and its clients, on this machine")
MODEL = """<ir_version: 10, opset_import: ["" : 21]>
agraph (float[N,3] x) => (float[N,3] y) { y = Softmax(x) }"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx.parser.parse_model(MODEL).SerializeToString())
    return path


def row(best: int) -> np.ndarray:
    return np.eye(3, dtype=np.float32)[[best]] * 10


def test_clients_at_once_get_their_own_answers(model: Path) -> None:
    async def main() -> None:
        async with serving(ronn.Session(model), max_wait=0.05) as (port, batcher):
            answers = await asyncio.gather(*(ask(port, [row(i), row(2 - i)]) for i in range(3)))
            assert [[a["best"] for a in given] for given in answers] == [[0, 2], [1, 1], [2, 0]]
            assert batcher.stats().done == 6 and batcher.stats().largest > 1

    asyncio.run(main())


def test_bad_requests_have_their_own_errors(model: Path) -> None:
    async def main() -> None:
        async with serving(ronn.Session(model), max_wait=0) as (port, _):
            wrong, right = await ask(port, [np.zeros((1, 4), np.float32), row(1)])
            assert "got 4 instead of 3" in wrong["error"] and right["best"] == 1
            for message in (b"\0\0\0\5hello", (LARGEST + 1).to_bytes(4, "big")):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(message)
                assert b"error" in await reader.readline()
                writer.close()

    asyncio.run(main())


def test_the_demonstration(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(demonstrate(ronn.Session(model), clients=3, requests=2))
    assert capsys.readouterr().out.startswith("3 clients, 6 requests in ")


@pytest.mark.skipif(os.name == "nt", reason="SIGTERM ends a process at once there")
def test_it_serves_until_it_is_told_to_end(model: Path) -> None:
    command = [sys.executable, "-m", "examples.async_server", "--model", str(model), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        first = server.stdout.readline()
        port = int(first.partition("127.0.0.1:")[2].partition(";")[0])
        (answer,) = asyncio.run(ask(port, [row(2)]))
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
        assert answer["best"] == 2 and "1 requests in 1 runs" in server.stdout.read()
