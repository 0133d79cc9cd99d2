"""How programs are compared; the programs themselves run in ``nox -s clients``."""

from __future__ import annotations

import math
from typing import Any

import pytest

from benchmarks.clients.compare import Outcome, compare, count, differences, table
from benchmarks.clients.programs import PROGRAMS, Program

TOY = Program("toy", "use_toy", "`toy()`", ("toy==1",), tolerance=1e-3, superset=("passed",))


@pytest.mark.parametrize(
    ("wanted", "got", "where"),
    [
        ({"a": [1.0, "x"]}, {"a": [1.0005, "x"]}, []),
        ({"a": [1.0, "x"]}, {"a": [1.01, "x"]}, [".a[0]"]),
        ({"a": 1e-9}, {"a": -1e-9}, []),
        ({"a": [1, 2]}, {"a": [1, 2, 3]}, [".a"]),
        ({"a": 1}, {"a": 1.0}, [".a"]),
        ({"a": True}, {"a": 1}, [".a"]),
        ({"a": 1}, {"b": 1}, [""]),
        ({"a": math.nan}, {"a": math.nan}, []),
        ({"a": None}, {"a": None}, []),
        ({"a": "x", "b": ["y"]}, {"a": "z", "b": ["w"]}, [".a", ".b[0]"]),
    ],
)
def test_differences(wanted: Any, got: Any, where: list[str]) -> None:
    assert [d.partition(":")[0] for d in differences(wanted, got, 1e-3)] == where


def test_more_names_than_wanted_are_fine_where_said() -> None:
    outcome = compare(TOY, {"passed": ["a", "b"], "n": 1}, {"passed": ["b", "a", "c"], "n": 1})
    assert (outcome.differences, outcome.more, outcome.values) == ([], 1, 3)
    assert compare(TOY, {"passed": ["a"]}, {"passed": []}).differences == [".passed: lacks a"]


def test_count() -> None:
    assert count({"a": [1, "x", [None]], "b": {}}) == 3


def test_the_table_says_what_differs() -> None:
    other = Program("other", "use_other", "`other()`", needs=("onnx==1", "pillow"))
    programs = (TOY, other, Program("third", "use_third", ""))
    page = table({"toy": Outcome([], 7, 2), "other": Outcome([".a: 1 and 2", ".b"], 8)}, programs)
    assert "| toy (toy 1) | `toy()` | 7 | 0.001 | same; 2 more pass with RONN |" in page
    assert "| other (onnx 1) | `other()` | 8 | 0.0001 | 2 differ: .a: 1 and 2 |" in page
    assert "1 of 2 programs give the same result." in page
    assert "Not run yet: third." in page


def test_every_program_has_a_script_of_its_own() -> None:
    assert all(p.path.is_file() for p in PROGRAMS)
    assert len({p.name for p in PROGRAMS}) == len({p.script for p in PROGRAMS}) == len(PROGRAMS)
