"""The mixed soak: shapes, threads, stops, time-outs, forks and errors at once, in rounds with quiet between.

A hang is an error: when a round does not end in time, the stacks of all threads are printed and the process ends.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import ronn
from benchmarks.soak.clients import Clients
from benchmarks.soak.jobs import Interrupter, Jobs
from ronn.session import open_sessions

PATIENCE = 60.0  # seconds that a child may take
MOST_FAILURES = 20
NEEDED = (
    "run: right", "trace: right", "timeout: timed out", "stop: stopped", "cancel: cancelled", "wrong input: refused",
    "custom op: right", "custom op: refused", "memory limit: right", "memory limit: refused", "new session: refused",
    "pickle: right", "housekeeping: right", "threads of a run: right", "fork: right", "run_async: right",
    "async timeout: timed out", "task cancel: cancelled", "batcher: right", "batcher cancel: cancelled",
    "batcher wrong input: refused", "run_batch_async: right", "full queue: refused", "load_async: right",
)  # fmt: skip
"""What must have happened, else the soak has not shown anything."""


def mixed(seconds: float, threads: int = 6, growth: float = 0.03) -> dict[str, Any]:
    """Runs jobs for so long in all; what was done, what went wrong, and what the process held after each round.

    growth: how much more memory the process may hold at the end than after the first quarter, as a share, when every
    session is trimmed; three times as much before, since then it hangs on what ran last which plans have arenas.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _Soak(Jobs(Path(folder)), threads).go(seconds, growth)

WINDING_DOWN_S = 5.0  # that runs whose callers have gone are waited for


class _Soak:
    def __init__(self, jobs: Jobs, threads: int) -> None:
        self.jobs, self.threads = jobs, threads
        self.ends: Counter[str] = Counter()
        self.failures: list[str] = []
        self.unfinished = 0
        self._lock = threading.Lock()
        self._told: deque[str] = deque()
        self._process = psutil.Process()

    def go(self, seconds: float, growth: float) -> dict[str, Any]:
        rounds = int(np.clip(seconds // 5, 6, 40))
        samples = []
        for number in range(rounds):
            faulthandler.dump_traceback_later(seconds / rounds + 3 * PATIENCE, exit=True)
            self._round(number, seconds / rounds)
            samples.append(self._quiet())
            shown = ", ".join(f"{k} {v}" for k, v in samples[-1].items())
            print(f"  round {number + 1}/{rounds}: {sum(self.ends.values())} jobs; {shown}", flush=True)
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        self.jobs.close()
        del self.jobs
        gc.collect()
        left = len(open_sessions())
        faulthandler.cancel_dump_traceback_later()
        return self._verdict(seconds, samples, left, growth)

    # --- one round

    def _round(self, number: int, seconds: float) -> None:
        until = time.monotonic() + seconds
        # Runs take another way when somebody listens: every other round nobody does.
        listening = ronn.events.subscribe(lambda e: self._told.append(e.kind), "RunEvent") if number % 2 else None
        interrupter = Interrupter(self.jobs, number)

        def start(name: str, target: Callable[[np.random.Generator, float], None], seed: int) -> threading.Thread:
            rng = np.random.default_rng([number, seed])
            thread = threading.Thread(target=self._guarded, args=(target, rng, until), name=name, daemon=True)
            thread.start()
            return thread

        running = [start(f"worker {i}", self._work, i) for i in range(self.threads)]
        running.append(start("forks", self._forks, 1000))
        running.append(start("event loop", self._clients, 1001))
        for thread in running:
            thread.join()
        interrupter.end()
        if listening is not None:
            until = time.monotonic() + WINDING_DOWN_S
            while self._running() and time.monotonic() < until:
                time.sleep(0.01)
            listening.close()
            kinds = Counter(self._told)
            self._told.clear()
            begun = kinds.pop("RunStarted", 0)
            self.unfinished += begun - sum(kinds.values())

    def _running(self) -> int:
        """Runs that have begun and are not over: who awaited one may have gone on before it came to its end."""
        told = Counter(list(self._told))
        return 2 * told["RunStarted"] - told.total()

    def _guarded(self, target: Callable[..., None], rng: np.random.Generator, until: float) -> None:
        try:
            target(rng, until)
        except BaseException:  # in a thread nobody else would see it
            self._failed(traceback.format_exc(limit=-6))

    def _failed(self, text: str) -> None:
        with self._lock:
            if len(self.failures) < MOST_FAILURES:
                self.failures.append(text)
                print(text, file=sys.stderr, flush=True)

    def _work(self, rng: np.random.Generator, until: float) -> None:
        ends: Counter[str] = Counter()
        while time.monotonic() < until:
            try:
                ends[self.jobs.one(rng)] += 1
            except Exception:
                ends["failed"] += 1
                self._failed(traceback.format_exc(limit=-6))
        with self._lock:
            self.ends += ends

    def _clients(self, rng: np.random.Generator, until: float) -> None:
        clients = Clients(self.jobs, lambda error: self._failed("".join(traceback.format_exception(error))))
        clients.go([int(rng.integers(1 << 30))], until)
        with self._lock:
            self.ends += clients.ends

    def _forks(self, rng: np.random.Generator, until: float) -> None:
        """Children that fork off in the middle of everything, one after another."""
        if not hasattr(os, "fork"):
            return
        while time.monotonic() < until:
            time.sleep(float(rng.uniform(0, 0.3)))
            child = os.fork()
            if child == 0:
                self._in_child(rng)
            status = _wait(child, PATIENCE)
            with self._lock:
                self.ends["fork: right" if status == 0 else "fork: failed"] += 1
            if status != 0:
                self._failed(f"a child ended with {'nothing: it hung' if status is None else status}")

    def _in_child(self, rng: np.random.Generator) -> None:
        status, before = 1, len(self.failures)
        try:
            for _ in range(6):
                self.jobs.one(rng)
            for target in (lambda r, u: self.jobs.one(r), lambda r, u: self._clients(r, time.monotonic() + 0.02)):
                thread = threading.Thread(target=self._guarded, args=(target, rng, 0))
                thread.start()
                thread.join()
            status = 1 if len(self.failures) > before else 0
        except BaseException:
            traceback.print_exc(limit=-6)
        finally:
            os._exit(status)

    # --- between rounds

    def _quiet(self) -> dict[str, float]:
        """What the process holds when nothing runs: as it is, and after every session was trimmed."""
        gc.collect()
        held = self._process.memory_info().rss
        for session in self.jobs.sessions:
            session.trim()
        for task in self.jobs.known:  # so that what sessions hold after it does not hang on what ran last
            task.run()
        for session in self.jobs.sessions:
            session.trim()
        gc.collect()
        return {
            "rss_mib": round(held / 2**20, 1),
            "trimmed_mib": round(self._process.memory_info().rss / 2**20, 1),
            "session_bytes": sum(s.memory().total for s in self.jobs.sessions),
            "malloc_mib": _allocated(),
            "python_blocks": sys.getallocatedblocks(),
            "modules": len(sys.modules),
            "sessions": len(open_sessions()),
            "python_threads": threading.active_count(),
            "threads": self._process.num_threads(),
            "files": self._process.num_fds() if hasattr(self._process, "num_fds") else 0,
        }

    # --- what it comes to

    def _verdict(self, seconds: float, samples: list[dict[str, float]], left: int, allowed: float) -> dict[str, Any]:
        steady = samples[max(len(samples) // 4, 1) :]
        grown = {k: steady[-1][k] / steady[0][k] - 1 for k in ("rss_mib", "trimmed_mib")}
        hours = np.arange(len(steady)) * seconds / len(samples) / 3600
        slope = float(np.polyfit(hours, [s["trimmed_mib"] for s in steady], 1)[0])
        bounds = {"rss_mib": 3 * allowed, "trimmed_mib": allowed}
        wrong = [f"{k} grew by {v:.1%}" for k, v in grown.items() if v > bounds[k]]
        slack = {"python_blocks": 0.02, "malloc_mib": 0.02}
        # What a rare path imports late is no leak: allocations are compared among rounds with the same modules.
        settled = [s for s in steady if s.get("modules") == steady[-1].get("modules")]
        for what, share in slack.items():
            seen = [s[what] for s in settled]
            if seen[-1] > seen[0] * (1 + share):
                wrong.append(f"{what}: {seen[0]} after the first quarter, {seen[-1]} at the end")
        for what in ("session_bytes", "sessions", "python_threads", "threads", "files"):
            seen = [s[what] for s in steady]
            if seen[-1] > seen[0]:
                wrong.append(f"{what}: {seen[0]} after the first quarter, {seen[-1]} at the end")
        missing = [e for e in NEEDED if not self.ends[e] and (e != "fork: right" or hasattr(os, "fork"))]
        wrong += [f"it never came to this: {e}" for e in missing]
        if left:
            wrong.append(f"{left} sessions are open when all are closed")
        if self.unfinished:
            wrong.append(f"{self.unfinished} runs were begun and never told to be over")
        if self.failures:
            wrong.append(f"{len(self.failures)} failures or more")
        return {
            "seconds": seconds, "threads": self.threads, "rounds": len(samples), "jobs": sum(self.ends.values()),
            "ends": dict(sorted(self.ends.items())), "samples": samples,
            "growth": {k: round(v, 4) for k, v in grown.items()}, "allowed": allowed,
            "mib_per_hour": round(slope, 1), "failures": self.failures, "wrong": wrong, "ok": not wrong,
        }  # fmt: skip


class _Mallinfo(ctypes.Structure):
    """What ``mallinfo2`` of glibc returns."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


def _allocated() -> float:
    """MiB that the process has taken from the C library and not given back; 0 where that does not tell."""
    ask = getattr(ctypes.CDLL(None), "mallinfo2", None) if sys.platform == "linux" else None
    if ask is None:
        return 0.0
    ask.restype = _Mallinfo
    found = ask()
    return round((found.uordblks + found.hblkhd) / 2**20, 2)


def few_heaps() -> None:
    """Two heaps at most for all threads (as MALLOC_ARENA_MAX=2): in more of them, what is free is scattered so that the
    memory of the process goes up and down by a quarter, whatever is allocated."""
    tune = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if tune is not None:
        tune(-8, 2)


def _wait(child: int, patience: float) -> int | None:
    """The exit status of a child process; None when it hangs: its stacks are printed, and it is ended."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGABRT)
    os.waitpid(child, 0)
    return None
