"""The conformance test of a provider, as a class to derive from.

    from ronn_testkit import ProviderSuite

    class TestConformance(ProviderSuite):
        provider = "cpu"

Beside the file that holds the class stand ``passes.txt``, the positive list of ONNX tests that the provider passes, and
(where needed) ``known_failures.txt``. ``pytest --ronn-update-passes`` rewrites the first.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ronn.provider import Provider
from ronn_testkit import onnx_cases
from ronn_testkit.checks import CHECKS
from ronn_testkit.passes import PassList, differences, fixed, onnx_series, read_known_failures
from ronn_testkit.report import Findings
from ronn_testkit.subject import CheckFailed, NotApplicable, Subject


class ProviderSuite:
    """Set ``provider`` to a name, a Provider class or an instance. The rest has defaults.

    examples: generated cases for each operator and main dtype.
    skip: names of checks that do not apply, each with the reason; the report lists them.
    """

    provider: ClassVar[str | type[Provider] | Provider]
    examples: ClassVar[int] = 6
    skip: ClassVar[dict[str, str]] = {}

    @pytest.fixture(scope="class")
    def subject(self, request: pytest.FixtureRequest) -> Subject:
        """The provider under test; tests are skipped, with its reason, where its hardware is absent."""
        return Subject(request.cls.provider, examples=request.cls.examples)

    @pytest.fixture(scope="class")
    def findings(self, subject: Subject, request: pytest.FixtureRequest) -> Findings:
        """Where results for the report go."""
        held: dict[str, Findings] = request.config.stash[FINDINGS]
        return held.setdefault(subject.name, Findings(subject.name))

    @pytest.mark.parametrize("check", list(CHECKS))
    def test_check(self, check: str, subject: Subject, findings: Findings) -> None:
        """One check of the kit."""
        if check in self.skip:
            findings.not_applicable[check] = self.skip[check]
            pytest.skip(self.skip[check])
        if check not in ("import", "absence") and subject.available:
            findings.not_applicable[check] = subject.available
            pytest.skip(f"{subject.name} is unavailable: {subject.available}")
        try:
            CHECKS[check](subject)
        except NotApplicable as e:
            findings.not_applicable[check] = str(e)
            pytest.skip(str(e))
        except Exception as e:
            findings.failed[check] = str(e)
            raise
        findings.passed.append(check)

    def test_onnx_suite(self, subject: Subject, findings: Findings, request: pytest.FixtureRequest) -> None:
        """ONNX's own tests, native and with the reference behind; held against ``passes.txt``."""
        if subject.available:
            pytest.skip(f"{subject.name} is unavailable: {subject.available}")
        folder = Path(sys.modules[type(self).__module__].__file__ or ".").parent
        path, listed = folder / "passes.txt", PassList.read(folder / "passes.txt")
        native = run_native(subject)
        results = {"native": native}
        if "fallback" in listed.columns:
            results["fallback"] = run_with_fallback(subject, native)
        findings.onnx = {column: onnx_cases.counts(r) for column, r in results.items()}
        passed = {column: {r.name for r in rs if r.passed} for column, rs in results.items()}
        if request.config.getoption("--ronn-update-passes"):
            opsets = onnx_cases.opsets()
            since = {name: opsets.get(name, 0) for names in passed.values() for name in names}
            new = PassList(onnx_series(), listed.columns, since=since, **passed)
            new.write(path)
            return
        known = read_known_failures(folder / "known_failures.txt")
        ran = {r.name for r in native}
        wrong = [line for column in passed for line in differences(listed, column, passed[column], ran)]
        wrong += fixed(known, passed["native"])
        wrong += [
            f"{r.name} is claimed but fails: {r.reason}"
            for r in native
            if not (r.passed or r.refused or r.name in known or r.name.startswith(onnx_cases.OUT_OF_REACH))
        ]
        if wrong:
            raise CheckFailed(
                f"{len(wrong)} differences from {path}:\n  " + "\n  ".join(wrong[:40])
                + "\nhint: pytest --ronn-update-passes rewrites the list"
            )  # fmt: skip


def _backend(*names: str) -> Any:
    from ronn.compat.backend import Backend

    return type("Backend", (Backend,), {"providers": list(names)})


def run_native(subject: Subject) -> list[onnx_cases.Result]:
    """The suite with the provider alone."""
    with subject.registered():
        return onnx_cases.run(_backend(subject.name))


def run_with_fallback(subject: Subject, native: list[onnx_cases.Result]) -> list[onnx_cases.Result]:
    """The suite with the reference behind the provider.

    A test that passes natively is the same run with a fallback listed, for every node stays where it is: only the
    others are run again.
    """
    failed = [r.name for r in native if not r.passed]
    if subject.name == "reference":
        return native
    with subject.registered():
        again = {r.name: r for r in onnx_cases.run(_backend(subject.name, "reference"), names=failed)}
    return [again.get(r.name, r) for r in native]


FINDINGS = pytest.StashKey[dict[str, Findings]]()
