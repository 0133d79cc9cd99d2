"""The debug ladder: text to stderr at and above a level of ``RONN_DEBUG``."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ronn import knobs


def say(level: int, text: str | Callable[[], str]) -> None:
    """Writes ``text`` (or what it returns: made only when needed) when RONN_DEBUG is at least ``level``."""
    if knobs.DEBUG.get() >= level:
        sys.stderr.write((text if isinstance(text, str) else text()) + "\n")
