"""Small models as text, and a provider whose kernels wait until they are told to go on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import onnx.parser
import pytest

import ronn
from ronn.plugins import registry
from ronn.provider import KernelProvider, kernel

HEADER = '<ir_version: 10, opset_import: ["" : 21, "ai.onnx.ml" : 3, "com.microsoft" : 1]>\n'


def parse(text: str, opset: int = 21) -> bytes:
    model = onnx.parser.parse_model(HEADER.replace("21", str(opset)) + text)
    return model.SerializeToString()


@pytest.fixture
def untyped() -> Callable[[str], bytes]:
    """Parses a model, and takes the types from outputs that are declared as ``float[]``."""

    def make(text: str) -> bytes:
        model = onnx.parser.parse_model(HEADER + text)
        for output in model.graph.output:
            if not output.type.tensor_type.shape.dim:
                output.ClearField("type")
        return model.SerializeToString()

    return make


@pytest.fixture
def session() -> Callable[..., ronn.Session]:
    """Makes a session on the reference provider from ONNX's text form."""

    def make(text: str, opset: int = 21, providers: object = ("reference",), **options: object) -> ronn.Session:
        return ronn.Session(parse(text, opset), providers=list(providers), options=options)  # type: ignore[call-overload]

    return make


class Gate(KernelProvider):
    """``Relu`` says that it has begun, and waits until the gate is open."""

    name = "gate"

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.begun = threading.Semaphore(0)
        self.calls: list[tuple[int, ...]] = []

    @kernel("Relu", dtypes="float32")
    def relu(self, ctx: object, x: np.ndarray) -> np.ndarray:
        self.calls.append(x.shape)
        self.begun.release()
        assert self.open.wait(30), "nobody opened the gate"
        return np.maximum(x, 0)


@pytest.fixture
def gate() -> Iterator[Gate]:
    """The provider ``gate``, for models that hold a Relu: ``gate.begun.acquire()`` waits for the run to come to it."""
    provider = Gate()
    registry().add(provider)
    yield provider
    provider.open.set()
    registry().remove("gate")


RELU = "agraph (float[N,2] x) => (float[N,2] y) { a = Neg(x)\n b = Relu(a)\n y = Neg(b) }"


@pytest.fixture
def gated(gate: Gate) -> ronn.Session:
    """A session that runs ``-relu(-x)`` on rows of two, and waits at the gate."""
    return ronn.Session(parse(RELU), providers=["gate", "reference"])
