"""Every case on RONN, against what onnxruntime 1.32 does: recorded, and checked where it is installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import cases_types  # noqa: F401
import cases_values  # noqa: F401
from cases import CASES, CLASSES
from outcome import EXPECTED, outcome

import ronn.compat.onnxruntime as ronn_ort

WANTED = json.loads(EXPECTED.read_text(encoding="utf-8"))
RECORDED_WITH = "1.32"


def found(name: str, module: Any) -> Any:
    fn = CASES.get(name, CLASSES.get(name))
    assert fn is not None
    got = outcome(fn, module)
    if name in CLASSES:
        got.pop("text", None)
    return json.loads(json.dumps(got))


@pytest.mark.parametrize("name", [*CASES, *CLASSES])
def test_ronn_does_as_onnxruntime(name: str) -> None:
    assert found(name, ronn_ort) == WANTED[name]


@pytest.mark.parametrize("name", [*CASES, *CLASSES])
def test_the_record_is_what_onnxruntime_does(name: str) -> None:
    real = pytest.importorskip("onnxruntime")
    if not real.__version__.startswith(RECORDED_WITH):
        pytest.skip(f"recorded with onnxruntime {RECORDED_WITH}")
    assert found(name, real) == WANTED[name]


def test_nothing_recorded_is_left_over() -> None:
    assert WANTED.keys() == {*CASES, *CLASSES}
