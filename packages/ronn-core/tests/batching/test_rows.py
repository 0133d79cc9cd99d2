"""What is proved about the rows of a batch, and what is refused: each proof is held against separate runs."""

from __future__ import annotations

import numpy as np
import pytest

import ronn
from ronn.errors import OptionError

WEIGHTS = "w = Constant<value = float[3,3] {1,2,3,4,5,6,7,8,10}>()\n"
HWC = "float[N,2,4,4] x"

JOINED = {
    "pointwise": "(float[N,3] x) => (float[N,3] y) { a = Sigmoid(x)\n y = Add(a, x) }",
    "shared": "(float[N,3] x, float[3] s) => (float[N,3] y) { y = Mul(x, s) }",
    "outer": "(float[N,3] x) => (y) { c = Constant<value = float[2,1,1] {1,2}>()\n y = Mul(x, c) }",
    "matmul": "(float[N,3] x) => (y) { " + WEIGHTS + "y = MatMul(x, w) }",
    "from the right": "(float[3,N] x) => (y) { " + WEIGHTS + "y = MatMul(w, x) }",
    "gemm": "(float[3,N] x) => (y) { " + WEIGHTS + "b = Constant<value = float[3] {1,2,3}>()\n"
    "t = Transpose(x)\n y = Gemm<transB=1>(t, w, b) }",
    "batched matmul": "(float[N,2,3] x) => (y) { t = Transpose<perm=[0,2,1]>(x)\n y = MatMul(x, t) }",
    "softmax": "(float[N,3] x) => (y) { y = Softmax(x) }",
    "conv": f"({HWC}) => (y) {{ w = Constant<value = float[1,2,1,1] {{1,2}}>()\n y = Conv(x, w) }}",
    "pool": f"({HWC}) => (y) {{ y = MaxPool<kernel_shape=[2,2]>(x) }}",
    "flattened": f"({HWC}) => (y) {{ y = Flatten(x) }}",
    "reshape": f"({HWC}) => (y) {{ s = Constant<value = int64[3] {{0,8,4}}>()\n y = Reshape(x, s) }}",
    "rows into rows": "(float[N,2,3] x) => (y) { s = Constant<value = int64[2] {-1,3}>()\n r = Reshape(x, s)\n"
    + WEIGHTS + "m = MatMul(r, w)\n t = Constant<value = int64[3] {-1,2,3}>()\n y = Reshape(m, t) }",
    "by the shape": "(float[N,2,3] x) => (y) { h = Shape(x)\n z = Constant<value = int64[1] {0}>()\n n = Gather(h, z)\n"
    "k = Constant<value = int64[1] {6}>()\n s = Concat<axis=0>(n, k)\n y = Reshape(x, s) }",
    "heads": "(float[N,2,6] x) => (y) { s = Constant<value = int64[4] {0,0,3,2}>()\n r = Reshape(x, s)\n"
    "q = Transpose<perm=[0,2,1,3]>(r)\n k = Transpose<perm=[0,2,3,1]>(r)\n p = MatMul(q, k)\n a = Softmax(p)\n"
    "v = MatMul(a, q)\n b = Transpose<perm=[0,2,1,3]>(v)\n t = Constant<value = int64[3] {0,0,6}>()\n"
    "y = Reshape(b, t) }",
    "class token": "(float[N,2,3] x) => (y) { c = Constant<value = float[1,1,3] {7,8,9}>()\n"
    "h = Shape<start=0,end=1>(x)\n o = Constant<value = int64[2] {1,3}>()\n s = Concat<axis=0>(h, o)\n"
    "e = Expand(c, s)\n y = Concat<axis=1>(e, x) }",
    "mean of features": "(float[N,2,3] x) => (y) { y = ReduceMean<keepdims=0>(x, a) }",
    "argmax": "(float[N,3] x) => (y) { y = ArgMax<axis=1,keepdims=0>(x) }",
    "top": "(float[N,3] x) => (y, i) { k = Constant<value = int64[1] {2}>()\n y, i = TopK(x, k) }",
    "slice": "(float[N,3] x) => (y) { s = Constant<value = int64[1] {1}>()\n e = Constant<value = int64[1] {3}>()\n"
    "y = Slice(x, s, e, s) }",
    "split": "(float[N,4] x) => (a, b) { a, b = Split<axis=1,num_outputs=2>(x) }",
    "pad": "(float[N,3] x) => (y) { p = Constant<value = int64[4] {0,1,0,2}>()\n y = Pad(x, p) }",
    "embedding": "(int64[N,2] x) => (y) { " + WEIGHTS + "y = Gather(w, x) }",
    "column": "(float[N,3] x) => (y) { i = Constant<value = int64 {1}>()\n y = Gather<axis=1>(x, i) }",
    "one hot": "(int64[N] x) => (y) { d = Constant<value = int64 {3}>()\n v = Constant<value = float[2] {0,1}>()\n"
    "y = OneHot(x, d, v) }",
    "einsum": "(float[N,3] x) => (y) { " + WEIGHTS + "y = Einsum<equation = \"bi,ij->jb\">(x, w) }",
    "layer norm": "(float[N,3] x) => (y) { s = Constant<value = float[3] {1,2,3}>()\n y = LayerNormalization(x, s) }",
    "batch norm": f"({HWC}) => (y) {{ c = Constant<value = float[2] {{1,2}}>()\n"
    "y = BatchNormalization(x, c, c, c, c) }",
    "upsampled": f"({HWC}) => (y) {{ r = Constant<value = float[4] {{1,1,2,2}}>()\n y = Resize(x, , r) }}",
    "rows at axis 1": "(float[2,N] x) => (y) { y = CumSum(x, a) }",
    "If": "(float[N,3] x, bool c) => (y) { y = If(c) <then_branch = t () => (float[N,3] p) { p = Neg(x) }, "
    "else_branch = e () => (float[N,3] q) { q = Abs(x) }> }",
    "own entry": "(float[N,3] x, int64[N,1] i) => (y) { h = Shape<start=0,end=1>(x)\n q = Squeeze(h)\n"
    "z = Constant<value = int64 {0}>()\n o = Constant<value = int64 {1}>()\n r = Range(z, q, o)\n"
    "l = Constant<value = int64[1] {1}>()\n u = Unsqueeze(r, l)\n t = Concat<axis=1>(u, i)\n y = GatherND(x, t) }",
    "only the shape of": "(float[N,3] x) => (y) { m = Softmax<axis=0>(x)\n s = Shape(m)\n"
    "c = ConstantOfShape<value = float[1] {2}>(s)\n y = Mul(x, c) }",
    "quantised": "(float[N,3] x) => (y) { s = Constant<value = float {0.5}>()\n q = QuantizeLinear(x, s)\n"
    "y = DequantizeLinear(q, s) }",
    "several dims": "(float[A,3] x, float[B,3] z) => (y) { y = Add(x, z) }",
    "no names": "(float[?,3] x) => (y) { y = Neg(x) }",
}  # fmt: skip

REFUSED = {
    "mean of the batch": ("(float[N,3] x) => (y) { y = ReduceMean(x) }", "reduces all axes"),
    "along the rows": ("(float[N,3] x) => (float[N,3] y) { y = Softmax<axis=0>(x) }", "works along the rows"),
    "centred": ("(float[N,3] x) => (float[N,3] y) { z = Constant<value = int64[1] {0}>()\n m = ReduceMean(x, z)\n"
                "y = Sub(x, m) }", "along the rows"),
    "one scale": ("(float[N,3] x) => (y) { q, s, p = DynamicQuantizeLinear(x)\n y = DequantizeLinear(q, s, p) }",
                  "one scale is taken over all rows"),
    "distances": ("(float[N,3] x) => (y) { t = Transpose(x)\n y = MatMul(x, t) }", "both operands have rows"),
    "gram": ("(float[N,3] x) => (y) { t = Transpose(x)\n y = MatMul(t, x) }", "both operands have rows"),
    "torn": ("(float[2,N] x) => (y) { s = Constant<value = int64[1] {-1}>()\n y = Reshape(x, s) }", "tear requests"),
    "number of rows": ("(float[N,3] x) => (y) { h = Shape(x)\n f = Cast<to=1>(h)\n y = ReduceSum(f) }",
                       "computed from the number of rows"),
    "divided by it": ("(float[N,3] x) => (y) { h = Shape<start=0,end=1>(x)\n f = Cast<to=1>(h)\n y = Div(x, f) }",
                      "computed from the number of rows"),
    "numbered": ("(float[N] x) => (y) { h = Shape(x)\n q = Squeeze(h)\n z = Constant<value = int64 {0}>()\n"
                 "o = Constant<value = int64 {1}>()\n r = Range(z, q, o)\n f = Cast<to=1>(r)\n y = Add(x, f) }",
                 "computes with the numbers of rows"),
    "numbers": ("(float[N] x) => (y) { h = Shape(x)\n q = Squeeze(h)\n z = Constant<value = int64 {0}>()\n"
                "o = Constant<value = int64 {1}>()\n y = Range(z, q, o) }", "computed from the number of rows"),
    "others' entries": ("(float[N,3] x, int64[N,1] i) => (y) { h = Shape<start=0,end=1>(x)\n q = Squeeze(h)\n"
                        "z = Constant<value = int64 {0}>()\n o = Constant<value = int64 {1}>()\n r = Range(z, q, o)\n"
                        "l = Constant<value = int64[1] {1}>()\n u = Unsqueeze(r, l)\n t = Concat<axis=1>(i, u)\n"
                        "y = GatherND(x, t) }", "computes with the numbers of rows"),
    "one of them": ("(float[N,3] x) => (y) { z = Constant<value = int64 {0}>()\n y = Gather(x, z) }",
                    "picks among the rows"),
    "first rows": ("(float[N,3] x) => (y) { z = Constant<value = int64[1] {0}>()\n"
                   "e = Constant<value = int64[1] {2}>()\n y = Slice(x, z, e) }", "cuts along the rows"),
    "shifted": ("(float[N,3] x) => (y) { p = Constant<value = int64[4] {1,0,-1,0}>()\n y = Pad(x, p) }",
                "pads along the rows"),
    "indices": (f"({HWC}) => (y, i) {{ y, i = MaxPool<kernel_shape=[2,2]>(x) }}", "count through all rows"),
    "unknown": ("(float[N,3] x) => (y) { y = NonZero(x) }", "nothing is known of how it treats the rows"),
    "fixed": ("(float[1,3] x) => (y) { y = Neg(x) }", "no dim of the inputs"),
    "square": ("(float[N,N] x) => (y) { y = Neg(x) }", "no dim of the inputs"),
    "constant": ("(float[N,3] x) => (y) { y = Constant<value = float[2] {1,2}>() }", "no output depends"),
}  # fmt: skip


def text(body: str) -> str:
    """The body of a case as a model: outputs without a type get one of unknown shape."""
    head, _, rest = body.partition("=> (")
    outputs, _, tail = rest.partition(")")
    typed = [o if " " in o.strip() else f"float[] {o.strip()}" for o in outputs.split(", ")]
    return f"agraph {head}=> ({', '.join(typed)}) {tail.strip()}"


def axes_of_one(body: str) -> str:
    """``a`` stands for the constant axis 1 (or [1]) in a few cases."""
    if "ReduceMean" in body:
        return body.replace("{ y", "{ a = Constant<value = int64[1] {1}>()\n y")
    return body.replace("{ y", "{ a = Constant<value = int64 {0}>()\n y")


def feed_of(session: ronn.Session, rows: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    out = {}
    for info in session.inputs:
        shape = tuple(rows if not isinstance(d, int) else d for d in info.shape or ())
        if info.dtype == "int64":
            out[info.name] = rng.integers(0, 3, shape)
        elif info.dtype == "bool":
            out[info.name] = np.array(True)
        elif len(shape) == 1:
            out[info.name] = np.arange(3, dtype=np.float32)  # a shared input: the same in all requests
        else:
            out[info.name] = rng.normal(size=shape).astype(np.float32)
    return out


@pytest.fixture
def make_case(untyped):
    """Makes a session of the body of a case."""

    def make(body: str) -> ronn.Session:
        body = axes_of_one(body) if ", a)" in body else body
        return ronn.Session(untyped(text(body)), providers=["reference"])

    return make


@pytest.mark.parametrize("name", JOINED)
def test_joined_runs_give_what_separate_ones_do(name: str, make_case) -> None:
    session = make_case(JOINED[name])
    batching = session.batching()
    assert batching.joins and batching.proved, str(batching)
    requests = [feed_of(session, rows, i) for i, rows in enumerate((1, 2, 1, 3, 1))]
    before = session.stats().runs
    joined = session.run_batch(requests, max_batch=8)
    assert session.stats().runs == before + 1, "all rows fit one run"
    for request, got in zip(requests, joined, strict=True):
        want = session.run(request)
        for a, b in zip(got, want, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", REFUSED)
def test_rows_that_touch_each_other_are_refused(name: str, make_case) -> None:
    body, reason = REFUSED[name]
    session = make_case(body)
    batching = session.batching()
    assert not batching.joins
    assert reason in batching.reason
    assert str(batching) == f"requests run one by one: {batching.reason}"


def test_the_reason_names_the_node(make_case) -> None:
    session = make_case("(float[N,3] x) => (float[N,3] y) { y = Softmax<axis=0>(x) }")
    assert session.batching().reason.startswith("Softmax 'Softmax->%y': ")


def test_the_axes_are_told(make_case) -> None:
    session = make_case("(float[2,N,3] x, float[N,3] z, float[3] s) => (y, t) { y = Mul(x, s)\n t = Neg(z) }")
    batching = session.batching()
    assert (batching.dim, batching.inputs, batching.outputs) == ("N", {"x": 1, "z": 0, "s": None}, {"y": 1, "t": 0})
    assert str(batching) == (
        "requests are joined along N (no row touches another): x axis 1, z axis 0, s shared -> y axis 1, t axis 0"
    )


def test_a_fixed_dim_is_not_joined(session) -> None:
    made = session("agraph (float[N,3] x) => (float[N,3] y) { y = Neg(x) }", dimensions={"N": 1})
    assert not made.batching().joins


def test_the_caller_may_know_better(make_case) -> None:
    session = make_case("(float[N,3] x) => (float[N,3] y) { q, s, p = DynamicQuantizeLinear(x)\n"
                        "y = DequantizeLinear(q, s, p) }")  # fmt: skip
    requests = [np.full((1, 3), i, np.float32) for i in range(4)]
    before = session.stats().runs
    session.run_batch(requests)
    assert session.stats().runs == before + 4
    session.run_batch(requests, join=True)
    assert session.stats().runs == before + 5


def test_shapes_that_cannot_be_joined_are_an_error(make_case) -> None:
    session = make_case("(float[N,3] x) => (y) { y = ReduceMean(x) }")
    with pytest.raises(OptionError, match=r"(?s)join=True.*reduces all axes"):
        session.run_batch([np.zeros((1, 3), np.float32)], join=True)
