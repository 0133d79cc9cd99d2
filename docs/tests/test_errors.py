"""Wrong uses print errors that name the thing and the cure."""

from __future__ import annotations

import importlib.util
import pickle
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from ronn.errors import RonnError

DOCS = Path(__file__).parent.parent


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_wrong_uses", DOCS / "wrong_uses.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


uses = load()


@pytest.fixture(scope="module")
def names() -> Iterator[dict[str, object]]:
    with uses.folder() as found:
        yield found


@pytest.mark.parametrize("wrong", uses.WRONG, ids=lambda w: w.title)
def test_the_error_names_the_thing_and_the_cure(wrong, names) -> None:
    error = uses.outcome(wrong, names)
    text = str(error)
    assert [n for n in wrong.names if n not in text] == []
    assert isinstance(error, RonnError)
    if wrong.cures:
        assert error.hint is not None and [c for c in wrong.cures if c not in error.hint] == []
    assert str(pickle.loads(pickle.dumps(error))) == text
    # Nothing that differs from one machine, run or process to the next.
    assert not re.search(r"0x[0-9a-f]{6,}|/tmp|\\Temp", text)


def test_the_threat_model_names_tests_that_exist() -> None:
    there = {p.name for p in (DOCS.parent / "packages").rglob("test_*.py")}
    named = set(re.findall(r"test_\w+\.py", (DOCS / "security.md").read_text(encoding="utf-8")))
    assert len(named) > 15 and named - there == set()


def test_the_list_has_what_people_get_wrong_most() -> None:
    titles = " ".join(w.title.lower() for w in uses.WRONG)
    for word in (
        "input name", "dtype", "shape", "missing input", "corrupt", "unsupported operator", "provider", "memory limit",
        "timeout", "typo in an option", "cancelled",
    ):  # fmt: skip
        assert word in titles
    assert [w.title for w in uses.WRONG if not w.cures] == ["A run that is cancelled"]
