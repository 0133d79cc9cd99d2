"""``trace=``: any value by name, and patterns."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ronn
from ronn.ir.graph import IRModel
from ronn.ir.text import parse
from ronn.model import Model

X = np.array([1.0, -2.0], np.float32)
TEXT = """opset {"": 18}
graph g(%x: f32[2], %go: bool[]) {
  %w: f32[2] = const {2.0, 3.0}
  %"a[0]/out" = Mul(%x, %w)
  %"a[1]/out" = Neg(%"a[0]/out")
  %b* = Relu(%"a[1]/out")
  %parts = SplitToSequence(%b*)
  %none = Identity(%b*)
  %y = If(%go) {
    then_branch=graph () {
      %inner = Exp(%none)
      return %inner
    },
    else_branch=graph () {
      %other = Neg(%none)
      return %other
    }
  }  # name="choose"
  return %y
}
""".replace("%b*", '%"b*"')


@pytest.fixture
def session() -> ronn.Session:
    return ronn.Session(Model(IRModel(parse(TEXT), {"": 18}, source="made")), providers=["reference"])


FEED: dict[str, Any] = {"x": X, "go": np.array(True)}


def test_every_name_that_a_value_has(session: ronn.Session) -> None:
    """Of nodes, sequences too, constants, inputs and outputs; a name may look like a pattern."""
    out = session.run(FEED, trace=["a[0]/out", "b*", "parts", "w", "x", "y"])
    assert list(out.keys()) == ["y", "a[0]/out", "b*", "parts", "w", "x"]
    np.testing.assert_array_equal(out["a[0]/out"], [2, -6])
    np.testing.assert_array_equal(out["b*"], [0, 6])
    np.testing.assert_array_equal(out["w"], [2, 3])
    np.testing.assert_array_equal(out["x"], X)
    assert [p.tolist() for p in out["parts"]] == [[0.0], [6.0]]


@pytest.mark.parametrize(
    ("trace", "names"),
    [
        ("*", ["a[0]/out", "a[1]/out", "b*", "parts", "none"]),
        (["a[?]/out"], ["a[0]/out", "a[1]/out"]),
        (["none", "a[1]*", "*/out"], ["none", "a[1]/out", "a[0]/out"]),
        ("parts", ["parts"]),
    ],
)
def test_patterns(session: ronn.Session, trace: Any, names: list[str]) -> None:
    out = session.run(FEED, trace=trace)
    assert list(out.keys()) == ["y", *names]
    assert list(session.run(FEED, outputs=["y"], trace=trace).keys()) == ["y", *names]
    assert list(asyncio.run(session.run_async(FEED, trace=trace)).keys()) == ["y", *names]


@pytest.mark.parametrize(
    ("trace", "text"),
    [
        (["inner"], "inside of a graph that If 'choose' runs"),
        (["nome"], "did you mean 'none'"),
        (["q*"], "no value like 'q\\*' to trace"),
        ("zzzzzz", "trace='\\*' gives them all"),
    ],
)
def test_what_is_not_there(session: ronn.Session, trace: Any, text: str) -> None:
    with pytest.raises(ronn.InputError, match=text):
        session.run(FEED, trace=trace)


def test_traced_values_are_those_of_the_model(tmp_path: Path) -> None:
    """A value that a fusion would swallow is kept, with the numbers that the model gives it."""
    text = """opset {"": 18}
graph g(%x: f32[1,2,6,6]) {
  %k: f32[2,2,1,1] = const {1.0, 2.0, 3.0, 4.0}
  %two: f32[2] = const {2.0, 2.0}
  %zero: f32[2] = const {0.0, 0.0}
  %c = Conv(%x, %k)
  %n = BatchNormalization(%c, %two, %zero, %zero, %two)
  %y = Relu(%n)
  return %y
}
"""
    made = Model(IRModel(parse(text), {"": 18}, source="made"))
    x = np.random.default_rng(0).standard_normal((1, 2, 6, 6)).astype(np.float32)
    plain = ronn.Session(made, providers=["reference"], options={"optimization": "none"}).run([x], trace="*")
    fused = ronn.Session(made, providers=["reference"]).run([x], trace="*")
    assert list(plain.keys()) == list(fused.keys()) == ["y", "c", "n"]
    for name, value in plain.items():
        np.testing.assert_allclose(fused[name], value, rtol=1e-5, atol=1e-6)
