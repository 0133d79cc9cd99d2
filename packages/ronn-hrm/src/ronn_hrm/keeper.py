"""The keeper: one background thread for what can wait until a request was answered. It sleeps when there is nothing."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from ronn.debug import ERROR, tell

Job = Callable[[], None]


class Keeper:
    """Runs jobs in order, one at a time. most: jobs that may wait."""

    def __init__(self, name: str, most: int = 256) -> None:
        self._name = name
        self._most = most
        self._jobs: deque[Job] = deque()
        self._turn = threading.Condition()
        self._busy = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self.failures: list[BaseException] = []
        """What jobs raised, the latest few."""
        self.failed: Callable[[BaseException], object] = lambda error: None
        """Called with what a job raised."""

    def submit(self, job: Job) -> bool:
        """Takes a job, unless too many wait, or the keeper is closed: False."""
        with self._turn:
            if self._closed or len(self._jobs) >= self._most:
                return False
            self._jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            self._turn.notify()
            return True

    @property
    def waiting(self) -> int:
        """Jobs that wait."""
        return len(self._jobs)

    def drain(self, timeout: float | None = None) -> bool:
        """Waits until nothing is left to do. False: it took longer than ``timeout`` seconds."""
        with self._turn:
            return self._turn.wait_for(lambda: not self._jobs and not self._busy, timeout)

    def close(self) -> None:
        """Finishes what waits, and ends the thread."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def after_fork(self) -> None:
        """In a child process: the thread is the parent's, and so are its jobs."""
        self._jobs, self._turn, self._busy, self._thread = deque(), threading.Condition(), False, None

    def _work(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._jobs or self._closed)
                if not self._jobs:
                    return
                job = self._jobs.popleft()
                self._busy = True
            try:
                job()
            except Exception as e:
                self.failures = [*self.failures[-9:], e]
                self.failed(e)
                tell(ERROR, "hrm", f"a job in the background failed: {e}", error=e)
            finally:
                del job
                with self._turn:
                    self._busy = False
                    self._turn.notify_all()
