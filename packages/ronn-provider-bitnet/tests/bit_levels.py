"""Levels of instructions that tests run at."""

from __future__ import annotations

import pytest

from ronn_codegen.native.machine import machine


def needs(level: str) -> None:
    """Skips only where this processor has no such instructions; anything else is an error."""
    try:
        if level != "none":
            machine(level)
    except ValueError as e:
        pytest.skip(str(e))
