"""Zero copy: what goes in as it lies, what comes out where it should, and every copy counted."""

from __future__ import annotations

import array
import gc
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper

import ronn
from ronn import dlpack
from ronn.errors import InputError, RonnError
from ronn.ir.types import DType

ALONE = ["reference"]
X = np.arange(-4, 4, dtype=np.float32).reshape(2, 4)


def build(nodes: list, inputs: dict, outputs: dict, kind: int = TensorProto.FLOAT, **constants: np.ndarray) -> bytes:
    ends = [[helper.make_tensor_value_info(n, kind, s) for n, s in infos.items()] for infos in (inputs, outputs)]
    held = [numpy_helper.from_array(a, n) for n, a in constants.items()]
    graph = helper.make_graph(nodes, "g", *ends, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def negated(shape: tuple = ("N", 4), kind: int = TensorProto.FLOAT) -> ronn.Session:
    model = build([helper.make_node("Neg", ["x"], ["y"])], {"x": shape}, {"y": shape}, kind)
    return ronn.Session(model, providers=ALONE)


@pytest.fixture
def two() -> ronn.Session:
    """y = -x, z = x + x, c = a constant."""
    nodes = [
        helper.make_node("Neg", ["x"], ["y"]),
        helper.make_node("Add", ["x", "x"], ["z"]),
        helper.make_node("Identity", ["w"], ["c"]),
    ]
    ends = {"y": ["N", 4], "z": ["N", 4], "c": [3]}
    return ronn.Session(build(nodes, {"x": ["N", 4]}, ends, w=np.ones(3, np.float32)), providers=ALONE)


class OnlyDLPack:
    def __init__(self, of: np.ndarray) -> None:
        self.of = of

    def __dlpack__(self, **more: Any) -> Any:
        return self.of.__dlpack__(**more)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


class OnlyInterface:
    def __init__(self, of: np.ndarray) -> None:
        self.of = of
        self.__array_interface__ = of.__array_interface__


def frozen(a: np.ndarray) -> np.ndarray:
    a = a.copy()
    a.flags.writeable = False
    return a


FORMS = {
    "an array": lambda a: a,
    "a read-only array": frozen,
    "dlpack": OnlyDLPack,
    "array interface": OnlyInterface,
    "a memoryview": memoryview,
    "a read-only memoryview": lambda a: memoryview(frozen(a)),
    "array.array": lambda a: memoryview(array.array("f", a.reshape(-1).tolist())).cast("B").cast("f", a.shape),
    "a subclass": lambda a: a.view(type("Mine", (np.ndarray,), {})),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_kind_of_memory_goes_in_as_it_lies(form: str) -> None:
    session = negated()
    for _ in range(3):
        np.testing.assert_array_equal(session.run(FORMS[form](X))["y"], -X)
        np.testing.assert_array_equal(session.run({"x": FORMS[form](X)})["y"], -X)
    assert (session.stats().copies_in, session.stats().copies_out) == (0, 0)


@pytest.mark.parametrize("form", ["dlpack", "a memoryview", "array interface"])
def test_memory_of_others_finds_its_plan_at_once(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    session = negated()
    session.run(FORMS[form](X))
    monkeypatch.setattr(session, "_ready", None)  # what converts and checks from the ground up
    np.testing.assert_array_equal(session.run(FORMS[form](X + 1))["y"], -X - 1)
    np.testing.assert_array_equal(session.run([FORMS[form](X)])["y"], -X)


@pytest.mark.parametrize("form", [list, lambda a: tuple(map(tuple, a.tolist()))])
def test_lists_are_counted_as_copies(form: Any) -> None:
    session = negated()
    for n in range(1, 4):
        session.run({"x": form(X)})
        assert session.stats().copies_in == n


def test_bytes_are_unsigned_bytes() -> None:
    model = build([helper.make_node("Identity", ["x"], ["y"])], {"x": ["N"]}, {"y": ["N"]}, TensorProto.UINT8)
    session = ronn.Session(model, providers=ALONE)
    for given_bytes in (b"abc", bytearray(b"abc"), memoryview(b"abc")):
        assert session.run({"x": given_bytes})["y"].tolist() == [97, 98, 99]
    assert session.stats().copies_in == 0


@pytest.mark.parametrize("dtype", list(dlpack.CODES))
def test_dlpack_of_types_that_numpy_does_not_exchange(dtype: DType) -> None:
    held = np.array([[1.0, 0.5, 2.0, 4.0]]).astype(dtype.numpy)
    read = dlpack.read(dlpack.Shared(held))
    assert read.dtype == held.dtype and read.ctypes.data == held.ctypes.data
    np.testing.assert_array_equal(read, held)


def test_bfloat16_goes_in_through_dlpack() -> None:
    session = negated(kind=TensorProto.BFLOAT16)
    x = X.astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(session.run(dlpack.Shared(x))["y"], -x)
    assert session.stats().copies_in == 0


# --- out=


@pytest.mark.parametrize("form", ["mapping", "sequence"])
def test_outputs_go_where_they_should(two: ronn.Session, form: str) -> None:
    y, c = np.empty((2, 4), np.float32), np.empty(3, np.float32)
    got = two.run(X, out={"y": y, "c": c} if form == "mapping" else [y, None, c])
    assert got["y"] is y and got["c"] is c and got[2] is c
    np.testing.assert_array_equal(y, -X)
    np.testing.assert_array_equal(c, np.ones(3))
    np.testing.assert_array_equal(got["z"], X + X)
    assert got["z"].flags.writeable


def test_one_output_may_be_given_alone() -> None:
    y = np.empty_like(X)
    assert negated().run(X, out=y)["y"] is y
    np.testing.assert_array_equal(y, -X)


def test_some_outputs_and_their_buffers(two: ronn.Session) -> None:
    z = np.empty_like(X)
    got = two.run({"x": X}, outputs=["z", "y"], out={"z": z})
    assert list(got.keys()) == ["z", "y"] and got["z"] is z
    np.testing.assert_array_equal(z, X + X)
    with pytest.raises(InputError, match=r"'c', which is no output of this run; it gives 'z', 'y'"):
        two.run({"x": X}, outputs=["z", "y"], out={"c": z})


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.empty((4, 2), np.float32).T,
        lambda: np.empty((2, 8), np.float32)[:, ::2],
        lambda: np.empty(33, np.uint8)[1:].view(np.float32).reshape(2, 4),
        lambda: OnlyDLPack(np.empty((2, 4), np.float32)),
        lambda: OnlyInterface(np.empty((2, 4), np.float32)),
        lambda: memoryview(bytearray(32)).cast("f", (2, 4)),
    ],
)
def test_any_memory_that_can_be_written(make: Any) -> None:
    session = negated()
    buffer = make()
    for k in (1, 2, 3):
        got = session.run(X * k, out={"y": buffer})
        assert got["y"] is buffer
        np.testing.assert_array_equal(getattr(buffer, "of", buffer), -X * k)


def test_text_goes_out_too() -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    session = ronn.Session(build(nodes, {"x": ["N"]}, {"y": ["N"]}, TensorProto.STRING), providers=ALONE)
    y = np.empty(2, object)
    session.run({"x": ["a", "b"]}, out={"y": y})
    assert y.tolist() == ["a", "b"]


A, BOTH = np.zeros((2, 4), np.float32), np.zeros((3, 4), np.float32)
WRONG = {
    "dtype": ({"y": np.zeros((2, 4))}, r"output 'y' is f32\[.*4\], and the buffer .* float64\[2, 4\]"),
    "rank": ({"y": np.zeros(8, np.float32)}, r"float32\[8\]"),
    "fixed dim": ({"y": np.zeros((2, 5), np.float32)}, r"float32\[2, 5\]"),
    "size of this run": ({"y": np.zeros((3, 4), np.float32)}, r"hint: numpy.empty\(\(2, 4\), 'float32'\) fits"),
    "read-only": ({"y": frozen(A)}, "read-only"),
    "unknown": ({"yy": A}, "did you mean 'y'"),
    "no memory": ({"y": [[0.0] * 4] * 2}, "list has no memory that a run could write to"),
    "count": ([A], "1 buffers, the run gives 3"),
    "no mapping": (A, "not a mapping of output name to buffer"),
    "one for two": ({"y": BOTH[:2], "z": BOTH[1:]}, r"out\['z'\] and out\['y'\] overlap"),
}


@pytest.mark.parametrize("what", WRONG)
def test_buffers_that_do_not_fit_are_told(two: ronn.Session, what: str) -> None:
    out, said = WRONG[what]
    with pytest.raises(InputError, match=said):
        two.run(X, out=out)
    np.testing.assert_array_equal(two.run(X)["y"], -X)


def test_a_buffer_must_not_be_an_input(two: ronn.Session) -> None:
    x = X.copy()
    with pytest.raises(InputError, match=r"out\['y'\] overlaps the input 'x'"):
        two.run(x, out={"y": x})
    with pytest.raises(InputError, match="overlaps the input"):
        two.run(x[::-1], out={"y": x})
    np.testing.assert_array_equal(x, X)
    wide = np.zeros((2, 8), np.float32)
    wide[:, ::2] = X
    two.run(wide[:, ::2], out={"y": wide[:, 1::2]})  # between one another, and not the same
    np.testing.assert_array_equal(wide[:, 1::2], -X)


def test_a_sequence_takes_no_buffer() -> None:
    nodes = [helper.make_node("SequenceConstruct", ["x", "x"], ["s"])]
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])], [
        helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    ]
    graph = helper.make_graph(nodes, "g", *ends)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    with pytest.raises(InputError, match="out= takes tensors"):
        ronn.Session(model, providers=ALONE).run(np.zeros(2, np.float32), out={"s": np.zeros(2, np.float32)})


def test_sizes_that_nobody_knows_before() -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["i"])]
    ends = (
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_value_info("i", TensorProto.INT64, None)],
    )
    model = helper.make_model(helper.make_graph(nodes, "g", *ends), opset_imports=[helper.make_opsetid("", 18)])
    session = ronn.Session(model, providers=ALONE)
    x = np.array([0, 1, 1, 0], np.float32)
    i = np.empty((1, 2), np.int64)
    session.run(x, out={"i": i})
    assert i.tolist() == [[1, 2]]
    with pytest.raises(InputError, match=r"came out as int64\[1, 2\].*int64\[1, 3\]"):
        session.run(x, out={"i": np.empty((1, 3), np.int64)})


@settings(max_examples=25, deadline=None)
@given(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), st.booleans(), st.integers(0, 2))
def test_any_shape_in_any_layout(shape: tuple[int, ...], transposed: bool, gap: int) -> None:
    session = negated([f"d{i}" for i in range(len(shape))])
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    last = shape[-1] if shape else 1
    room = np.full((*shape[:-1], last + gap), 7, np.float32)
    out = room[..., :last] if shape else np.full((), 7, np.float32)
    if transposed:
        out = np.full(shape[::-1], 7, np.float32).T
    assert session.run({"x": x}, out={"y": out})["y"] is out
    np.testing.assert_array_equal(out, -x)
    assert not shape or np.all(room[..., last:] == 7)


def test_an_output_that_is_an_input_or_a_constant_is_copied_once(two: ronn.Session) -> None:
    two.run(X, out={"y": np.empty_like(X), "z": np.empty_like(X)})
    before = two.stats().copies_out
    two.run(X, outputs=["c"], out={"c": np.empty(3, np.float32)})
    assert two.stats().copies_out == before + 1


# --- life-times


def test_outputs_outlive_the_session() -> None:
    session = negated()
    y = session.run(X)["y"]
    shared = np.from_dlpack(y)
    session.trim()
    session.run(X + 1)
    session.close()
    del session, y
    gc.collect()
    np.testing.assert_array_equal(shared, -X)


def test_memory_that_came_in_is_held_no_longer_than_the_run() -> None:
    import weakref

    session = negated()
    x = type("Mine", (np.ndarray,), {})(X.shape, X.dtype)  # with memory of its own, which views of it hold
    x[...] = X
    alive = weakref.ref(x)
    y = session.run(x)["y"]
    del x
    gc.collect()
    assert alive() is None and y is not None


# --- bindings


def test_a_binding_runs_on_what_the_memory_holds_then(two: ronn.Session) -> None:
    x, y = X.copy(), np.empty_like(X)
    binding = two.bind({"x": x}, outputs=["y", "z"], out={"y": y})
    for k in range(3):
        x[...] = X + k
        got = binding()
        assert got["y"] is y
        np.testing.assert_array_equal(y, -x)
        np.testing.assert_array_equal(got["z"], x + x)
    first, second = binding()["z"], binding()["z"]
    assert not np.may_share_memory(first, second)
    assert two.stats().copies_in == 0
    with pytest.raises(ronn.RunTimeoutError):
        binding(timeout=0.0)
    np.testing.assert_array_equal(binding(timeout=60, threads=1)["y"], -x)


def test_a_binding_goes_on_after_trim_and_ends_with_the_session() -> None:
    session = negated()
    binding = session.bind([X])
    session.run(X[:1])
    session.trim()
    np.testing.assert_array_equal(binding.run()["y"], -X)
    session.close()
    with pytest.raises(RonnError, match="closed"):
        binding()


@pytest.mark.parametrize("bad", [X.tolist(), [X.tolist()], {"x": X.tolist()}])
def test_what_could_only_be_copied_cannot_be_bound(bad: Any) -> None:
    with pytest.raises(InputError, match="cannot be bound: a run would read a copy of the list"):
        negated().bind(bad)


def test_bindings_check_as_runs_do(two: ronn.Session) -> None:
    with pytest.raises(InputError, match="float64"):
        two.bind(X.astype(np.float64))
    with pytest.raises(InputError, match="no output 'q'"):
        two.bind(X, outputs=["q"])
    with pytest.raises(InputError, match="overlap"):
        two.bind(X.copy(), out=[b := np.empty_like(X), b, None])
    assert "outputs bound: y" in repr(two.bind(X, out={"y": np.empty_like(X)}))


def test_models_without_inputs_can_be_bound() -> None:
    model = build([helper.make_node("Neg", ["w"], ["y"])], {}, {"y": [2]}, w=np.ones(2, np.float32))
    y = np.empty(2, np.float32)
    session = ronn.Session(onnx.load_from_string(model), providers=ALONE)
    session.bind({}, out=y)()
    assert y.tolist() == [-1, -1]
