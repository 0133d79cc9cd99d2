"""Libraries of the levels that tests run at."""

from __future__ import annotations

import pytest

from ronn_codegen.native.library import Library, library
from ronn_codegen.native.machine import machine


def library_at(level: str) -> Library:
    """The kernels of a level. Skips only where this processor has no such instructions; anything else is an error."""
    try:
        machine(level)
    except ValueError as e:
        pytest.skip(str(e))
    return library(level)
