"""The class that providers derive from: what fails the build, what is rewritten, what is skipped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import ronn_testkit.mutants
import ronn_testkit.suite
import ronn_testkit.timing  # noqa: F401  (all before pytester takes note of the modules that are loaded)
from ronn.plugins import registry
from ronn_testkit import onnx_cases
from ronn_testkit.checks import CHECKS
from ronn_testkit.onnx_cases import Result

pytest_plugins = ["pytester"]
registry()

SUITE = """
from ronn_testkit import ProviderSuite
from ronn_testkit.mutants import {provider}

class TestConformance(ProviderSuite):
    provider = {provider}
"""

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def conformance(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a suite whose ONNX tests come out as told."""

    def run(results: list[Result], *arguments: str, provider: str = "Correct", **files: str) -> pytest.RunResult:
        monkeypatch.setattr(onnx_cases, "run", lambda backend, names=None: results)
        monkeypatch.setattr(onnx_cases, "opsets", lambda: {"test_a": 6})
        pytester.makepyfile(test_it=SUITE.format(provider=provider))
        for name, text in files.items():
            pytester.path.joinpath(f"{name}.txt").write_text(text)
        return pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", *arguments)

    return run


HEAD = "# onnx 1.23\n# columns: native\n"
PASS, FAIL = Result("test_a", "node", True), Result("test_a", "node", False, "ValueError: bad")
REFUSED = Result("test_a", "node", False, "PlacementError: none", refused=True)


@pytest.mark.parametrize(
    ("result", "lists", "complaint"),
    [
        (PASS, {"passes": HEAD + "test_a since:6 native\n"}, ""),
        (PASS, {"passes": HEAD}, "*test_a passes native but is not listed*"),
        (REFUSED, {"passes": HEAD + "test_a since:6 native\n"}, "*test_a is listed as native but fails*"),
        (REFUSED, {"passes": HEAD}, ""),
        (FAIL, {"passes": HEAD}, "*test_a is claimed but fails: ValueError: bad*"),
        (FAIL, {"passes": HEAD, "known_failures": "test_a rounds twice\n"}, ""),
        (
            PASS,
            {"passes": HEAD + "test_a since:6 native\n", "known_failures": "test_a rounds twice\n"},
            "*test_a is a known failure (rounds twice) but passes*",
        ),
        (PASS, {}, "*test_a passes native but is not listed*"),
    ],
)
def test_lists_decide(conformance: Run, result: Result, lists: dict[str, str], complaint: str) -> None:
    if not lists:
        lists = {"passes": "# onnx 1.23\n"}
    done = conformance([result], "-k", "onnx_suite", **lists)
    done.assert_outcomes(passed=0 if complaint else 1, failed=1 if complaint else 0, deselected=len(CHECKS))
    if complaint:
        done.stdout.fnmatch_lines([complaint, "*--ronn-update-passes rewrites the list*"])


def test_update_writes_the_list(conformance: Run, pytester: pytest.Pytester) -> None:
    done = conformance([PASS], "-k", "onnx_suite", "--ronn-update-passes")
    done.assert_outcomes(passed=1, deselected=len(CHECKS))
    assert pytester.path.joinpath("passes.txt").read_text().splitlines()[-1].split() == [
        "test_a", "since:6", "native,fallback",
    ]  # fmt: skip
    conformance([PASS], "-k", "onnx_suite").assert_outcomes(passed=1, deselected=len(CHECKS))


def test_report_is_written(conformance: Run, pytester: pytest.Pytester, tmp_path: Path) -> None:
    done = conformance([PASS], "-k", "onnx_suite or options", f"--ronn-report={tmp_path}", passes="# onnx 1.0\n")
    done.assert_outcomes(passed=2, deselected=len(CHECKS) - 1)
    assert {p.name for p in tmp_path.iterdir()} == {"correct.json", "correct.md", "correct.svg"}
    assert "| options | passed |" in (tmp_path / "correct.md").read_text()


def test_absent_hardware_skips_with_the_reason(conformance: Run) -> None:
    done = conformance([], "-rs", "-k", "options or import or onnx_suite", provider="Absent")
    done.assert_outcomes(passed=1, skipped=2, deselected=len(CHECKS) - 2)
    done.stdout.fnmatch_lines(["*no such device in this machine*"])


def test_provider_that_is_not_installed_fails(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("from ronn_testkit import ProviderSuite\nclass TestC(ProviderSuite):\n    provider = 'nope'\n")
    done = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", "-k", "options")
    done.stdout.fnmatch_lines(["*provider 'nope' is not installed*"])
    assert done.ret == 1
