"""A process that runs out of memory gets a MemoryLimitError, which is a MemoryError, and the session goes on."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h

import ronn
from ronn.plugins import registry
from ronn.provider import KernelContext, KernelProvider, kernel


class Hungry(KernelProvider):
    name = "hungry"

    @kernel("Relu")
    def relu(self, ctx: KernelContext, x: np.ndarray) -> np.ndarray:
        """Relu that needs 2**60 bytes for some inputs."""
        return np.empty(1 << 60, np.uint8) if x[0] < 0 else x


@pytest.fixture
def relu() -> onnx.ModelProto:
    registry().add(Hungry())
    info = [h.make_tensor_value_info(n, T.FLOAT, [2]) for n in "xy"]
    graph = h.make_graph([h.make_node("Relu", ["x"], ["y"], name="eats")], "g", info[:1], info[1:])
    yield h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9)
    registry().remove("hungry")


def test_a_kernel_that_runs_out_of_memory(relu: onnx.ModelProto) -> None:
    session = ronn.Session(relu, providers=["hungry"])
    with pytest.raises(MemoryError) as e:
        session.run(np.array([-1, 1], np.float32))
    assert isinstance(e.value, ronn.MemoryLimitError) and "'eats'" in str(e.value) and "hint" in str(e.value)
    assert session.run(np.array([1, 2], np.float32))[0].tolist() == [1, 2]


def test_an_output_that_cannot_be_copied() -> None:
    """Expand gives a view of one element: it is no more than that until it becomes the caller's."""
    graph = h.make_graph(
        [h.make_node("Expand", ["x", "s"], ["y"])],
        "g",
        [h.make_tensor_value_info("x", T.FLOAT, []), h.make_tensor_value_info("s", T.INT64, ["rank"])],
        [h.make_tensor_value_info("y", T.FLOAT, None)],
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9)
    session = ronn.Session(model, providers=["reference"])
    for _ in range(2):
        with pytest.raises(ronn.MemoryLimitError):
            session.run({"x": np.float32(1), "s": np.array([1 << 20] * 3)})
    assert session.run({"x": np.float32(1), "s": np.array([2, 2])})[0].shape == (2, 2)
