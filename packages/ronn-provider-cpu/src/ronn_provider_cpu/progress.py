"""Tells people on a terminal that kernels are being compiled, when it takes longer than they would wait in silence."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ronn_codegen.native.library import Progress

_PATIENCE = 2.0  # seconds
_WIDTH = 28
_log = logging.getLogger("ronn")


@contextmanager
def compile_progress() -> Iterator[Progress]:
    """A progress bar on stderr, from the third second on; one line in the log when stderr is no terminal."""
    started = time.monotonic()
    shown = False
    terminal = sys.stderr is not None and sys.stderr.isatty()

    def progress(done: int, total: int, module: str) -> None:
        nonlocal shown
        if not terminal:
            if not shown:
                shown = True
                _log.info("compiling %d kernel modules, once for this machine", total)
            return
        if time.monotonic() - started < _PATIENCE and not shown:
            return
        shown = True
        full = _WIDTH * done // total
        bar = "#" * full + "." * (_WIDTH - full)
        sys.stderr.write(f"\rronn: compiling kernels, once for this machine [{bar}] {done}/{total} ")
        sys.stderr.flush()

    yield progress
    if shown and terminal:
        sys.stderr.write(f"\r\x1b[Kronn: kernels compiled in {time.monotonic() - started:.0f} s\n")
