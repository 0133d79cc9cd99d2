"""What RONN says in words: the debug ladder, and messages of the loggers below ``ronn``.

Nobody can hear a logger in a process that has not imported ``logging``: RONN does not import it for them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ronn import knobs

RUNGS = ("providers", "timings", "assignment", "source", "ir", "ir.passes")
"""The rungs of the ladder from 1 on: each is a logger below ``ronn``."""

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40
_loggers: dict[str, Any] = {}


def say(rung: int, text: str | Callable[[], str]) -> None:
    """Writes ``text`` (or what it returns: made only when needed) to stderr when RONN_DEBUG is at least ``rung``.

    Programs get it as a record of the rung's logger: of level DEBUG for rung 1, and one less for each further rung, so
    that a program that logs everything down to DEBUG is not flooded with graphs.
    """
    shown = knobs.DEBUG.get() >= rung
    logger = _logger(RUNGS[rung - 1])
    level = DEBUG + 1 - rung
    logged = logger is not None and logger.isEnabledFor(level)
    if shown or logged:
        made = text if isinstance(text, str) else text()
        if logged:
            logger.log(level, "%s", made)
        if shown:
            write(made)


def tell(level: int, where: str, text: str, *, error: BaseException | None = None) -> None:
    """A record of the logger ``ronn.<where>``. Without handlers of the program's own nothing is printed."""
    logger = _logger(where)
    if logger is not None:
        logger.log(level, "%s", text, exc_info=error)


def write(text: str) -> None:
    """A line on stderr, where there is one (windowed programs have none)."""
    if sys.stderr is not None:
        sys.stderr.write(text + "\n")


def _logger(where: str) -> Any:
    """The logger ``ronn.<where>``; None in a process without ``logging``."""
    found = _loggers.get(where)
    if found is None:
        logging = sys.modules.get("logging")
        if not hasattr(logging, "NullHandler"):  # absent, or just being imported
            return None
        assert logging is not None
        root = logging.getLogger("ronn")
        if not root.handlers:
            root.addHandler(logging.NullHandler())  # else Python prints warnings of loggers that nobody configured
        found = _loggers[where] = logging.getLogger(f"ronn.{where}")
    return found
