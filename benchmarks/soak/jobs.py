"""What threads of the mixed soak do: each job says how it ended, and raises when that is not as it must be."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import ronn
from benchmarks.soak.models import MODELS, POISON, Feed, convolutions, custom, deep, dynamic, same, transformer, values


class Wrong(Exception):
    """A result that is not that of a quiet run, or an error that did not come."""


class Task:
    """A session, inputs, and what one quiet run gave for them."""

    def __init__(self, session: ronn.Session, feed: Feed, **asked: Any) -> None:
        self.session, self.feed, self.asked = session, feed, asked
        self.expected = self._arrays(session.run(feed, **asked))

    @staticmethod
    def _arrays(outputs: Any) -> list[np.ndarray]:
        return [np.array(each) for each in outputs.values()]

    def check(self, outputs: Any, of: str) -> None:
        """Wrong unless the outputs are those of the quiet run, bit by bit."""
        if not same(self._arrays(outputs), self.expected):
            raise Wrong(f"{of}: other bits than alone, for {self.feed['x'].shape} {self.asked}")

    def run(self, session: ronn.Session | None = None, **how: Any) -> None:
        used = self.session if session is None else session
        self.check(used.run(self.feed, **self.asked, **how), "run")


class Jobs:
    """The sessions, and what can be done with them. ``every`` are the jobs by name."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "model.onnx"
        self.path.write_bytes(transformer())
        self.model = ronn.load(self.path)
        threads = (1, 2, 2, 3)
        makers = {name: make() for name, (make, _) in MODELS.items()}
        self.shared = {
            name: ronn.Session(data, providers=["cpu"], options={"threads": n})
            for (name, data), n in zip(makers.items(), threads, strict=True)
        }
        self.file = ronn.Session(self.path, providers=["cpu"], options={"threads": 2})
        self.slow = ronn.Session(deep(), providers=["cpu"], options={"threads": 2})
        self.cancellable = ronn.Session(deep(), providers=["cpu"], options={"threads": 1})
        self.careful = ronn.Session(custom(), providers=["cpu"])
        self.limited = ronn.Session(dynamic(), providers=["cpu"], options={"memory_limit": "1MB"})
        self.bytes = makers["convolutions"]
        self.plain = [
            Task(self.shared[name], values(shape, seed))
            for name, (_, shapes) in MODELS.items()
            for seed, shape in enumerate(shapes)
        ]
        # More sizes than plans that are kept: plans come and go.
        sizes = [(n, m, 48) for n in (2, 7) for m in range(1, 40, 3)]
        self.plain += [Task(self.shared["dynamic"], values(shape, 7)) for shape in sizes]
        self.plain += [Task(self.file, values(shape, 9)) for shape in MODELS["transformer"][1]]
        inner = [n.outputs[0].name for n in ronn.load(convolutions()).graph if n.op == "Relu"]
        self.traced = [Task(self.shared["convolutions"], values((2, 3, 32, 32), 3), trace=inner[:1])]
        self.traced += [Task(self.shared["dynamic"], values((3, 5, 48), 4), outputs=["y"])]
        self.slow_tasks = [Task(self.slow, values((n, 128), n)) for n in (1, 16, 64)]
        self.cancel_tasks = [Task(self.cancellable, values((n, 128), n)) for n in (8, 32)]
        self.careful_tasks = [Task(self.careful, values((n, 32), n)) for n in (1, 5, 20)]
        self.small = [Task(self.limited, values((1, m, 48), m)) for m in (1, 5)]
        self.large = values((64, 260, 48), 0)
        self.file_task = Task(self.file, values((1, 5, 64), 11))
        self.bytes_task = Task(self.shared["convolutions"], values((1, 3, 32, 32), 12))
        self.known = [*self.plain, *self.traced, *self.slow_tasks, *self.cancel_tasks, *self.careful_tasks, *self.small]
        began = time.monotonic()
        for task in self.slow_tasks:
            task.run()
        self.slow_seconds = (time.monotonic() - began) / len(self.slow_tasks)
        asyncio.run(self._fill_carriers())
        self.stops: list[ronn.Stop] = []
        self.every: dict[str, tuple[int, Callable[[np.random.Generator], str]]] = {
            "run": (60, self._run),
            "trace": (5, self._trace),
            "timeout": (10, self._timeout),
            "stop": (10, self._stop),
            "cancel": (10, self._cancel),
            "wrong input": (8, self._wrong_input),
            "custom op": (8, self._custom),
            "memory limit": (8, self._limit),
            "new session": (2, self._new_session),
            "pickle": (2, self._pickle),
            "housekeeping": (2, self._housekeeping),
            "threads of a run": (5, self._threads),
        }
        self._names = list(self.every)
        weights = np.array([weight for weight, _ in self.every.values()], float)
        self._share = weights / weights.sum()

    async def _fill_carriers(self) -> None:
        """Has every thread made that awaited runs and loads may have, so that more of them later are a leak."""
        runs = [task.session.run_async(task.feed) for task in self.slow_tasks * 4]
        await asyncio.gather(*runs, *(ronn.load_async(self.path) for _ in range(8)))

    @property
    def sessions(self) -> list[ronn.Session]:
        """Those that live as long as the soak."""
        return [*self.shared.values(), self.file, self.slow, self.cancellable, self.careful, self.limited]

    def one(self, rng: np.random.Generator) -> str:
        """Does one job at random; how it ended. Raises when that is not as it must be."""
        name = self._names[int(rng.choice(len(self._names), p=self._share))]
        return f"{name}: {self.every[name][1](rng)}"

    def close(self) -> None:
        for session in self.sessions:
            session.close()

    # --- jobs

    def _run(self, rng: np.random.Generator) -> str:
        _pick(self.plain, rng).run()
        return "right"

    def _trace(self, rng: np.random.Generator) -> str:
        _pick(self.traced, rng).run()
        return "right"

    def _threads(self, rng: np.random.Generator) -> str:
        _pick(self.plain, rng).run(threads=int(rng.integers(1, 4)))
        return "right"

    def _timeout(self, rng: np.random.Generator) -> str:
        try:
            _pick(self.slow_tasks, rng).run(timeout=float(rng.uniform(0, 1.5 * self.slow_seconds)))
        except ronn.RunTimeoutError:
            return "timed out"
        return "right"

    def _stop(self, rng: np.random.Generator) -> str:
        stop = ronn.Stop()
        self.stops.append(stop)
        try:
            _pick(self.slow_tasks, rng).run(stop=stop)
        except ronn.CancelledError:
            if stop.reason is None:
                raise Wrong("a run ended that nobody had stopped") from None
            return "stopped"
        finally:
            self.stops.remove(stop)
        return "right"

    def _cancel(self, rng: np.random.Generator) -> str:
        try:
            _pick(self.cancel_tasks, rng).run()
        except ronn.CancelledError:
            return "cancelled"
        return "right"

    def _wrong_input(self, rng: np.random.Generator) -> str:
        x = self.bytes_task.feed["x"]
        session = self.bytes_task.session
        wrong: list[Any] = [{"image": x}, {}, x[0], x.astype(np.float64), x[:, :2], "text", {"x": x, "y": x}, None]
        return _must(ronn.InputError, lambda: session.run(wrong[int(rng.integers(len(wrong)))]))

    def _custom(self, rng: np.random.Generator) -> str:
        task = _pick(self.careful_tasks, rng)
        if rng.random() < 0.5:
            task.run()
            return "right"
        poisoned = {"x": np.where(rng.random(task.feed["x"].shape) < 2, np.float32(POISON), 0).astype(np.float32)}
        return _must(ronn.ExecutionError, lambda: self.careful.run(poisoned))

    def _limit(self, rng: np.random.Generator) -> str:
        if rng.random() < 0.3:
            return _must(ronn.MemoryLimitError, lambda: self.limited.run(self.large))
        try:
            _pick(self.small, rng).run()
        except ronn.MemoryLimitError:
            return "refused"  # others run just now
        return "right"

    def _new_session(self, rng: np.random.Generator) -> str:
        which = int(rng.integers(3))
        source: Any = (self.bytes, self.path, self.model)[which]
        task = self.bytes_task if which == 0 else self.file_task
        with ronn.Session(source, providers=["cpu"], options={"threads": 1 + which}) as session:
            task.run(session)
        return _must(ronn.RonnError, lambda: session.run(task.feed))

    def _pickle(self, rng: np.random.Generator) -> str:
        with pickle.loads(pickle.dumps(self.file)) as session:
            self.file_task.run(session)
        return "right"

    def _housekeeping(self, rng: np.random.Generator) -> str:
        session = _pick(self.sessions, rng)
        session.memory()
        session.stats()
        str(session.placement())
        if rng.random() < 0.3:
            session.trim()
        return "right"


def _pick(choices: list[Any], rng: np.random.Generator) -> Any:
    return choices[int(rng.integers(len(choices)))]


def _must(kind: type[ronn.RonnError], call: Callable[[], Any]) -> str:
    try:
        call()
    except kind:
        return "refused"
    raise Wrong(f"no {kind.__name__}")


class Interrupter:
    """Stops what runs, now this and now that, and changes the number of threads, until told to end."""

    def __init__(self, jobs: Jobs, seed: int) -> None:
        self.jobs, self.rng = jobs, np.random.default_rng(seed)
        self.thread = threading.Thread(target=self._go, name="interrupter", daemon=True)
        self.over = threading.Event()
        self.thread.start()

    def _go(self) -> None:
        while not self.over.wait(float(self.rng.uniform(0.2, 1.5)) * self.jobs.slow_seconds):
            what = self.rng.random()
            stops = list(self.jobs.stops)
            if what < 0.7 and stops:
                _pick(stops, self.rng).set()
            elif what < 0.97:
                self.jobs.cancellable.cancel()
            else:
                ronn.set_threads(_pick([None, 1, 2, 3], self.rng))

    def end(self) -> None:
        self.over.set()
        self.thread.join()
        ronn.set_threads(None)
