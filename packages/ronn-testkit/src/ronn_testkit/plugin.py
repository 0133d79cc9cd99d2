"""The pytest plugin: options, and the report at the end of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the conformance kit."""
    group = parser.getgroup("ronn-testkit", "RONN provider conformance")
    group.addoption("--ronn-report", metavar="DIR", help="write JSON, Markdown and a badge for each provider")
    group.addoption(
        "--ronn-update-passes", action="store_true", default=False, help="rewrite passes.txt beside each ProviderSuite"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Makes room for findings. Nothing heavy is imported unless a suite is."""
    import sys

    suite = sys.modules.get("ronn_testkit.suite")
    if suite is not None:
        config.stash[suite.FINDINGS] = {}


def pytest_collection_finish(session: pytest.Session) -> None:
    """Suites were imported by now."""
    import sys

    suite = sys.modules.get("ronn_testkit.suite")
    if suite is not None:
        session.config.stash.setdefault(suite.FINDINGS, {})


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes the reports that were asked for."""
    import sys

    folder = session.config.getoption("--ronn-report", default=None)
    suite = sys.modules.get("ronn_testkit.suite")
    if folder is None or suite is None:
        return
    from ronn.plugins import registry
    from ronn_testkit import report
    from ronn_testkit.timing import timings

    for findings in session.config.stash.get(suite.FINDINGS, {}).values():
        known = any(r.name == findings.provider and r.ok for r in registry().records)
        operators = report.coverage(findings.provider) if known else []
        times = timings(findings.provider) if known else []
        report.write(findings, Path(folder), operators=operators, timings=times)
