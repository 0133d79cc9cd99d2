"""When consolidation begins by itself: in idle time, once there is enough that is new."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ronn.debug import ERROR, tell
from ronn.forks import renew_after_fork

if TYPE_CHECKING:
    from ronn_hrm.sleep.report import Report
    from ronn_hrm.sleep.settings import Sleep

Job = Callable[[threading.Event], "Report"]
_LEAST_WAIT = 0.05
_LOWEST = 19


class Sleeper:
    """Runs a job in a thread of its own, of low priority where the system has that, when a session is idle.

    job: consolidates, and takes the new state into service; it ends soon after the event that it is given is set.
    last: ``time.monotonic()`` of the last request. fresh: how many episodes there are to learn from that came since the
    job last came to an end (one that was cancelled did not).

    ``met`` is to be called with every request: it ends a job in progress, unless that is overdue. Once ``start``ed, it
    looks after itself.
    """

    def __init__(
        self, settings: Sleep, job: Job, *, last: Callable[[], float], fresh: Callable[[], int],
        done: Callable[[Report], object] | None = None,
    ) -> None:  # fmt: skip
        self._settings, self._job, self._last, self._fresh, self._done = settings, job, last, fresh, done
        self.running = False
        self._overdue = False
        self._cancel = threading.Event()
        self._turn = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._failed_at = -1
        renew_after_fork(self)

    def start(self) -> None:
        """Begins to look for idle time, where the settings say so (``auto``)."""
        with self._turn:
            if self._settings.auto and self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._watch, name="ronn-hrm-sleep", daemon=True)
                self._thread.start()

    def met(self) -> None:
        """There was a request."""
        most = self._settings.overdue
        if self.running:
            if not self._overdue:
                self._cancel.set()
        elif most is not None and self._thread is not None and self._fresh() >= most:
            with self._turn:
                self._turn.notify_all()

    def close(self, timeout: float | None = None) -> bool:
        """Ends the job in progress and the thread. False: it took longer than ``timeout`` seconds."""
        with self._turn:
            self._closed = True
            self._cancel.set()
            self._turn.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
            return not thread.is_alive()
        return True

    def after_fork(self) -> None:
        """In a child process: the thread is the parent's; ``start`` makes one anew."""
        self._turn, self._cancel = threading.Condition(), threading.Event()
        self._thread, self.running = None, False

    def wait(self) -> float:
        """Seconds until it is time to look again; 0: it is time to sleep."""
        fresh, most = self._fresh(), self._settings.overdue
        self._overdue = most is not None and fresh >= most and fresh != self._failed_at
        if self._overdue:
            return 0.0
        idle = time.monotonic() - self._last()
        if idle < self._settings.idle_s:
            return max(self._settings.idle_s - idle, _LEAST_WAIT)
        if fresh < self._settings.min_new or fresh == self._failed_at:
            return max(self._settings.idle_s, 1.0)
        return 0.0

    def _watch(self) -> None:
        lower_priority()
        while True:
            with self._turn:
                if self._closed:
                    return
                seconds = self.wait()
                if seconds > 0.0:
                    self._turn.wait(seconds)
                    continue
                self._cancel.clear()
                self.running = True
            try:
                found = self._job(self._cancel)
                if self._done is not None:
                    self._done(found)
            except Exception as e:
                # What failed is not tried again before there is something new.
                self._failed_at = self._fresh()
                tell(ERROR, "hrm", f"consolidation failed: {e}", error=e)
            finally:
                self.running = False


def lower_priority() -> bool:
    """Gives this thread the lowest priority; False where the system cannot do that for one thread (Linux can)."""
    if sys.platform != "linux":
        return False
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
    except OSError:
        return False
    return True
