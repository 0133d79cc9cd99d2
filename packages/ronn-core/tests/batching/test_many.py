"""``run_batch``: requests that go together, in order, each with its own error."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ronn
from ronn.batching.join import default_sizes, pack
from ronn.errors import BatchError, CancelledError, ExecutionError, InputError, OptionError, RunTimeoutError

LOOKUP = """agraph (int64[N,2] x) => (float[N,2] y)
{ w = Constant<value = float[3] {10,20,30}>()  y = Gather(w, x) }"""
MIXED = """agraph (float[N,T] x, float[N,2] z, float[] s) => (float[N,T] y, float[N,2] t, float[2] c)
{ a = Sigmoid(x)  y = Mul(a, s)  t = Softmax(z)  c = Constant<value = float[2] {1,2}>() }"""
MIXING = "agraph (float[N,2] x) => (float[N,2] y) { y = Softmax<axis=0>(x) }"


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_results_are_those_of_run(data: st.DataObject) -> None:
    """Over rows, other dims, shared inputs, the most rows of a run, and the outputs asked for."""
    session = MIXED_SESSION
    shapes = data.draw(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3), st.integers(0, 1)), max_size=9))
    most = data.draw(st.integers(1, 9))
    wanted = data.draw(st.none() | st.lists(st.sampled_from(["y", "t", "c"]), min_size=1, unique=True))
    rng = np.random.default_rng(len(shapes))
    requests = [
        {
            "x": rng.normal(size=(rows, width)).astype(np.float32),
            "z": rng.normal(size=(rows, 2)).astype(np.float32),
            "s": np.float32(1 + shared),
        }
        for rows, width, shared in shapes
    ]
    got = session.run_batch(requests, max_batch=most, outputs=wanted)
    assert len(got) == len(requests)
    for request, one in zip(requests, got, strict=True):
        want = session.run(request, outputs=wanted)
        assert list(one.keys()) == list(want.keys())
        for a, b in zip(one, want, strict=True):
            assert a.shape == b.shape and a.flags.writeable and a.base is None
            np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.fixture(autouse=True, scope="module")
def _mixed():
    import onnx.parser

    model = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]>\n' + MIXED)
    global MIXED_SESSION
    MIXED_SESSION = ronn.Session(model.SerializeToString(), providers=["reference"])


@given(rows=st.lists(st.integers(1, 12), min_size=1, max_size=20), most=st.integers(1, 12), few=st.booleans())
def test_packing(rows: list[int], most: int, few: bool) -> None:
    sizes = (most,) if few else default_sizes(most)
    left = list(rows)
    while left:
        count, size = pack(left, sizes)
        asked = sum(left[:count])
        assert 1 <= count <= len(left) and asked <= size
        if count == 1:
            assert size == asked
        else:
            assert size in sizes
        if few is False and set(left) == {1}:
            assert size == asked == max(s for s in sizes if s <= len(left)), "single rows are never filled up"
        left = left[count:]


def test_a_bad_request_has_its_own_error(session) -> None:
    made = session(LOOKUP)
    good = np.array([[0, 2]])
    requests = [good, np.array([[7, 0]]), good, np.zeros((1, 2), np.float32), {"y": good}]
    with pytest.raises(BatchError) as caught:
        made.run_batch(requests)
    error = caught.value
    assert set(error.errors) == {1, 3, 4}
    assert isinstance(error.errors[1], ExecutionError) and "Gather" in str(error.errors[1])
    assert isinstance(error.errors[3], InputError) and isinstance(error.errors[4], InputError)
    assert str(error).startswith("3 of 5 requests failed") and "request 1: ExecutionError" in str(error)
    for i in (0, 2):
        assert error.results[i]["y"].tolist() == [[10, 30]]  # type: ignore[index]
    found = made.run_batch(requests, return_exceptions=True)
    assert [type(f).__name__ for f in found] == ["Outputs", "ExecutionError", "Outputs", "InputError", "InputError"]


def test_models_that_mix_rows_run_one_by_one(session) -> None:
    made = session(MIXING)
    requests = [np.full((i, 2), i, np.float32) for i in (1, 2, 3)]
    assert not made.batching().joins
    for request, got in zip(requests, made.run_batch(requests), strict=True):
        np.testing.assert_array_equal(got["y"], np.full_like(request, 1 / len(request)))
    assert made.stats().runs == 3


def test_join_false_joins_nothing(session) -> None:
    made = session(LOOKUP)
    made.run_batch([np.array([[0, 1]])] * 4, join=False)
    assert made.stats().runs == 4


def test_constants_with_a_default_may_be_given(session) -> None:
    made = session("agraph (float[N,2] x, float[2] b) => (float[N,2] y) <float[2] b = {1, 2}> { y = Add(x, b) }")
    zeros = np.zeros((1, 2), np.float32)
    got = made.run_batch([{"x": zeros}, {"x": zeros, "b": np.array([5, 6], np.float32)}, {"x": zeros}])
    assert [g["y"].tolist() for g in got] == [[[1, 2]], [[5, 6]], [[1, 2]]]


def test_lists_of_maps_are_cut(session) -> None:
    made = session("""agraph (float[N,2] x) => (seq(map(int64, float)) y)
    { y = ai.onnx.ml.ZipMap <classlabels_int64s = [3, 4]> (x) }""")
    got = made.run_batch([np.array([[1, 2]], np.float32), np.array([[3, 4], [5, 6]], np.float32)])
    assert [g["y"] for g in got] == [[{3: 1.0, 4: 2.0}], [{3: 3.0, 4: 4.0}, {3: 5.0, 4: 6.0}]]
    assert made.stats().runs == 1


def test_an_output_that_is_asked_for_and_not_there(session) -> None:
    made = session(LOOKUP)
    (error,) = made.run_batch([np.array([[0, 1]])], outputs=["z"], return_exceptions=True)
    assert isinstance(error, InputError) and "'y'" in str(error)


@pytest.mark.parametrize("options", [{"max_batch": 0}, {"max_batch": True}, {"sizes": []}, {"sizes": [64]}])
def test_bad_options(session, options) -> None:
    with pytest.raises(OptionError):
        session(LOOKUP).run_batch([], **options)


def test_a_timeout_ends_all_of_it(gate, gated) -> None:
    opener = threading.Timer(0.4, gate.open.set)
    opener.start()
    results = gated.run_batch([np.ones((1, 2), np.float32)] * 3, max_batch=1, timeout=0.2, return_exceptions=True)
    opener.join()
    assert [type(r) for r in results] == [RunTimeoutError] * 3
    assert len(gate.calls) <= 1


def test_a_stop_ends_all_of_it(gate, gated) -> None:
    stop = ronn.Stop()
    stop.set()
    with pytest.raises(CancelledError):
        gated.run_batch([np.ones((1, 2), np.float32)], stop=stop)
