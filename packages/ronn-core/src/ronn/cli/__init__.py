"""The ``ronn`` command. Its libraries (typer, rich) come with the extra ``cli``; nothing is imported until it runs."""

from __future__ import annotations

import sys

EXIT_ERROR = 1
"""Something failed: the message says what."""

EXIT_USAGE = 2
"""The command line itself is wrong."""

EXIT_UNSUPPORTED = 3
"""``ronn check``: the model has nodes that no listed provider runs."""

EXIT_DIFFERS = 4
"""``ronn compare``, ``ronn bisect``: numbers differ by more than they may."""

EXIT_NOT_FOUND = 5
"""``ronn bisect``: numbers differ, and nobody could be named."""


def main() -> None:
    """Runs the command line of this process and exits with its code."""
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError as e:
        sys.stderr.write(
            f"ronn: the command line needs {e.name}, which is not installed.\n"
            'hint: pip install "ronn-core[cli]", or pip install ronn for everything\n'
        )
        raise SystemExit(EXIT_ERROR) from None
    from ronn.cli.app import run

    run()
