"""Zero copy with native kernels: they read the caller's memory, and write to it."""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import ronn
from ronn.errors import ModelError, RonnError

X = np.random.default_rng(0).standard_normal((64, 96)).astype(np.float32)
W = np.random.default_rng(1).standard_normal((96, 96)).astype(np.float32)


def model(nodes: list, outputs: dict, x: tuple = ("N", 96), **constants: np.ndarray) -> bytes:
    ends = [[helper.make_tensor_value_info("x", TensorProto.FLOAT, x)]]
    ends.append([helper.make_tensor_value_info(n, kind, s) for n, (kind, s) in outputs.items()])
    held = [numpy_helper.from_array(a, n) for n, a in constants.items()]
    graph = helper.make_graph(nodes, "g", *ends, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


F = TensorProto.FLOAT
PRODUCT = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
FLAT = np.array([-1], np.int64)
CASES = {
    "a kernel's output": (PRODUCT, {"y": (F, ["N", 96])}, {"w": W}),
    "one that is read on": (
        [*PRODUCT, helper.make_node("ReduceMax", ["y"], ["z"], keepdims=0)],
        {"y": (F, ["N", 96]), "z": (F, [])},
        {"w": W},
    ),
    "reshaped at the end": (
        [*PRODUCT, helper.make_node("Reshape", ["y", "s"], ["z"])],
        {"z": (F, ["M"])},
        {"w": W, "s": FLAT},
    ),
    "made by a loop": (
        [helper.make_node("Tanh", ["x"], ["t"]), helper.make_node("Transpose", ["t"], ["y"], perm=[1, 0])],
        {"y": (F, [96, "N"])},
        {},
    ),
    "in two parts": (
        [helper.make_node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2), helper.make_node("Neg", ["b"], ["c"])],
        {"a": (F, ["N", 48]), "c": (F, ["N", 48])},
        {},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_kernels_write_to_the_callers_memory(case: str) -> None:
    nodes, outputs, constants = CASES[case]
    with ronn.Session(model(nodes, outputs, **constants), providers=["cpu"]) as session:
        for rows in (64, 3):
            x = X[:rows]
            want = session.run(x)
            out = {n: np.full(a.shape, np.nan, a.dtype) for n, a in want.items()}
            for _ in range(2):
                got = session.run(x, out=out)
                for name, array in out.items():
                    assert got[name] is array
                    np.testing.assert_array_equal(array, want[name])
        assert (session.stats().copies_in, session.stats().copies_out) == (0, 0)


def test_what_no_kernel_can_write_in_place_is_copied_once() -> None:
    nodes = [*PRODUCT, helper.make_node("Slice", ["y", "a", "e", "a"], ["z"])]
    session = ronn.Session(
        model(
            nodes, {"y": (F, ["N", 96]), "z": (F, [2, 96])}, w=W, a=np.array([0], np.int64), e=np.array([2], np.int64)
        ),
        providers=["cpu"],
    )
    want = session.run(X)
    before = session.stats().copies_out
    out = {"y": np.empty_like(X), "z": np.empty((2, 96), np.float32)}
    session.run(X, out=out)
    assert session.stats().copies_out <= before + 1
    for name, array in out.items():
        np.testing.assert_array_equal(array, want[name])


def test_layouts_that_kernels_cannot_read_or_write_are_counted() -> None:
    session = ronn.Session(model(PRODUCT, {"y": (F, ["N", 96])}, w=W), providers=["cpu"])
    want = session.run(X)["y"]
    across = np.asfortranarray(X)
    for n in (1, 2):
        np.testing.assert_array_equal(session.run(across)["y"], want)
        assert session.stats().copies_in == n
    out = np.empty((96, 64), np.float32).T
    session.run(X, out={"y": out})
    np.testing.assert_array_equal(out, want)
    assert (session.stats().copies_in, session.stats().copies_out) == (2, 1)


def test_nothing_is_allocated_for_outputs_that_have_memory() -> None:
    """The counter could lie: what NumPy allocates does not."""
    session = ronn.Session(model(PRODUCT, {"y": (F, ["N", 96])}, w=W), providers=["cpu"])
    x = np.ones((20_000, 96), np.float32)
    y = np.empty_like(x)
    binding = session.bind(x, out=y)
    for run, most in ((lambda: session.run(x), None), (lambda: session.run(x, out=y), 1e5), (binding, 1e5)):
        run()
        tracemalloc.start()
        kept = run()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak >= y.nbytes if most is None else peak < most, peak
        del kept


def test_a_binding_allocates_nothing_and_sees_what_is_written() -> None:
    session = ronn.Session(model(PRODUCT, {"y": (F, ["N", 96])}, w=W), providers=["cpu"], options={"threads": 2})
    x, y = np.empty_like(X), np.empty_like(X)
    binding = session.bind({"x": x}, out={"y": y})
    for k in range(4):
        x[...] = X * k
        assert binding()["y"] is y
        np.testing.assert_array_equal(y, session.run(x)["y"])
    assert session.stats().copies_in == session.stats().copies_out == 0


def test_threads_with_buffers_of_their_own() -> None:
    session = ronn.Session(model(PRODUCT, {"y": (F, ["N", 96])}, w=W), providers=["cpu"], options={"threads": 2})
    want = [session.run(X * k)["y"] for k in range(4)]
    wrong: list[int] = []

    def work(k: int) -> None:
        x, y = X * np.float32(k), np.empty_like(X)
        binding = session.bind(x, out=y)
        for i in range(50):
            y.fill(np.nan)
            binding() if i % 2 else session.run(x, out=[y])
            if not np.array_equal(y, want[k]):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_runs_that_fail_leave_the_session_as_it_was() -> None:
    nodes = [helper.make_node("Gather", ["w", "i"], ["y"])]
    ends = (
        [helper.make_tensor_value_info("i", TensorProto.INT64, ["N"])],
        [helper.make_tensor_value_info("y", F, ["N", 96])],
    )
    graph = helper.make_graph(nodes, "g", *ends, [numpy_helper.from_array(W, "w")])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = ronn.Session(made.SerializeToString(), providers=["cpu"])
    y = np.empty((2, 96), np.float32)
    with pytest.raises(RonnError) as error:
        session.run(np.array([1, 960]), out=y)
    assert not isinstance(error.value, ModelError)
    session.run(np.array([1, 5]), out=y)
    np.testing.assert_array_equal(y, W[[1, 5]])


def test_guard_zones_and_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RONN_GUARD", "1")
    session = ronn.Session(model(PRODUCT, {"y": (F, ["N", 96])}, w=W), providers=["cpu"])
    y = np.empty_like(X)
    binding = session.bind(X, out=y)
    assert binding()["y"] is y
    np.testing.assert_array_equal(y, session.run(X)["y"])


def test_bound_outputs_of_the_drop_in_are_written_in_place() -> None:
    import ronn.compat.onnxruntime as ort

    session = ort.InferenceSession(model(PRODUCT, {"y": (F, ["N", 96])}, w=W))
    want = session.run(None, {"x": X})[0]
    x, y = X.copy(), np.empty_like(X)
    binding = session.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_output("y", "cpu", 0, np.float32, y.shape, y.ctypes.data)
    for k in (1, 2):
        x[...] = X * k
        y.fill(np.nan)
        session.run_with_iobinding(binding)
        np.testing.assert_allclose(y, want * k, rtol=1e-5)
        assert binding.get_outputs()[0].data_ptr() == y.ctypes.data
    assert session._sess.stats().copies_out == 0
    other = np.empty((64, 95), np.float32)
    binding.bind_output("y", "cpu", 0, np.float32, other.shape, other.ctypes.data)
    with pytest.raises(RuntimeError, match="Got invalid dimensions for output: y"):
        session.run_with_iobinding(binding)
    binding.bind_output("y", "cpu", 0, np.float32, x.shape, x.ctypes.data)  # over its input: copied
    session.run_with_iobinding(binding)
    np.testing.assert_allclose(x, want * 2, rtol=1e-5)


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int64", "bool"])
def test_tensors_of_torch_go_in_and_out(kind: str) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    dtype = getattr(torch, kind)
    code = {"float32": F, "bfloat16": TensorProto.BFLOAT16, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}[kind]
    graph = helper.make_graph(
        [helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0])],
        "g",
        [helper.make_tensor_value_info("x", code, [2, 3])],
        [helper.make_tensor_value_info("y", code, [3, 2])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = ronn.Session(made.SerializeToString(), providers=["cpu", "reference"])
    x = torch.arange(6).reshape(2, 3).to(dtype)
    y = torch.zeros(3, 2, dtype=dtype)
    got = session.run({"x": x}, out={"y": y})
    assert got["y"] is y and torch.equal(y, x.T)
    session.run(x)
    assert session.stats().copies_in == 0
    from ronn.dlpack import Shared

    result = session.run(x)["y"]
    back = torch.from_dlpack(Shared(result))
    session.close()
    del result
    assert torch.equal(back, x.T)
