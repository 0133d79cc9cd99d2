"""Tells people on a terminal that kernels are being compiled, when it takes longer than they would wait in silence."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ronn.debug import INFO, tell
from ronn_codegen.native.library import Progress

_PATIENCE = 2.0  # seconds
_WIDTH = 28


class _Bar:
    """A line on stderr that shows up once the patience is over, whether or not a module is done by then."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.done = self.total = 0
        self.shown = False
        self._lock = threading.Lock()
        self._timer = threading.Timer(_PATIENCE, self._patience_is_over)
        self._timer.daemon = True

    def update(self, done: int, total: int) -> None:
        with self._lock:
            first = self.total == 0
            self.done, self.total = done, total
            if self.shown:
                self._draw()
        if first:
            self._timer.start()

    def _patience_is_over(self) -> None:
        with self._lock:
            self.shown = True
            self._draw()

    def _draw(self) -> None:
        full = _WIDTH * self.done // max(self.total, 1)
        bar = "#" * full + "." * (_WIDTH - full)
        sys.stderr.write(f"\rronn: compiling kernels, once for this machine [{bar}] {self.done}/{self.total} ")
        sys.stderr.flush()

    def finish(self) -> None:
        self._timer.cancel()
        with self._lock:
            if self.shown:
                seconds = time.monotonic() - self.started
                sys.stderr.write(f"\r\x1b[Kronn: kernels compiled in {seconds:.0f} s\n")
            self.shown = False


@contextmanager
def compile_progress() -> Iterator[Progress]:
    """A progress bar on stderr, from the third second on; one line in the log when stderr is no terminal."""
    bar = _Bar()
    terminal = sys.stderr is not None and sys.stderr.isatty()
    told = False

    def progress(done: int, total: int, module: str) -> None:
        nonlocal told
        if terminal:
            bar.update(done, total)
        elif not told:
            told = True
            tell(INFO, "kernels", f"compiling {total} kernels or kernel modules, once for this machine")

    try:
        yield progress
    finally:
        bar.finish()
