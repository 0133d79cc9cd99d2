"""Settings of all tests of the core: graphs are verified after every pass and stage."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _verify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RONN_VERIFY", "1")
