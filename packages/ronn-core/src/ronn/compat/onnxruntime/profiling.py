"""``enable_profiling``: every run is recorded, and ``end_profiling`` writes a Chrome trace of them."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from ronn.plan.plan import Plan
from ronn.profile.collect import Recording

T = TypeVar("T")


class Profiler:
    """Events of one session, in microseconds since it began. Runs are recorded one at a time."""

    def __init__(self, prefix: str) -> None:
        self.started_ns = time.time_ns()
        self._zero = time.perf_counter()
        stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S_%f")[:-3]
        self.path = f"{prefix}_{stamp}.json"
        self._lock = threading.Lock()
        self._events: list[dict[str, Any]] = []

    def timed(self, name: str, action: Callable[[], T]) -> T:
        """Does ``action`` and notes how long it took."""
        start = time.perf_counter()
        try:
            return action()
        finally:
            self._add("Session", name, start, time.perf_counter() - start, {})

    def run(self, plan: Plan, action: Callable[[], T]) -> T:
        """Does ``action``, which runs ``plan`` in this thread, with a clock at every kernel."""
        plans = plan.all_plans()
        calls = [call for p in plans for call in p.calls]
        recording = Recording({id(call): i for i, call in enumerate(calls)})
        with self._lock:
            start = time.perf_counter()
            try:
                for p in plans:
                    p.recorder = recording
                return action()
            finally:
                seconds = time.perf_counter() - start
                for p in plans:
                    p.recorder = None
                for key, at, took in recording.spans:
                    call = calls[key[0]]
                    node = call.nodes[0] if call.nodes else None
                    name = node.label if node is not None else "a fused part"
                    kernel = "python" if call.native is None else call.native.kernels[max(key[1], 0)].name
                    about = {
                        "op_name": "+".join(dict.fromkeys(n.op for n in call.nodes)),
                        "provider": "CPUExecutionProvider",
                        "node_index": str(key[0]),
                        "kernel": kernel,
                        "ronn_provider": "" if node is None or node.provider is None else node.provider,
                    }
                    self._add("Node", f"{name}_kernel_time", at, took, about)
                self._add("Session", "SequentialExecutor::Execute", start, seconds, {})
                self._add("Session", "model_run", start, seconds, {})

    def _add(self, category: str, name: str, start: float, seconds: float, about: dict[str, str]) -> None:
        self._events.append(
            {
                "cat": category,
                "pid": os.getpid(),
                "tid": threading.get_native_id(),
                "dur": round(seconds * 1e6),
                "ts": round((start - self._zero) * 1e6),
                "ph": "X",
                "name": name,
                "args": about,
            }
        )

    def write(self) -> str:
        """Writes the file and returns its name."""
        with self._lock:
            events: Sequence[dict[str, Any]] = self._events
            Path(self.path).write_text("[\n" + ",\n".join(map(json.dumps, events)) + "\n]\n", encoding="utf-8")
        return self.path
