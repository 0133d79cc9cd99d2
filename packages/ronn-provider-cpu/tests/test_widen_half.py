"""widen-half: fewer casts, nearer to float64, and nothing else changed."""

import numpy as np
import onnx
import pytest

import ronn

CHAIN = """
    <ir_version: 9, opset_import: ["" : 18]>
    g (float16[N, 4] x) => (float16[N, 4] y, float16[N, 4] a)
    <float[4, 4] w32 = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16}, float[4] b32 = {0.1,0.2,0.3,0.4}> {
        w = Cast<to = 10>(w32)
        b = Cast<to = 10>(b32)
        m = MatMul(x, w)
        a = Add(m, b)
        r = Relu(a)
        s = Softmax(r)
        y = Mul(s, b)
    }"""


def session(text=CHAIN, **options):
    return ronn.Session(onnx.parser.parse_model(text), providers=["cpu"], options=options)


def ops(s):
    return [r.op for r in s.placement()]


@pytest.mark.parametrize("n", [1, 3])
def test_casts_stand_only_where_float16_is_visible(n):
    wide, plain = session(), session(disabled_passes=["widen-half"])
    assert ops(wide).count("Cast") == 3  # in, and one for each output
    x = np.linspace(-1, 1, 4 * n).reshape(n, 4).astype(np.float16)
    got, direct = wide.run(x), plain.run(x)
    w = np.arange(1, 17, dtype=np.float64).reshape(4, 4)
    b = np.array([0.1, 0.2, 0.3, 0.4]).astype(np.float16).astype(np.float64)
    a = x.astype(np.float64) @ w + b
    e = np.exp(np.maximum(a, 0) - np.maximum(a, 0).max(-1, keepdims=True))
    y = e / e.sum(-1, keepdims=True) * b
    assert got["y"].dtype == got["a"].dtype == np.float16
    np.testing.assert_allclose(got["a"], a, rtol=2e-3, atol=1e-3)
    error, error_plain = (np.abs(o["y"] - y).max() for o in (got, direct))
    assert error <= error_plain + 1e-6


def test_casts_of_the_model_still_round():
    s = session("""
        <ir_version: 9, opset_import: ["" : 18]>
        g (float[N] x) => (float[N] y) {
            h = Cast<to = 10>(x)
            k = Neg(h)
            y = Cast<to = 1>(k)
        }""")
    x = np.array([1.0001, 2.00011], np.float32)
    np.testing.assert_array_equal(s.run(x)["y"], -x.astype(np.float16).astype(np.float32))


def test_a_cast_back_to_float32_sees_the_wide_value():
    s = session("""
        <ir_version: 9, opset_import: ["" : 18]>
        g (float16[N] x) => (float[N] y) {
            e = Exp(x)
            f = Cast<to = 1>(e)
            y = Neg(f)
        }""")
    x = np.array([1, 2], np.float16)
    assert ops(s) == ["Cast", "Exp", "Neg"]
    np.testing.assert_allclose(s.run(x)["y"], -np.exp([1.0, 2.0]), rtol=1e-6)


def test_constants_shared_with_other_users_keep_their_dtype():
    s = session("""
        <ir_version: 9, opset_import: ["" : 18]>
        g (float16[2] x) => (float16[2] y, int64 n) <float[2] c32 = {1, 2}> {
            c = Cast<to = 10>(c32)
            y = Add(x, c)
            q = Cast<to = 7>(c)
            n = ReduceSum<keepdims = 0>(q)
        }""")
    y, n = s.run(np.array([1, 1], np.float16))
    np.testing.assert_array_equal(y, [2, 3])
    assert n == 3 and y.dtype == np.float16


def test_half_captured_by_a_branch():
    s = session("""
        <ir_version: 9, opset_import: ["" : 18]>
        g (float16[2] x, bool c) => (float16[2] y) {
            h = Neg(x)
            y = If (c) <then_branch = t () => (float16[2] p) { p = Abs(h) },
                        else_branch = e () => (float16[2] q) { q = Identity(h) }>
        }""")
    x = np.array([1, -2], np.float16)
    np.testing.assert_array_equal(s.run({"x": x, "c": np.array(True)})["y"], [1, 2])
    np.testing.assert_array_equal(s.run({"x": x, "c": np.array(False)})["y"], [-1, 2])
