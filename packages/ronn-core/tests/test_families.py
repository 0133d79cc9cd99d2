"""Families of operators: what is imported, and when."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from ronn.ir.graph import Node, Value
from ronn.ir.types import DType, TensorType
from ronn.provider import Families, KernelSet

_KERNEL = """
from ronn.provider import kernel

@kernel("{op}", since={since})
def {name}(ctx, x):
    return x + {since}
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of three modules with kernels for Abs, Neg and again Neg."""
    name = "families_of_a_test"
    folder = tmp_path / name
    folder.mkdir()
    for module, op, since in (("__init__", "", 0), ("one", "Abs", 6), ("two", "Neg", 6), ("three", "Neg", 13)):
        text = _KERNEL.format(op=op, since=since, name=module) if op else ""
        (folder / f"{module}.py").write_text(text, encoding="utf-8")
    (folder / "_private.py").write_text("raise AssertionError", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    for module in [m for m in sys.modules if m.partition(".")[0] == name]:
        del sys.modules[module]


def loaded(package: str) -> list[str]:
    return sorted(m.partition(".")[2] for m in sys.modules if m.startswith(f"{package}."))


def node(op: str) -> Node:
    x = Value("x", TensorType(DType.FLOAT32, (2,)))
    return Node(op, [x], [Value("y", None)], version=13)


def test_an_operator_imports_its_modules_alone(package: str) -> None:
    kernels = KernelSet(families=Families(package, {"one": "Abs", "two": "Neg", "three": "Neg"}))
    assert loaded(package) == []
    found, verdict = kernels.select(node("Abs"))
    assert found is not None and verdict
    assert loaded(package) == ["one"]
    found, _ = kernels.select(node("Neg"))
    assert found is not None and found.since == 13
    assert loaded(package) == ["one", "three", "two"]


def test_an_operator_that_the_index_lacks_is_looked_for_everywhere(package: str) -> None:
    kernels = KernelSet(families=Families(package, {"one": "Abs"}))
    found, _ = kernels.select(node("Neg"))
    assert found is not None and found.fn(None, np.float32(1)) == 14
    none, verdict = kernels.select(node("Relu"))
    assert none is None and "no kernel for Relu" in str(verdict)


def test_all_kernels_are_listed_once(package: str) -> None:
    kernels = KernelSet(families=Families(package, {"one": "Abs"}))
    kernels.select(node("Abs"))
    assert sorted((k.op, k.since) for k in kernels) == [("Abs", 6), ("Neg", 6), ("Neg", 13)]


def test_kernels_added_by_hand_stand_beside_those_of_the_family(package: str) -> None:
    families = Families(package, {"one": "Abs", "two": "Neg", "three": "Neg"})
    (extra,) = [k for k in KernelSet(families=families) if k.since == 13]
    kernels = KernelSet([extra], families)
    assert [k.since for k in kernels._candidates("", "Neg")] == [13, 13, 6]
