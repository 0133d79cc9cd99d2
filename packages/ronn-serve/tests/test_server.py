"""The server as its clients see it."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import ronn
from ronn.errors import OptionError
from ronn_serve import Served, create_app
from ronn_serve.protocol import HEADER

pytestmark = pytest.mark.sockets("a server, on this machine, and its clients")


def tensor(name: str, datatype: str, shape: list[int], data: Any = None, **parameters: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
    if data is not None:
        made["data"] = data
    return {**made, "parameters": parameters} if parameters else made


X = tensor("x", "FP32", [1, 3], [1, 2, 3])
S = tensor("s", "FP32", [], [2.0])


def binary(head: dict[str, Any], *parts: bytes) -> tuple[bytes, dict[str, str]]:
    text = json.dumps(head).encode()
    return b"".join([text, *parts]), {HEADER: str(len(text))}


# --- about the server and its models


def test_the_server_and_its_health(client) -> None:
    status, body = client.get("/v2")
    assert status == 200 and body["name"] == "ronn-serve" and body["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/live") == (200, {"live": True})
    assert client.get("/v2/health/ready") == (200, {"ready": True})


def test_models_describe_themselves(client) -> None:
    assert client.get("/v2/models/scale") == (
        200,
        {
            "name": "scale",
            "versions": ["1"],
            "platform": "ronn_onnx",
            "inputs": [
                {"name": "x", "datatype": "FP32", "shape": [-1, 3]},
                {"name": "s", "datatype": "FP32", "shape": []},
            ],
            "outputs": [
                {"name": "y", "datatype": "FP32", "shape": [-1, 3]},
                {"name": "z", "datatype": "FP32", "shape": [-1, 3]},
            ],
        },
    )
    assert client.get("/v2/models/look")[1]["outputs"] == [{"name": "y", "datatype": "BYTES", "shape": [-1]}]
    assert [o["name"] for o in client.get("/v2/models/map")[1]["outputs"]] == ["y"]
    assert client.get("/v2/models/echo/ready") == (200, {"name": "echo", "ready": True})
    assert client.get("/v2/models/echo/versions/7")[0] == 200


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/v2/models/scal", 404, "there is no model 'scal'; did you mean 'scale'?"),
        ("/v2/models/zzz/ready", 404, "there are 'scale', 'look'"),
        ("/v2/models/echo/versions/1", 404, "model 'echo' has no version '1', but '7'"),
        ("/v3", 404, "there is nothing at /v3"),
        ("/v2/models/scale/infer", 405, "GET is not for /v2/models/scale/infer"),
    ],
)
def test_addresses_that_are_not_there(client, path: str, status: int, text: str) -> None:
    got, body = client.get(path)
    assert got == status and text in body["error"]


# --- inference


def test_json_in_json_out(client) -> None:
    status, body = client.infer("scale", {"id": "7", "inputs": [X, S]})
    assert status == 200
    assert body == {
        "model_name": "scale",
        "model_version": "1",
        "id": "7",
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [2, 4, 6]},
            {"name": "z", "datatype": "FP32", "shape": [1, 3], "data": [-1, -2, -3]},
        ],
    }
    nested = tensor("x", "FP32", [2, 3], [[1, 2, 3], [4, 5, 6]])
    _, body = client.infer("scale", {"inputs": [nested, S], "outputs": [{"name": "z"}]})
    assert [o["name"] for o in body["outputs"]] == ["z"] and body["outputs"][0]["data"] == [-1, -2, -3, -4, -5, -6]
    assert "id" not in body


def test_binary_in_and_out(client) -> None:
    x, s = np.array([[1, 2, 3]], "<f4"), np.array(0.5, "<f4")
    head = {
        "inputs": [
            tensor("x", "FP32", [1, 3], binary_data_size=12),
            tensor("s", "FP32", [], binary_data_size=4),
        ],
        "outputs": [{"name": "z", "parameters": {"binary_data": True}}, {"name": "y"}],
    }
    body, headers = binary(head, x.tobytes(), s.tobytes())
    status, content, got = client.send("POST", "/v2/models/scale/infer", body, headers)
    length = int(got[HEADER])
    answer = json.loads(content[:length])
    assert status == 200 and got["content-type"] == "application/octet-stream"
    assert answer["outputs"][0] == tensor("z", "FP32", [1, 3], binary_data_size=12)
    assert answer["outputs"][1]["data"] == [0.5, 1.0, 1.5]
    assert np.frombuffer(content[length:], "<f4").tolist() == [-1, -2, -3]
    head["outputs"] = None
    head["parameters"] = {"binary_data_output": True}
    body, headers = binary(head, x.tobytes(), s.tobytes())
    _, content, got = client.send("POST", "/v2/models/scale/infer", body, headers)
    assert np.frombuffer(content[int(got[HEADER]) :], "<f4").tolist() == [0.5, 1, 1.5, -1, -2, -3]


def test_strings(client) -> None:
    assert client.infer("look", {"inputs": [tensor("i", "INT64", [2], [1, 0])]})[1]["outputs"][0]["data"] == [
        "yes",
        "no",
    ]
    words = ["", "grün", "a\0b"]
    parts = [len(w.encode()).to_bytes(4, "little") + w.encode() for w in words]
    head = {
        "inputs": [tensor("x", "BYTES", [3], binary_data_size=sum(map(len, parts)))],
        "parameters": {"binary_data_output": True},
    }
    body, headers = binary(head, *parts)
    _, content, got = client.send("POST", "/v2/models/echo/infer", body, headers)
    assert content[int(got[HEADER]) :] == b"".join(parts)
    assert client.infer("echo", {"inputs": [tensor("x", "BYTES", [3], words)]})[1]["outputs"][0]["data"] == words


def test_bfloat16_and_bool(client) -> None:
    b = np.array([1.5, -2], ml_dtypes.bfloat16)
    head = {
        "inputs": [tensor("b", "BF16", [2], binary_data_size=4), tensor("c", "BOOL", [2], [True, 0])],
        "outputs": [{"name": "d", "parameters": {"binary_data": True}}, {"name": "e"}],
    }
    body, headers = binary(head, b.tobytes())
    status, content, got = client.send("POST", "/v2/models/types/infer", body, headers)
    assert status == 200, content
    assert np.frombuffer(content[int(got[HEADER]) :], ml_dtypes.bfloat16).tolist() == [-1.5, 2]
    assert json.loads(content[: int(got[HEADER])])["outputs"][1]["data"] == [False, True]


def test_what_is_no_tensor_is_left_out_or_refused(client) -> None:
    x = {"inputs": [tensor("x", "FP32", [1, 2], [1, 2])]}
    assert [o["name"] for o in client.infer("map", x)[1]["outputs"]] == ["y"]
    status, body = client.infer("map", {**x, "outputs": [{"name": "m"}]})
    assert status == 400 and "output 'm' is a list, no tensor" in body["error"]


def test_large_requests_are_read_beside_the_loop(client) -> None:
    rows = 20_000
    status, body = client.infer("scale", {"inputs": [tensor("x", "FP32", [rows, 3], [1.0] * (3 * rows)), S]})
    assert status == 200 and body["outputs"][0]["data"] == [2.0] * (3 * rows)


BAD: dict[str, tuple[Any, str]] = {
    "no json": (b"{", "the request is no JSON"),
    "deep": (b"[" * 100_000, "nested too deeply"),
    "a list": ([], "the request is no JSON object"),
    "no inputs": ({}, "inputs is missing"),
    "an input that is a number": ({"inputs": [1]}, "inputs[0] is no JSON object"),
    "no name": ({"inputs": [{"shape": [1]}]}, "inputs[0].name is missing"),
    "a datatype": ({"inputs": [tensor("x", "FP8", [1], [1])]}, "datatype 'FP8' is none of BOOL"),
    "a shape": ({"inputs": [tensor("x", "FP32", [-1], [1])]}, "shape [-1] is not made of sizes"),
    "a count": ({"inputs": [tensor("x", "FP32", [2, 3], [1])]}, "1 elements of data where shape [2, 3] takes 6"),
    "ragged": ({"inputs": [tensor("x", "FP32", [3], [[1], [2, 3]])]}, "differ in length"),
    "words": ({"inputs": [tensor("x", "FP32", [1], ["a"])]}, "data are not all numbers of FP32"),
    "nothing": ({"inputs": [tensor("x", "FP32", [1], [None])]}, "data are not all numbers"),
    "fractions": ({"inputs": [tensor("x", "INT8", [1], [1.5])]}, "data are not all numbers of INT8"),
    "range": ({"inputs": [tensor("x", "INT8", [1], [300])]}, "within INT8, -128 to 127"),
    "no data": ({"inputs": [tensor("x", "FP32", [1])]}, "neither data nor"),
    "twice": ({"inputs": [X, X]}, "input 'x' is there twice"),
    "half a character": (
        {"inputs": [tensor("x", "BYTES", [1], ["\ud800"])]},
        "half a surrogate pair",
    ),
    "numbers as BYTES": ({"inputs": [tensor("x", "BYTES", [1], [1])]}, "elements of BYTES are strings"),
    "timeout": ({"inputs": [X, S], "parameters": {"timeout": -1}}, "no number of microseconds"),
    "flag": ({"inputs": [X, S], "parameters": {"binary_data_output": 1}}, "neither true nor false"),
    "classes": ({"inputs": [X], "outputs": [{"name": "y", "parameters": {"classification": 2}}]}, "not supported"),
    "an output": ({"inputs": [X, S], "outputs": [{"name": "yy"}]}, "the model has no output 'yy'"),
    "an input": ({"inputs": [X, {**S, "name": "sx"}]}, "the model has no input 'sx'"),
    "an input too few": ({"inputs": [X]}, "required inputs are missing: 's'"),
    "a size": ({"inputs": [tensor("x", "FP32", [1, 2], [1, 2]), S]}, "got 2 instead of 3 at axis 1"),
    "a dtype": ({"inputs": [tensor("x", "INT64", [1, 3], [1, 2, 3]), S]}, "is f32[N,3]; got int64"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_are_told_what_is_wrong(client, name: str) -> None:
    body, text = BAD[name]
    status, answer = client.infer("scale", body)
    assert status == 400 and text in answer["error"], answer


@pytest.mark.parametrize(
    ("head", "data", "length", "text"),
    [
        (tensor("x", "FP32", [1, 3], binary_data_size=12), b"\0" * 8, None, "more than the 8 bytes that are left"),
        (
            tensor("x", "FP32", [1, 3], binary_data_size=8),
            b"\0" * 8,
            None,
            "8 bytes where FP32",
        ),
        (tensor("x", "FP32", [1, 3], binary_data_size=12), b"\0" * 13, None, "1 bytes behind the last tensor"),
        (tensor("x", "FP32", [1, 3], binary_data_size=-1), b"", None, "is no number of bytes"),
        (tensor("x", "FP32", [1], [1], binary_data_size=4), b"\0" * 4, None, "both data and binary data"),
        (tensor("x", "BYTES", [1], binary_data_size=5), b"\7\0\0\0a", None, "element 0 of BYTES is cut off"),
        (tensor("x", "BYTES", [2], binary_data_size=4), b"\0" * 4, None, "1 elements of BYTES where the shape takes 2"),
        (tensor("x", "BYTES", [1], binary_data_size=5), b"\1\0\0\0\xff", None, "no UTF-8"),
        (tensor("x", "BOOL", [1], binary_data_size=1), b"\2", None, "bytes of BOOL are 0 or 1"),
        (tensor("x", "FP32", [1], [1]), b"", "99999", "99999 is more than the"),
        (tensor("x", "FP32", [1], [1]), b"", "x", "'x' is no number of bytes"),
    ],
)
def test_bad_binary_data(client, head: Any, data: bytes, length: str | None, text: str) -> None:
    body, headers = binary({"inputs": [head]}, data)
    status, answer = client.infer("scale", body, headers if length is None else {HEADER: length})
    assert status == 400 and text in answer["error"], answer


def test_requests_that_are_too_large(client) -> None:
    status, answer = client.infer("scale", b" " * 1_000_001)
    assert status == 413 and "1.0 MB" in answer["error"]
    with socket.create_connection(("127.0.0.1", client.port)) as s:
        s.sendall(b"POST /v2/models/scale/infer HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        for _ in range(17):
            try:
                s.sendall(chunk)
            except ConnectionError:
                break
        assert b" 413 " in s.recv(4096).split(b"\r\n")[0]


# --- batches, waiting, ends


@pytest.fixture
def slow():
    """A provider whose Relu waits until it may go on."""
    from ronn.plugins import registry
    from ronn.provider import KernelProvider, kernel

    class Slow(KernelProvider):
        name = "slow"
        open = threading.Event()
        begun = threading.Semaphore(0)
        calls: list[tuple[int, ...]] = []

        @kernel("Relu", dtypes="float32")
        def relu(self, ctx: object, x: np.ndarray) -> np.ndarray:
            self.calls.append(x.shape)
            self.begun.release()
            assert self.open.wait(60)
            return np.maximum(x, 0)

    made = Slow()
    registry().add(made)
    yield made
    made.open.set()
    registry().remove("slow")


RELU = "agraph (float[N,1] x) => (float[N,1] y) { a = Neg(x)  b = Relu(a)  y = Neg(b) }"


def waiting(model: Any, **options: Any) -> Served:
    return Served(name="m", source=model(RELU), providers=["slow", "reference"], **options)


def ask(client: Any, value: float, into: list[Any], **parameters: Any) -> threading.Thread:
    body = {"inputs": [tensor("x", "FP32", [1, 1], [value])], "parameters": parameters}
    thread = threading.Thread(target=lambda: into.append(client.infer("m", body)))
    thread.start()
    return thread


def until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_requests_are_joined_refused_and_answered(serve, model, slow) -> None:
    served = waiting(model, batching={"queue": 3, "max_wait": 0})
    with serve([served]) as client:
        client.wait()
        got: list[Any] = []
        threads = [ask(client, -1, got)]
        assert slow.begun.acquire(timeout=60)
        threads += [ask(client, -i, got) for i in (2, 3, 4)]
        until(lambda: served.batcher.stats().waiting == 3)
        status, answer, headers = client.send(
            "POST", "/v2/models/m/infer", {"inputs": [tensor("x", "FP32", [1, 1], [0])]}
        )
        assert status == 503 and "3 requests are waiting" in answer["error"] and headers["retry-after"] == "1"
        slow.open.set()
        for t in threads:
            t.join(60)
        assert sorted(a["outputs"][0]["data"][0] for _, a in got) == [-4, -3, -2, -1]
        assert slow.calls == [(1, 1), (2, 1), (1, 1)]


def test_timeouts(serve, model, slow) -> None:
    with serve([waiting(model, timeout=0.1)]) as client:
        client.wait()
        got: list[Any] = []
        for thread in (ask(client, 1, got), ask(client, 1, got, timeout=1000)):
            thread.join(60)
        slow.open.set()
        assert [status for status, _ in got] == [504, 504]
        assert "timeout=0.001" in got[0][1]["error"] + got[1][1]["error"]


def test_a_client_that_goes_away_ends_its_run(serve, model, slow) -> None:
    served = waiting(model)
    with serve([served]) as client:
        client.wait()
        body = json.dumps({"inputs": [tensor("x", "FP32", [1, 1], [1])]}).encode()
        with socket.create_connection(("127.0.0.1", client.port)) as s:
            s.sendall(b"POST /v2/models/m/infer HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            assert slow.begun.acquire(timeout=60)
        until(lambda: any(b.stop.reason for b in served.batcher._core._running))
        slow.open.set()
        until(lambda: served.batcher.stats().cancelled == 1)


def test_ready_when_loaded_and_requests_in_progress_are_answered_at_the_end(serve, model, slow) -> None:
    served = waiting(model)
    got: list[Any] = []
    with serve([served]) as client:
        client.wait()
        thread = ask(client, -5, got)
        assert slow.begun.acquire(timeout=60)
        threading.Timer(0.2, slow.open.set).start()
    thread.join(60)
    assert got[0][0] == 200 and got[0][1]["outputs"][0]["data"] == [-5]
    assert served.session._closed


def test_a_model_that_cannot_be_loaded(serve, model) -> None:
    told: list[Any] = []
    with serve([Served(name="bad", source=b"no model")], failed=lambda m, e: told.append((m.name, e))) as client:
        until(lambda: told)
        assert client.get("/v2/health/live")[0] == 200
        assert client.get("/v2/health/ready") == (503, {"ready": False})
        status, answer = client.get("/v2/models/bad/ready")
        assert status == 503 and not answer["ready"] and "could not be loaded" in answer["error"]
        assert client.get("/v2/models/bad")[0] == 503
        assert client.infer("bad", {"inputs": []})[0] == 503
    assert told[0][0] == "bad" and isinstance(told[0][1], ronn.ModelError)


def test_an_error_of_the_server_itself_is_told_as_one(serve, model, monkeypatch, caplog) -> None:
    served = Served(name="m", source=model(RELU), providers=["reference"])
    with serve([served]) as client:
        client.wait()

        def broken(*_: Any, **__: Any) -> Any:
            raise RuntimeError("secret")

        monkeypatch.setattr(served.batcher, "run", broken)
        status, answer = client.infer("m", {"inputs": [tensor("x", "FP32", [1, 1], [1])]})
        assert status == 500 and "secret" not in answer["error"] and "secret" in caplog.text


def test_metrics(client) -> None:
    client.infer("scale", {"inputs": [X, S]})
    client.infer("scale", {"inputs": [X]})
    client.infer("nobody", {"inputs": [X]})
    status, content = client.get("/metrics")
    text = content.decode()
    assert status == 200
    for line in (
        'ronn_serve_requests_total{model="scale",status="200"}',
        'ronn_serve_requests_total{model="scale",status="400"}',
        'ronn_serve_requests_total{model="",status="404"}',
        'ronn_serve_waiting{model="scale"} 0.0',
        'ronn_serve_request_seconds_count{model="scale"}',
        "ronn_batch_size_bucket",
    ):
        assert line in text, line


def test_no_metrics(serve, model) -> None:
    with serve([Served(name="m", source=model(RELU), providers=["reference"])], metrics=False) as client:
        assert client.get("/metrics")[0] == 404


def test_two_models_of_one_name(model) -> None:
    with pytest.raises(OptionError, match="two models are called 'm'"):
        create_app([Served(name="m", source=b""), Served(name="m", source=b"")])
    with pytest.raises(OptionError, match="no name for a model"):
        Served(name="a/b", source=b"")
