"""Every check catches the mutants made for it, and lets a right provider through."""

from __future__ import annotations

import pytest

from ronn_testkit.checks import CHECKS, discovery
from ronn_testkit.mutants import MUTANTS, Absent, Correct
from ronn_testkit.subject import CheckFailed, Subject

# "numerics" finds the first difference by drawing cases: give it enough of them.
EXAMPLES = {"numerics": 40, "layouts": 6}


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_mutant_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    provider, check = MUTANTS[name]
    monkeypatch.setattr(discovery, "IMPORT_SECONDS", 1.0)
    with pytest.raises(CheckFailed) as caught:
        CHECKS[check](Subject(provider, examples=EXAMPLES.get(check, 6)))
    assert str(caught.value)


@pytest.mark.parametrize("check", list(CHECKS))
def test_right_provider_passes(check: str) -> None:
    CHECKS[check](Subject(Correct, examples=EXAMPLES.get(check, 6)))


def test_every_check_has_a_mutant() -> None:
    assert set(CHECKS) == {check for _, check in MUTANTS.values()}


def test_absent_hardware_is_no_failure() -> None:
    for check in ("import", "absence"):
        CHECKS[check](Subject(Absent))
    assert Subject(Absent).available == "no such device in this machine"
