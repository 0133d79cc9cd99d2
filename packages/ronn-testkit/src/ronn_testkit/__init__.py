"""Conformance kit for RONN execution providers: derive a test class from ``ProviderSuite``.

    from ronn_testkit import ProviderSuite

    class TestConformance(ProviderSuite):
        provider = "cpu"
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ronn_testkit._version import __version__

if TYPE_CHECKING:
    from ronn_testkit.subject import CheckFailed, NotApplicable, Subject
    from ronn_testkit.suite import ProviderSuite

_HOME = {"ProviderSuite": "suite", "CheckFailed": "subject", "NotApplicable": "subject", "Subject": "subject"}

__all__ = ["CheckFailed", "NotApplicable", "ProviderSuite", "Subject", "__version__"]


def __getattr__(name: str) -> Any:
    # The plugin is imported by every pytest run: what is heavy waits until a suite is used.
    if name not in _HOME:
        raise AttributeError(f"module 'ronn_testkit' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"ronn_testkit.{_HOME[name]}"), name)
