"""Custom operators in sessions: types, order, subgraphs, threads, processes, errors."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto as T
from onnx import helper as h

sys.path.insert(0, str(Path(__file__).parent))
from custom_models import DOMAIN, info, model, node

import ronn
from ronn.errors import ExecutionError, ModelError, OptionError
from ronn.plugins import registry
from ronn.provider import KernelProvider, kernel

X = np.array([-1, 0.5, 2], np.float32)


def squash(x, *, scale: float = 1.0):
    return x * scale / (1 + np.abs(x * scale))


def register(fn, **options):
    name = fn.__name__.title().replace("_", "")
    ronn.op(DOMAIN, name, 1, **options)(fn)
    return name


def run(m, feed=X, **options):
    return ronn.Session(m, **options).run(feed)["y"]


def test_a_function_runs_between_other_nodes_and_placement_says_so():
    name = register(squash, shape="T[...] -> T[...]")
    m = model([h.make_node("Neg", ["x"], ["a"]), node(name, ["a"], ["b"], scale=2.0), h.make_node("Abs", ["b"], ["y"])])
    for providers in (None, ["reference"]):
        s = ronn.Session(m, providers=providers)
        assert np.array_equal(s.run(X)["y"], np.abs(squash(-X, scale=2.0)))
        (row,) = [r for r in s.placement() if r.op == f"{DOMAIN}::Squash"]
        assert (row.provider, row.reason) == (
            "python", f"custom op {DOMAIN}.Squash (Python function squash in {__name__})",
        )  # fmt: skip
        assert "python" not in s.providers
        assert s.outputs[0].shape == ("N",)


def test_without_a_shape_rule_what_follows_is_planned_when_the_types_are_known():
    def positive(x):
        return x[x > 0].astype(np.float64)

    name = register(positive)
    nodes = [
        node(name, ["x"], ["a"]),
        h.make_node("Neg", ["a"], ["b"]),
        node(name, ["b"], ["c"]),
        h.make_node("Neg", ["a"], ["d"]),
        h.make_node("Concat", ["c", "d"], ["y"], axis=0),
    ]
    m = model(nodes, outputs=[info("y", ["M"], T.DOUBLE)])
    s = ronn.Session(m)
    for feed in (X, X[:1], np.arange(9, dtype=np.float32), X):
        found = s.run(feed)["y"]
        assert found.dtype == np.float64
        assert found.tolist() == (-feed[feed > 0]).tolist()


def test_types_nobody_knows_before_reach_subgraphs():
    """The If is placed when the type of what its branches use is known."""

    def widen(x):
        return x.astype(np.float64)

    name = register(widen)
    branches = {
        f"{kind}_branch": h.make_graph([h.make_node(op, ["a"], [kind])], kind, [], [info(kind, ["N"], T.DOUBLE)])
        for kind, op in (("then", "Neg"), ("else", "Abs"))
    }
    nodes = [node(name, ["x"], ["a"]), h.make_node("If", ["c"], ["y"], **branches)]
    m = model(nodes, [info("x"), info("c", [], T.BOOL)], [info("y", ["N"], T.DOUBLE)])
    s = ronn.Session(m)
    for c in (True, False):
        assert s.run({"x": X, "c": np.array(c)})["y"].tolist() == (-X if c else np.abs(X)).tolist()


@pytest.mark.parametrize("where", ["If", "Loop", "Scan"])
def test_in_subgraphs(where):
    name = register(squash, shape="T[...] -> T[...]")
    inner = node(name, ["a"], ["b"], scale=3.0)
    once, twice = squash(X, scale=3.0), squash(squash(X, scale=3.0), scale=3.0)
    if where == "If":
        inner.input[0] = "x"
        branch = h.make_graph([inner], "t", [], [info("b")])
        other = h.make_graph([h.make_node("Neg", ["x"], ["n"])], "e", [], [info("n")])
        nodes = [h.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=other)]
        m = model(nodes, [info("x"), info("c", [], T.BOOL)])
        s = ronn.Session(m)
        assert np.array_equal(s.run({"x": X, "c": np.array(True)})["y"], once)
        return
    if where == "Loop":
        body = h.make_graph(
            [h.make_node("Identity", ["go"], ["on"]), inner], "b",
            [info("i", [], T.INT64), info("go", [], T.BOOL), info("a")], [info("on", [], T.BOOL), info("b")],
        )  # fmt: skip
        m = model([h.make_node("Loop", ["n", "", "x"], ["y"], body=body)], constants={"n": np.array(2)})
        assert np.array_equal(run(m), twice)
    else:
        inner.input[0] = "row"
        body = h.make_graph([inner], "b", [info("row", [])], [info("b", [])])
        m = model([h.make_node("Scan", ["x"], ["y"], body=body, num_scan_inputs=1)])
        assert np.allclose(run(m), once)


def test_optional_inputs_variadic_inputs_and_several_outputs():
    def gather(x, bias=None, *more):
        return x + (0 if bias is None else bias) + sum(more), np.array(len(more)), x

    name = register(
        gather, outputs=("total", "count", "same"), shape="T[...], T[...], *T[...] -> T[...], i64[], T[...]"
    )
    outputs = [info("y"), info("n", [], T.INT64)]
    for inputs, total, count in ((["x"], X, 0), (["x", "", "x"], 2 * X, 1), (["x", "x", "x", "x"], 4 * X, 2)):
        s = ronn.Session(model([node(name, inputs, ["y", "n"])], outputs=outputs))
        y, n = s.run(X)
        assert np.array_equal(y, total)
        assert n == count
        assert n.dtype == np.int64


def test_any_number_of_outputs():
    def halves(x) -> tuple[np.ndarray, ...]:
        return x[:1], x[1:2], x[2:]

    m = model([node(register(halves), ["x"], ["a", "b", "c"]), h.make_node("Concat", ["c", "a"], ["y"], axis=0)])
    assert run(m).tolist() == [2, -1]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 3), st.booleans())
def test_a_rule_in_text_agrees_with_numpy(n, m, extra, row):
    def mix(a, b):
        return np.concatenate([a @ b] * 2, axis=-1)

    if ronn.custom.find(DOMAIN, "Mix") is None:
        register(mix, shape="T[..., N, K], T[K, M] -> T[..., N, 2*M]")
    lead = (2,) * extra if row else (1, 3)[:extra]
    feed = {"x": np.ones((*lead, n, 3), np.float32), "w": np.ones((3, m), np.float32)}
    inputs = [info("x", [*(f"L{i}" for i in range(len(lead))), "N", 3]), info("w", [3, "M"])]
    s = ronn.Session(model([node("Mix", ["x", "w"], ["y"])], inputs, [info("y", None)]))
    assert s.outputs[0].shape == (*(f"L{i}" for i in range(len(lead))), "N", "2*M")
    assert np.array_equal(s.run(feed)["y"], mix(feed["x"], feed["w"]))


def test_a_rule_as_a_function_of_types_and_attributes():
    def tile(x, *, times: int = 2):
        return np.tile(x, times).astype(np.float64)

    register(tile, shape=lambda x, *, times: ("float64", [x.shape[0] * times]))
    s = ronn.Session(model([node("Tile", ["x"], ["y"], times=3)], outputs=[info("y", ["M"], T.DOUBLE)]))
    assert s.graph.outputs[0].type == ronn.ir.types.TensorType(
        ronn.ir.types.DType.FLOAT64, s.graph.outputs[0].type.shape
    )
    assert str(s.graph.outputs[0].type) == "f64[3*N]"
    assert s.run(X)["y"].tolist() == [*X, *X, *X]


def test_shapes_that_the_rule_refuses():
    def mix(a, b):
        return a @ b

    register(mix, shape="T[N, K], T[K, M] -> T[N, M]")
    m = model([node("Mix", ["x", "w"], ["y"])], [info("x", [2, 3]), info("w", [4, 5])], [info("y", [2, 5])])
    with pytest.raises(ModelError, match=r"sizes of K in the inputs of test.custom::Mix differ: 3 against 4"):
        ronn.Session(m)
    m = model([node("Mix", ["x", "x"], ["y"])])
    with pytest.raises(ModelError, match=r"input 0 of test.custom::Mix has 1 dims, the shape rule asks for 2"):
        ronn.Session(m)

    def picky(x):
        return x

    def rule(x):
        raise ValueError("only on Sundays")

    register(picky, shape=rule)
    with pytest.raises(ModelError, match=r"the shape rule of test.custom::Picky .* fails: only on Sundays"):
        ronn.Session(model([node("Picky", ["x"], ["y"])]))


def test_an_error_in_the_function_names_node_operator_and_shapes_and_keeps_the_cause():
    def broken(x):
        return x @ np.ones((7, 7))

    register(broken, shape="T -> T")
    s = ronn.Session(model([node("Broken", ["x"], ["y"], name="the_node")]))
    with pytest.raises(ExecutionError) as e:
        s.run(X)
    text = str(e.value)
    for part in ("test.custom::Broken failed: ValueError: matmul", "'the_node'", "provider python", "float32[3]"):
        assert part in text
    assert isinstance(e.value.__cause__, ValueError)
    assert e.value.node_label == "the_node"


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (lambda x: None, "returned None for output 'y'.*"),
        (lambda x: x[:2], r"returned shape \[2\] for output 'y'; its shape rule says f32\[3\]"),
        (lambda x: x.astype(str), "returned object for output 'y', which is float32"),
        (lambda x: x + 1j, "returned complex64 for output 'y', which is float32"),
    ],
)
def test_results_that_break_the_rule(result, says):
    def f(x):
        return result(x)

    register(f, shape="T[N] -> T[N]")
    with pytest.raises(ExecutionError, match=f"the function .*f {says}"):
        run(model([node("F", ["x"], ["y"])]))


def test_too_few_results():
    def f(x):
        return (x,)

    register(f, outputs=2)
    with pytest.raises(ExecutionError, match=r"returned 1 outputs instead of 2"):
        run(model([node("F", ["x"], ["y", "z"])]))

    def g(x):
        return x

    register(g, outputs=2)
    with pytest.raises(ExecutionError, match=r"returned ndarray, not a tuple of 2 outputs"):
        run(model([node("G", ["x"], ["y", "z"])]))


def test_results_are_cast_as_numpy_casts_into_out():
    def wide(x):
        return np.float64(2) * x

    register(wide, shape="T[...] -> T[...]")
    found = run(model([node("Wide", ["x"], ["y"])]))
    assert found.dtype == np.float32
    assert found.tolist() == (2 * X).tolist()

    def number(x):
        return 3

    register(number, shape="T[...] -> T[]")
    assert run(model([node("Number", ["x"], ["y"])], outputs=[info("y", [])])) == 3


def test_inputs_are_read_only_and_what_a_function_keeps_is_safe():
    def scribble(x):
        x[0] = 9
        return x

    register(scribble, shape="T -> T")
    with pytest.raises(ExecutionError, match=r"read-only"):
        run(model([node("Scribble", ["x"], ["y"])]))

    table = np.arange(3, dtype=np.float32)

    def cached(x):
        return table

    def passed(x):
        return x

    register(cached, shape="T[N] -> T[N]")
    register(passed, shape="T[N] -> T[N]")
    for name, expected in (("Cached", table.copy()), ("Passed", X.copy())):
        m = model([node(name, ["x"], ["a"]), h.make_node("Neg", ["a"], ["b"]), h.make_node("Exp", ["b"], ["y"])])
        s = ronn.Session(m)
        for _ in range(3):
            assert np.allclose(s.run(X)["y"], np.exp(-expected))
        y = ronn.Session(model([node(name, ["x"], ["y"])])).run(X)["y"]
        y += 100
    assert table.tolist() == [0, 1, 2]
    assert X.tolist() == [-1, 0.5, 2]


def test_constant_operands_are_folded_unless_the_function_is_impure():
    calls = []

    def noted(x):
        calls.append(1)
        return x + 1

    for pure, expected in ((True, 0), (False, 2)):
        ronn.op(DOMAIN, f"Noted{pure}", 1, shape="T -> T", pure=pure)(noted)
        nodes = [node(f"Noted{pure}", ["c"], ["a"]), h.make_node("Add", ["x", "a"], ["y"])]
        s = ronn.Session(model(nodes, constants={"c": X}))
        calls.clear()
        for _ in range(2):
            assert s.run(X)["y"].tolist() == (X + X + 1).tolist()
        assert len(calls) == expected


def test_threads_share_a_session():
    name = register(squash, shape="T[...] -> T[...]")
    s = ronn.Session(model([node(name, ["x"], ["y"])]))
    wrong = []

    def work(k):
        feed = X * k
        for _ in range(30):
            if not np.array_equal(s.run(feed)["y"], squash(feed)):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_after_a_fork():
    name = register(squash, shape="T[...] -> T[...]")
    s = ronn.Session(model([node(name, ["x"], ["y"])]))
    expected = s.run(X)["y"]
    queue = multiprocessing.get_context("fork").SimpleQueue()
    child = multiprocessing.get_context("fork").Process(target=lambda: queue.put(s.run(X)["y"]))
    child.start()
    child.join(30)
    assert np.array_equal(queue.get(), expected)


def test_every_dtype_goes_in_and_out():
    import ml_dtypes

    def same(x):
        return x

    register(same, shape="T -> T")
    for code, array in (
        (T.STRING, np.array(["a", "b"], object)), (T.BOOL, np.array([True, False])),
        (T.BFLOAT16, np.array([1, 2], ml_dtypes.bfloat16)), (T.INT4, np.array([1, -2], ml_dtypes.int4)),
        (T.COMPLEX64, np.array([1j, 2], np.complex64)),
    ):  # fmt: skip
        m = model([node("Same", ["x"], ["y"])], [info("x", ["N"], code)], [info("y", ["N"], code)])
        found = run(m, array)
        assert found.dtype == array.dtype
        assert found.tolist() == array.tolist()


def test_sequences():
    def both(x):
        return [x, -x]

    def second(xs):
        return xs[1]

    sequence = ronn.ir.types.SequenceType
    register(both, shape=lambda x: sequence(x))
    register(second, shape=lambda xs: xs.element)
    m = model([node("Both", ["x"], ["a"]), node("Second", ["a"], ["y"])])
    assert run(m).tolist() == (-X).tolist()


def test_on_the_drop_in():
    import ronn.compat.onnxruntime as ort

    name = register(squash, shape="T[...] -> T[...]")
    s = ort.InferenceSession(model([node(name, ["x"], ["y"])]).SerializeToString())
    (found,) = s.run(None, {"x": X})
    assert np.array_equal(found, squash(X))
    assert s.get_providers() == ["CPUExecutionProvider"]


def test_profiles_and_traces_see_it():
    name = register(squash, shape="T[...] -> T[...]")
    s = ronn.Session(model([node(name, ["x"], ["a"]), h.make_node("Neg", ["a"], ["y"])]))
    assert np.array_equal(s.run(X, trace=["a"])["a"], squash(X))
    assert f"{DOMAIN}::Squash" in str(s.profile(X, runs=2))


def test_onnx_model_functions_win_over_registered_ones():
    """A model that brings its own definition means that one."""
    name = register(squash, shape="T[...] -> T[...]")
    m = model([node(name, ["x"], ["y"])])
    m.functions.append(
        h.make_function(DOMAIN, name, ["a"], ["b"], [h.make_node("Neg", ["a"], ["b"])], [h.make_opsetid("", 18)])
    )
    onnx.checker.check_model(m)
    assert run(m).tolist() == (-X).tolist()


def test_types_nobody_knows_inside_a_subgraph():
    """A body is planned as a whole: what follows there runs where types do not matter, or the error says what to do."""

    def widen(x):
        return x.astype(np.float64)

    name = register(widen)
    branch = h.make_graph(
        [node(name, ["x"], ["a"]), h.make_node("Neg", ["a"], ["b"])], "t", [], [info("b", None, T.DOUBLE)]
    )
    other = h.make_graph([h.make_node("Cast", ["x"], ["d"], to=T.DOUBLE)], "e", [], [info("d", None, T.DOUBLE)])
    m = model(
        [h.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=other)],
        [info("x"), info("c", [], T.BOOL)], [info("y", None, T.DOUBLE)],
    )  # fmt: skip
    assert ronn.Session(m).run({"x": X, "c": np.array(True)})["y"].tolist() == (-X).tolist()


OPS_MODULE = f"""
import ronn

@ronn.op({DOMAIN!r}, "Doubled", 1, shape="T -> T")
def doubled(x):
    return x * 2
"""
CHILD = """
import pickle, sys
session = pickle.load(open(sys.argv[1], "rb"))
print(session.run([1.0, 2.0])["y"].tolist(), session.providers)
"""


def test_a_pickled_session_imports_its_functions(tmp_path, monkeypatch):
    (tmp_path / "ops_to_carry.py").write_text(OPS_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("ops_to_carry")

    s = ronn.Session(model([node("Doubled", ["x"], ["y"])]))
    (tmp_path / "session.pickle").write_bytes(pickle.dumps(s))
    command = [sys.executable, "-c", CHILD, str(tmp_path / "session.pickle")]
    path = os.pathsep.join([*sys.path, str(tmp_path)])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert done.stdout.split() == ["[2.0,", "4.0]", *str(s.providers).split()], done.stderr
    path = os.pathsep.join(p for p in sys.path if p != str(tmp_path))
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert "module 'ops_to_carry', which registers test.custom::Doubled, cannot be imported" in done.stderr
    del sys.modules["ops_to_carry"]


def test_a_pickled_session_whose_function_nobody_can_import():
    @ronn.op(DOMAIN, "Local", 1)
    def local(x):
        return x

    text = pickle.dumps(ronn.Session(model([node("Local", ["x"], ["y"])])))
    assert pickle.loads(text).run(X)["y"].tolist() == X.tolist()
    ronn.remove_op(DOMAIN, "Local")
    with pytest.raises(OptionError, match=r"does not register test.custom::Local \(.*local\)|cannot be imported"):
        pickle.loads(text)


def test_placement_tells_after_a_run_who_took_what_was_left_for_later(caplog):
    def positive(x):
        return x[x > 0]

    name = register(positive)
    nodes = [
        node(name, ["x"], ["a"]),
        h.make_node("Neg", ["a"], ["b"]),
        node(name, ["b"], ["c"]),
        h.make_node("Exp", ["c"], ["y"]),
    ]
    s = ronn.Session(model(nodes, outputs=[info("y", ["M"])]))
    before = {r.node: (r.provider, r.reason) for r in s.placement()}
    if "cpu" in s.providers:  # whose kernels go by types; the reference takes Neg of anything
        assert before["Neg->%b"] == ("later", "placed when the model runs: the type of %a is not known before")
    s.run(X)
    after = {r.node: r.provider for r in s.placement()}
    assert "later" not in after.values()
    assert after["Neg->%b"] in s.providers
    assert not caplog.records  # nothing fell back


def test_a_provider_with_a_kernel_takes_it_before_the_function():
    """The same decorator declares the operators of a provider."""

    class Fast(KernelProvider):
        name = "fast-squash"

        @kernel("Squash", domain=DOMAIN, dtypes="float32")
        def squash(self, ctx, x, *, scale):
            return squash(x, scale=scale)

    register(squash, shape="T[...] -> T[...]")
    registry().add(Fast())
    try:
        m = model([node("Squash", ["x"], ["y"], scale=2.0)])
        s = ronn.Session(m, providers=["fast-squash"])
        assert [r.provider for r in s.placement()] == ["fast-squash"]
        assert np.array_equal(s.run(X)["y"], squash(X, scale=2.0))
        s = ronn.Session(model([node("Squash", ["x"], ["y"])], [info("x", ["N"], T.DOUBLE)]), providers=["fast-squash"])
        (row,) = s.placement()
        assert row.provider == "python" and "fast-squash: input 0 is double" in row.reason
    finally:
        registry().remove("fast-squash")
