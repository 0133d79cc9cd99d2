"""If, Loop, Scan and SequenceMap through sessions, captures and nesting included."""

import numpy as np
import onnx
import pytest

import ronn
from ronn.errors import ExecutionError

REFERENCE = ["reference"]


def session(text, **kw):
    return ronn.Session(onnx.parser.parse_model(text), providers=REFERENCE, **kw)


def test_if_captures_from_outside_and_nests():
    s = session("""
        <ir_version: 9, opset_import: ["" : 18]>
        g (float[N] x, bool a, bool b) => (float[N] y) {
            two = Constant<value = float {2.0}>()
            d = Mul(x, two)
            y = If (a) <
                then_branch = t () => (float[N] r1) {
                    r1 = If (b) <
                        then_branch = tt () => (float[N] r2) { r2 = Add(d, x) },
                        else_branch = te () => (float[N] r3) { r3 = Sub(d, two) }>
                },
                else_branch = e () => (float[N] r4) { r4 = Identity(x) }>
        }""")
    x = np.array([1, 2], np.float32)
    for a, b, expected in [(True, True, x * 3), (True, False, x * 2 - 2), (False, True, x)]:
        np.testing.assert_array_equal(s.run({"x": x, "a": np.array(a), "b": np.array(b)})["y"], expected)


LOOP = """
    <ir_version: 9, opset_import: ["" : 18]>
    g (int64 n, bool go, float[K] x) => (y, rows) {
        y, rows = Loop (n, go, x) <body = b (int64 i, bool c, float[K] v) => (bool c2, float[K] v2, float[K] row) {
            one = Constant<value = float {1.0}>()
            v2 = Add(v, one)
            row = Mul(v2, x)
            limit = Constant<value = float {100.0}>()
            total = ReduceSum<keepdims = 0>(v2)
            c2 = Less(total, limit)
        }>
    }"""


@pytest.mark.parametrize("n", [0, 1, 5])
def test_loop_counts_carries_and_stacks(n):
    x = np.array([1, 2], np.float32)
    y, rows = session(LOOP).run({"n": np.array(n), "go": np.array(True), "x": x})
    np.testing.assert_array_equal(y, x + n)
    assert rows.shape == (n, 2)
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(row, (x + i + 1) * x)


def test_loop_stops_by_its_condition():
    x = np.array([40, 40], np.float32)
    y, rows = session(LOOP).run({"n": np.array(1000), "go": np.array(True), "x": x})
    np.testing.assert_array_equal(y, [50, 50])
    assert len(rows) == 10
    assert len(session(LOOP).run({"n": np.array(9), "go": np.array(False), "x": x})["rows"]) == 0


def test_loop_carried_shapes_may_grow():
    s = session("""
        <ir_version: 9, opset_import: ["" : 18]>
        g (int64 n, float[K] x) => (y) {
            t = Constant<value = bool {1}>()
            y = Loop (n, t, x) <body = b (int64 i, bool c, float[M] v) => (bool c2, float[P] w) {
                c2 = Identity(c)
                w = Concat<axis = 0>(v, x)
            }>
        }""")
    x = np.arange(2, dtype=np.float32)
    for n in (0, 3):
        np.testing.assert_array_equal(s.run({"n": np.array(n), "x": x})["y"], np.tile(x, n + 1))


def test_scan_forward_and_backward():
    s = session("""
        <ir_version: 9, opset_import: ["" : 18]>
        g (float[2] s0, float[T, 2] x) => (s, rows) {
            s, rows = Scan <num_scan_inputs = 1, scan_input_directions = [1], scan_output_axes = [1],
                body = b (float[2] a, float[2] v) => (float[2] a2, float[2] r) {
                    a2 = Add(a, v)
                    r = Identity(a2)
                }> (s0, x)
        }""")
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    total, rows = s.run({"s0": np.zeros(2, np.float32), "x": x})
    np.testing.assert_array_equal(total, x.sum(0))
    np.testing.assert_array_equal(rows, np.cumsum(x[::-1], 0).T)


def test_sub_plans_never_hand_out_memory_that_is_used_again():
    """Rows collected over iterations keep their values."""
    x = np.ones(3, np.float32)
    first = session(LOOP).run({"n": np.array(4), "go": np.array(True), "x": x})["rows"]
    np.testing.assert_array_equal(first, np.arange(2, 6, dtype=np.float32)[:, None] * np.ones(3, np.float32))


def test_a_failure_inside_a_body_names_the_inner_node():
    s = session("""
        <ir_version: 9, opset_import: ["" : 18]>
        g (bool a, float[N] x, int64[M] i) => (y) {
            y = If (a) <
                then_branch = t () => (r1) { r1 = Gather(x, i) },
                else_branch = e () => (r2) { r2 = Identity(x) }>
        }""")
    with pytest.raises(ExecutionError, match="Gather"):
        s.run({"a": np.array(True), "x": np.zeros(2, np.float32), "i": np.array([7])})
