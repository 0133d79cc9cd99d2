"""narrow-gather: rows are picked before a table is computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ronn.passes.narrow_gather import narrow_gather

HEAD = """  %t: i8[4,3] = const {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
  %row: f32[4,1] = const {0.5, 1.5, 2.5, 3.5}
  %one: f32[1,1] = const {2.0}
  %col: f32[3] = const {1.0, 2.0, 3.0}
"""


def text(body: str, index: str = "i64[N,2]", outputs: str = "%y") -> str:
    return f'opset {{"": 17}}\ngraph g(%i: {index}) {{\n{HEAD}{body}\n  return {outputs}\n}}\n'


@pytest.mark.parametrize("operand", ["row", "one", "col"])
@pytest.mark.parametrize("index", ["i64[N,2]", "i64[]", "i32[3]"])
def test_cast_and_scale(apply: Any, operand: str, index: str) -> None:
    rng = np.random.default_rng(0)
    shape, dtype = {"i64[N,2]": ((3, 2), np.int64), "i64[]": ((), np.int64), "i32[3]": ((3,), np.int32)}[index]
    feeds = {"i": np.asarray(rng.integers(-4, 4, shape)).astype(dtype)}
    body = f"%f = Cast(%t) {{to=1}}\n%s = Mul(%f, %{operand})\n%y = Gather(%s, %i)"
    done = apply(narrow_gather, text(body, index), feeds=feeds)
    assert sorted(done.ops) == ["Cast", *["Gather"] * (2 if operand == "row" else 1), "Mul"]
    assert done.ops[-1] == "Mul"


@pytest.mark.parametrize(
    "body",
    [
        "%f = Cast(%t) {to=1}\n%y = Gather(%f, %i) {axis=1}",
        "%f = Cast(%t) {to=1}\n%s = ReduceSum(%f)\n%y = Gather(%s, %i)",
        "%y = Gather(%t, %i)",
    ],
)
def test_what_stays(apply: Any, body: str) -> None:
    assert not apply(narrow_gather, text(body), compare=False).changed


def test_table_that_others_use_stays(apply: Any) -> None:
    body = "%f = Cast(%t) {to=1}\n%y = Gather(%f, %i)"
    assert not apply(narrow_gather, text(body, outputs="%y, %f"), compare=False).changed
