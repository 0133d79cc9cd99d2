"""The pipeline as a whole: the limit on rewrites, switching passes off, stages in the debug ladder."""

import itertools

import numpy as np
import onnx
import pytest

import ronn

TEXT = """
    <ir_version: 9, opset_import: ["" : 18]>
    g (float[N, 4] x) => (float[N, 4] y) {
        a = Identity(x)
        b = Identity(a)
        zero = Constant<value = float {0.0}>()
        one = Constant<value = float {1.0}>()
        c = Mul(b, one)
        d = Sub(c, zero)
        y = Relu(d)
    }"""
X = np.array([[-1, 0, 1, 2]], np.float32)


def ops(**options):
    session = ronn.Session(onnx.parser.parse_model(TEXT), providers=["reference"], options=options)
    np.testing.assert_array_equal(session.run(X)["y"], [[0, 0, 1, 2]])
    return [r.op for r in session.placement()]


def test_levels():
    assert ops() == ["Relu"]
    assert "Identity" not in ops(optimization="basic")
    assert ops(optimization="none").count("Identity") == 2


def test_a_pass_can_be_switched_off():
    assert ops(disabled_passes=["simplify-algebra"]) == ["Mul", "Sub", "Relu"]


@pytest.mark.parametrize("limit", range(6))
def test_the_limit_counts_over_stages_and_not_over_signatures(monkeypatch, limit):
    monkeypatch.setenv("RONN_PASS_LIMIT", str(limit))
    session = ronn.Session(onnx.parser.parse_model(TEXT), providers=["reference"])
    placements = []
    for n in (1, 2, 3):
        session.run(np.repeat(X, n, axis=0))
        placements.append(str(session.placement()))
    assert len(set(placements)) == 1
    assert len(placements[0].splitlines()) - 1 >= 5 - limit


def test_debug_ladder_tells_more_the_higher_it_is(monkeypatch, capfd):
    told = []
    for level in range(7):
        monkeypatch.setenv("RONN_DEBUG", str(level))
        ops()
        told.append(capfd.readouterr().err)
    assert told[0] == ""
    assert all(len(a.splitlines()) <= len(b.splitlines()) for a, b in itertools.pairwise(told))
    assert "ms" in told[2] and "assignment" in told[3]
    assert "--- assigned" in told[5] and "after eliminate-identity" in told[6]
