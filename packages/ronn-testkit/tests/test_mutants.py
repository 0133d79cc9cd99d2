"""Every check catches the mutants made for it, and lets a right provider through."""

from __future__ import annotations

import pytest

from ronn_testkit import mutants_kept  # noqa: F401  (registers its own)
from ronn_testkit.checks import CHECKS, concurrency, discovery
from ronn_testkit.mutants import MUTANTS, Absent, Correct
from ronn_testkit.subject import CheckFailed, NotApplicable, Subject

# "numerics" finds the first difference by drawing cases: give it enough of them.
EXAMPLES = {"numerics": 40, "layouts": 6}


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_mutant_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    provider, check = MUTANTS[name]
    monkeypatch.setattr(discovery, "IMPORT_SECONDS", 1.0)
    monkeypatch.setattr(concurrency, "CHILD_SECONDS", 5.0)
    with pytest.raises(CheckFailed) as caught:
        CHECKS[check](Subject(provider, examples=EXAMPLES.get(check, 6)))
    assert str(caught.value)


@pytest.mark.parametrize("check", [c for c in CHECKS if c != "cache"])
def test_right_provider_passes(check: str) -> None:
    CHECKS[check](Subject(Correct, examples=EXAMPLES.get(check, 6)))


def test_a_provider_without_files_has_none_to_be_checked() -> None:
    with pytest.raises(NotApplicable, match="keeps no files"):
        CHECKS["cache"](Subject(Correct))


def test_every_check_has_a_mutant() -> None:
    assert set(CHECKS) == {check for _, check in MUTANTS.values()}


def test_absent_hardware_is_no_failure() -> None:
    for check in ("import", "absence"):
        CHECKS[check](Subject(Absent))
    assert Subject(Absent).available == "no such device in this machine"
