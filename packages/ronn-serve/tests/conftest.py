"""A server on a port of this machine, and a client of the standard library."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import onnx.parser
import pytest
import uvicorn

from ronn_serve import Served, create_app

HEADER = '<ir_version: 10, opset_import: ["" : 21, "ai.onnx.ml" : 3]>\n'


class Client:
    """Sends requests to a port."""

    def __init__(self, port: int) -> None:
        self.port = port

    def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, http.client.HTTPMessage]:
        """Status, body (JSON as objects, else bytes) and headers of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            given = body if isinstance(body, (bytes, type(None))) else json.dumps(body)
            connection.request(method, path, given, headers or {})
            response = connection.getresponse()
            content: Any = response.read()
            if response.headers["content-type"] == "application/json":
                content = json.loads(content)
            return response.status, content, response.headers
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, Any]:
        return self.send("GET", path)[:2]

    def infer(self, model: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        return self.send("POST", f"/v2/models/{model}/infer", body, headers)[:2]

    def wait(self) -> Client:
        """Until the server is ready."""
        deadline = time.monotonic() + 60
        while self.get("/v2/health/ready")[0] != 200:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return self


@contextmanager
def running(served: list[Served], **options: Any) -> Iterator[Client]:
    server = uvicorn.Server(uvicorn.Config(create_app(served, **options), port=0, log_level="warning", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not server.started:
            assert time.monotonic() < deadline and thread.is_alive()
            time.sleep(0.005)
        yield Client(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def client_of() -> type[Client]:
    """Makes a client of a port."""
    return Client


@pytest.fixture(scope="session")
def serve() -> Callable[..., Any]:
    """Starts a server of models given as text; a context manager that gives its client."""
    return lambda served, **options: running(served, **options)


@pytest.fixture(scope="session")
def model() -> Callable[[str], bytes]:
    """A model of ONNX's text form."""
    return lambda text: onnx.parser.parse_model(HEADER + text).SerializeToString()


@pytest.fixture(scope="session")
def client(model: Callable[[str], bytes]) -> Iterator[Client]:
    """A client of a server with a few models, all ready."""
    texts = {
        "scale": "agraph (float[N,3] x, float[] s) => (float[N,3] y, float[N,3] z) { y = Mul(x, s)  z = Neg(x) }",
        "look": """agraph (int64[N] i) => (string[N] y)
            { w = Constant<value = string[2] {"no", "yes"}>()  y = Gather(w, i) }""",
        "echo": "agraph (string[N] x) => (string[N] y) { y = Identity(x) }",
        "map": """agraph (float[N,2] x) => (seq(map(int64, float)) m, float[N,2] y)
            { m = ai.onnx.ml.ZipMap <classlabels_int64s = [3, 4]> (x)  y = Identity(x) }""",
        "types": "agraph (bfloat16[N] b, bool[N] c) => (bfloat16[N] d, bool[N] e) { d = Neg(b)  e = Not(c) }",
    }  # fmt: skip
    served = [Served(name=n, source=model(t), version="7" if n == "echo" else "1") for n, t in texts.items()]
    with running(served, max_request="1MB") as made:
        yield made.wait()
