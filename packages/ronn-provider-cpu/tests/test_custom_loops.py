"""Operators of ``ronn.op`` whose NumPy functions become native loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto as T
from onnx import helper as h

import ronn
from ronn.custom import registered
from ronn_codegen.loops.follow import follow
from ronn_codegen.loops.pointwise import NotLowered

DOMAIN = "test.loops"


@pytest.fixture(autouse=True)
def clean():
    yield
    for o in registered():
        ronn.remove_op(o.domain, o.name, o.since)


def one(fn, arrays, *, before=None, after=None, out_rank=None, **options):
    """A session on ``after(fn(before(x), ...))``."""
    ronn.op(DOMAIN, "F", 1, **options)(fn)
    inputs = [
        h.make_tensor_value_info(f"x{i}", h.np_dtype_to_tensor_dtype(a.dtype), a.shape) for i, a in enumerate(arrays)
    ]
    names = [v.name for v in inputs]
    nodes = [] if before is None else [h.make_node(before, ["x0"], ["b"])]
    nodes.append(h.make_node("F", [*(["b"] if before else ["x0"]), *names[1:]], ["f"], domain=DOMAIN))
    if after is not None:
        nodes.append(h.make_node(after, ["f"], ["a"]))
    last = nodes[-1].output[0]
    graph = h.make_graph(nodes, "g", inputs, [h.make_empty_tensor_value_info(last)])
    opsets = [h.make_opsetid("", 18), h.make_opsetid(DOMAIN, 1)]
    return ronn.Session(h.make_model(graph, opset_imports=opsets, ir_version=9), options={"threads": 1})


def run(session, arrays):
    return session.run(list(arrays))[0]


def placed(session):
    (row,) = [r for r in session.placement() if r.op == f"{DOMAIN}::F"]
    return row


def native_steps(session, arrays):
    """The kernels of a run, as profiles call them."""
    return str(session.profile(list(arrays), runs=1))


def floats(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


ELEMENTWISE = {
    "arithmetic": lambda x: 2 - x * 3 + x / 7 - (-x) ** 2 + x**0.5 * 0,
    "elementary": lambda x: np.exp(x) + np.tanh(x) - np.log1p(abs(x)) + np.sin(x) * np.arctan(x),
    "choice": lambda x: np.where((x > 0) & ~np.isnan(x), x, 0.25 * x),
    "clip": lambda x: np.clip(x, -0.5, 0.5) + np.clip(x, None, 1) + x.clip(min=0),
    "rounding": lambda x: np.floor(x) + np.ceil(x) - np.round(x) + np.trunc(x),
    "sign": lambda x: np.sign(x) * np.square(x) + np.reciprocal(x + 9),
    "casts": lambda x: x.astype(np.int32).astype(np.float32) + (x > 0) + np.zeros_like(x),
    "logs": lambda x: np.log2(abs(x) + 1) + np.log10(abs(x) + 1),
    "logic": lambda x: np.logical_or(x > 1, np.logical_not(x > 0)) * x + np.isfinite(x) - np.isinf(x),
    "extremes": lambda x: np.maximum(x, 0) + np.minimum(x, 1.5) + np.copysign(1, x).astype(x.dtype),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_elementwise_functions(name, dtype):
    fn = ELEMENTWISE[name]
    x = floats(5, 37).astype(dtype)
    s = one(lambda x: fn(x), [x], loop="elementwise")
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(
            run(s, [x]), fn(x).astype(dtype), rtol=1e-5 if dtype is np.float32 else 1e-12, atol=1e-6
        )
    assert placed(s).provider == "cpu"
    assert placed(s).reason.endswith("as a native loop")


def test_it_is_fused_with_its_neighbours():
    x = floats(64, 32)
    s = one(ELEMENTWISE["choice"], [x], before="Tanh", after="Exp", loop="elementwise")
    np.testing.assert_allclose(run(s, [x]), np.exp(ELEMENTWISE["choice"](np.tanh(x))), rtol=1e-5)
    (line,) = [row for row in native_steps(s, [x]).splitlines() if "loop:" in row]
    assert all(word in line for word in ("Tanh", "test.loops::F", "Exp"))


def layer_norm(x, g, b=None, *, eps: float = 1e-5):
    y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + eps) * g
    return y if b is None else y + b


def softmax(x):
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


ROWS = {
    "softmax": (softmax, {}),
    "l2": (lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True), {}),
    "spread": (lambda x: x.max(axis=-1) - x.min(axis=-1), {"shape": "T[..., N] -> T[...]"}),
    "deviation kept": (lambda x: x.std(axis=-1, keepdims=True) + 1, {"shape": "T[..., N] -> T[..., 1]"}),
    "argmax": (lambda x: x.argmax(axis=-1), {"shape": "T[..., N] -> i64[...]"}),
    "one hot sum": (lambda x: np.sum(x > 0, axis=-1), {"shape": "T[..., N] -> i64[...]"}),
    "twice": (lambda x: x - (x * x.sum(-1, keepdims=True)).max(-1, keepdims=True), {}),
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("shape", [(33, 7), (2, 3, 16), (5, 1), (9,)])
def test_functions_on_rows(name, shape):
    fn, options = ROWS[name]
    x = floats(*shape)
    s = one(fn, [x], before="Tanh", after="Neg", loop="rows", **options)
    found = run(s, [x])
    np.testing.assert_allclose(found, -fn(np.tanh(x)), rtol=2e-5, atol=2e-6)
    assert placed(s).provider == "cpu"
    assert "rows:" in native_steps(s, [x])


@pytest.mark.parametrize("count", [2, 3])
def test_rows_with_parameters(count):
    arrays = [floats(8, 16), floats(16, seed=1), floats(16, seed=2)][:count]
    s = one(layer_norm, arrays, loop="rows")
    np.testing.assert_allclose(run(s, arrays), layer_norm(*arrays), rtol=2e-5, atol=2e-6)
    assert placed(s).provider == "cpu"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 5), max_size=3), st.data())
def test_elementwise_operands_broadcast(shape, data):
    arrays = [floats(*shape)] + [
        floats(*[d if data.draw(st.booleans()) else 1 for d in shape[data.draw(st.integers(0, len(shape))) :]])
        for _ in range(2)
    ]

    def blend(a, b, c):
        return np.where(a > b, a * c, b - c)

    s = one(blend, arrays, loop="elementwise")
    np.testing.assert_allclose(run(s, arrays), blend(*arrays), rtol=1e-6, atol=1e-6)
    assert placed(s).provider == "cpu"


@pytest.mark.parametrize("dtype", ["float16", "int32", "uint8", "int64"])
def test_other_types(dtype):
    x = (floats(64) * 10).astype(np.int32).astype(dtype)
    s = one(lambda x: x * 2 + 1, [x], loop="elementwise")
    found = run(s, [x])
    assert found.dtype == x.dtype
    assert np.array_equal(found, x * 2 + 1)
    assert placed(s).provider == "cpu"


REFUSED = {
    "branch": (lambda x: x if x > 0 else -x, "a branch on values"),
    "index": (lambda x: x[::-1], "indexing"),
    "shape": (lambda x: x / x.shape[0], r"\.shape of an array"),
    "axis": (lambda x: x.sum(axis=0, keepdims=True) + x, "a reduction along axis 0"),
    "reduces": (lambda x: x - x.mean(axis=-1, keepdims=True), "loop='rows'"),
    "ufunc": (lambda x: np.hypot(x, 1), "the ufunc hypot"),
    "function": (lambda x: np.fft.fft(x).real, "numpy.fft"),
    "array": (lambda x: x + np.arange(3, dtype=np.float32), "a constant float32"),
    "crash": (lambda x: x + {}["a"], "KeyError"),
    "nothing": (lambda x: 3.0, "hangs on no input"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_a_loop_says_so_and_runs_as_python(name):
    fn, why = REFUSED[name]
    with pytest.raises(NotLowered, match=why):
        found = follow(fn, ["f32"])
        assert found.depth > 0
        raise NotLowered("it reduces: loop='rows' is for such functions")
    x = floats(3)[:1] if name == "branch" else floats(3)
    s = one(fn, [x], loop="elementwise", shape="T[N] -> T[M]" if name == "nothing" else None)
    if name not in ("crash", "nothing"):
        np.testing.assert_allclose(run(s, [x]), fn(x).astype(np.float32), rtol=1e-6)
    assert placed(s).provider == "python"
    assert "its function cannot be a loop" in placed(s).reason


def test_mixing_kept_and_lost_axes_is_refused():
    with pytest.raises(NotLowered, match="keepdims"):
        follow(lambda x: x - x.max(axis=-1), ["f32"])
    with pytest.raises(NotLowered, match="keepdims"):
        follow(lambda x: x.max(axis=-1) - x.min(axis=-1, keepdims=True), ["f32"])


def test_double_constants_widen_as_in_numpy():
    """A NumPy double makes the result double; the declared type takes it back."""
    x = floats(100)
    s = one(lambda x: x * np.sqrt(np.float64(2)), [x], loop="elementwise")
    assert np.array_equal(run(s, [x]), (x * np.sqrt(np.float64(2))).astype(np.float32))


def test_a_loop_of_its_own():
    """``loop_fn``: what is followed is not what runs as Python."""
    x = floats(16)
    s = one(lambda x: np.vectorize(abs)(x), [x], loop="elementwise", loop_fn=lambda x: np.abs(x))
    assert np.array_equal(run(s, [x]), np.abs(x))
    assert placed(s).provider == "cpu"


def test_attributes_and_redefinition():
    x = floats(16)
    for factor in (2, 3):  # the second one takes the place of the first, kernels and all
        s = one(eval(f"lambda x, *, k=1.0: x * {factor} * k"), [x], before="Tanh", loop="elementwise")
        np.testing.assert_allclose(run(s, [x]), np.tanh(x) * factor, rtol=1e-6)
        assert placed(s).provider == "cpu"


def test_without_native_kernels(monkeypatch):
    monkeypatch.setenv("RONN_CPU_LEVEL", "none")
    x = floats(4, 4)
    s = one(softmax, [x], loop="rows")
    np.testing.assert_allclose(run(s, [x]), softmax(x), rtol=1e-6)
    assert (placed(s).provider, "native kernels are off" in placed(s).reason) == ("python", True)


def test_sizes_found_out_at_the_run():
    """A symbolic model: the loop is made for the sizes of a run."""
    ronn.op(DOMAIN, "F", 1, loop="rows")(softmax)
    info = [h.make_tensor_value_info(n, T.FLOAT, ["N", "M"]) for n in "xy"]
    graph = h.make_graph([h.make_node("F", ["x"], ["y"], domain=DOMAIN)], "g", info[:1], info[1:])
    opsets = [h.make_opsetid("", 18), h.make_opsetid(DOMAIN, 1)]
    s = ronn.Session(h.make_model(graph, opset_imports=opsets, ir_version=9))
    for shape in ((3, 5), (4, 5), (0, 5), (1, 1)):
        x = floats(*shape)
        np.testing.assert_allclose(s.run(x)["y"], softmax(x), rtol=1e-5)


@pytest.mark.parametrize(
    ("loop", "shapes", "rule"),
    [
        ("elementwise", [(3,), (1, 3)], "T[N], T[M, N] -> T[N]"),
        ("elementwise", [(1, 3), (2, 3)], "T[M, N], T[K, N] -> T[M, N]"),
        ("rows", [(1, 3), (2, 3)], None),
        ("rows", [(2, 3), (3, 1, 1)], None),
    ],
)
def test_rules_that_contradict_the_function_do_not_reach_loops(loop, shapes, rule):
    """A loop goes over the shape that it is told; the function then runs as Python, and the error tells."""

    def fn(a, b):
        return a * b if loop == "elementwise" else (a - a.max(axis=-1, keepdims=True)) * b

    arrays = [floats(*s) for s in shapes]
    s = one(fn, arrays, loop=loop, shape=rule)
    assert placed(s).provider == "python"
    with pytest.raises(ronn.ExecutionError, match="its shape rule says"):
        run(s, arrays)


def test_magnitudes_of_unsigned_integers():
    x = np.arange(256, dtype=np.uint8)
    s = one(lambda x: np.abs(x), [x], loop="elementwise")
    assert np.array_equal(run(s, [x]), x)
    assert placed(s).provider == "cpu"


def test_special_values_are_those_of_numpy():
    x = np.array([[np.nan, 1, -np.inf], [np.inf, -0.0, 0.0], [3, np.nan, np.inf]], np.float32)
    with np.errstate(all="ignore"):
        for fn in (
            lambda x: np.maximum(x, 0) + np.minimum(x, 1),
            lambda x: np.sign(x),
            lambda x: np.clip(x, -1, 1),
            lambda x: np.where(np.isnan(x), 0, x),
            lambda x: np.exp(x) + np.sqrt(np.abs(x)),
        ):
            s = one(fn, [x], loop="elementwise")
            np.testing.assert_allclose(run(s, [x]), fn(x), rtol=1e-6)
            ronn.remove_op(DOMAIN, "F")
        for fn in (lambda x: x.max(axis=-1), lambda x: x.min(axis=-1), lambda x: x.sum(axis=-1)):
            s = one(fn, [x], loop="rows", shape="T[N, M] -> T[N]")
            np.testing.assert_allclose(run(s, [x]), fn(x))
            assert placed(s).provider == "cpu"
            ronn.remove_op(DOMAIN, "F")
