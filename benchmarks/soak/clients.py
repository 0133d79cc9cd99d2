"""Clients of an event loop in the mixed soak: awaited runs, batches, tasks that are cancelled, queues that are full."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

import ronn
from benchmarks.soak.jobs import Jobs, Task, Wrong
from benchmarks.soak.models import values

CLIENTS = 4


class Clients:
    """What clients of an event loop do until a moment; ``ends`` counts how it ended, ``failed`` takes what is wrong."""

    def __init__(self, jobs: Jobs, failed: Callable[[BaseException], None]) -> None:
        self.jobs, self.failed = jobs, failed
        self.ends: Counter[str] = Counter()
        session = jobs.shared["convolutions"]
        self.rows = [Task(session, values((n, 3, 32, 32), 20 + n)) for n in (1, 2, 3)]
        self.every: dict[str, tuple[int, Callable[[np.random.Generator], Awaitable[str]]]] = {
            "run_async": (10, self._run),
            "async timeout": (3, self._timeout),
            "task cancel": (3, self._cancel),
            "batcher": (12, self._batcher),
            "batcher cancel": (2, self._batcher_cancel),
            "batcher wrong input": (2, self._batcher_wrong),
            "run_batch_async": (2, self._run_batch),
            "full queue": (1, self._full),
            "load_async": (1, self._load),
        }

    def go(self, seed: list[int], until: float) -> None:
        """Runs an event loop with its clients in this thread."""
        asyncio.run(self._clients(seed, until))

    async def _clients(self, seed: list[int], until: float) -> None:
        session = self.jobs.shared["convolutions"]
        async with ronn.Batcher(session, max_batch=8, max_wait=0.001) as batcher:
            self.batcher = batcher
            await asyncio.gather(*(self._client(np.random.default_rng([*seed, i]), until) for i in range(CLIENTS)))

    async def _client(self, rng: np.random.Generator, until: float) -> None:
        names = list(self.every)
        share = np.array([weight for weight, _ in self.every.values()], float)
        share /= share.sum()
        while time.monotonic() < until:
            name = names[int(rng.choice(len(names), p=share))]
            try:
                self.ends[f"{name}: {await self.every[name][1](rng)}"] += 1
            except Exception as error:
                self.ends["failed"] += 1
                self.failed(error)

    async def _run(self, rng: np.random.Generator) -> str:
        task = self.jobs.plain[int(rng.integers(len(self.jobs.plain)))]
        task.check(await task.session.run_async(task.feed), "run_async")
        return "right"

    def _slow(self, rng: np.random.Generator) -> Task:
        return self.jobs.slow_tasks[int(rng.integers(len(self.jobs.slow_tasks)))]

    async def _timeout(self, rng: np.random.Generator) -> str:
        task = self._slow(rng)
        try:
            got = await task.session.run_async(task.feed, timeout=float(rng.uniform(0, 2 * self.jobs.slow_seconds)))
        except ronn.RunTimeoutError:
            return "timed out"
        task.check(got, "run_async with a timeout")
        return "right"

    async def _cancel(self, rng: np.random.Generator) -> str:
        task = self._slow(rng)
        running = asyncio.create_task(task.session.run_async(task.feed))
        await asyncio.sleep(float(rng.uniform(0, 2 * self.jobs.slow_seconds)))
        running.cancel()
        try:
            task.check(await running, "a task that was cancelled too late")
        except asyncio.CancelledError:
            return "cancelled"
        return "right"

    def _one(self, rng: np.random.Generator) -> Task:
        return self.rows[int(rng.integers(len(self.rows)))]

    async def _batcher(self, rng: np.random.Generator) -> str:
        task = self._one(rng)
        _close(await self.batcher.run(task.feed), task)
        return "right"

    async def _batcher_cancel(self, rng: np.random.Generator) -> str:
        task = self._one(rng)
        running = asyncio.create_task(self.batcher.run(task.feed))
        await asyncio.sleep(float(rng.uniform(0, 0.004)))
        running.cancel()
        try:
            _close(await running, task)
        except asyncio.CancelledError:
            return "cancelled"
        return "right"

    async def _batcher_wrong(self, rng: np.random.Generator) -> str:
        right = asyncio.create_task(self._batcher(rng))
        try:
            await self.batcher.run({"x": np.zeros((1, 2, 32, 32), np.float32)})
        except ronn.InputError:
            await right
            return "refused"
        raise Wrong("the batcher took a wrong input")

    async def _run_batch(self, rng: np.random.Generator) -> str:
        tasks = [self._one(rng) for _ in range(5)]
        found = await self.jobs.shared["convolutions"].run_batch_async([t.feed for t in tasks])
        for got, task in zip(found, tasks, strict=True):
            _close(got, task)
        return "right"

    async def _full(self, rng: np.random.Generator) -> str:
        async with ronn.Batcher(self.jobs.shared["convolutions"], max_batch=2, queue=2, max_wait=0.02) as batcher:
            tasks = [self._one(rng) for _ in range(12)]
            found = await asyncio.gather(*(batcher.run(t.feed) for t in tasks), return_exceptions=True)
        full = 0
        for got, task in zip(found, tasks, strict=True):
            if isinstance(got, ronn.QueueFullError):
                full += 1
            elif isinstance(got, BaseException):
                raise got
            else:
                _close(got, task)
        return "refused" if full else "right"

    async def _load(self, rng: np.random.Generator) -> str:
        if rng.random() < 0.5:
            await ronn.load_async(self.jobs.path)
            return "right"
        session = await ronn.Session.create_async(self.jobs.path, providers=["cpu"])
        with session:
            task = self.jobs.file_task
            task.check(await session.run_async(task.feed), "run_async of a session made meanwhile")
        return "right"


def _close(outputs: Any, task: Task) -> None:
    """Joined runs add up in another order: equal to rounding."""
    for got, expected in zip(outputs.values(), task.expected, strict=True):
        if got.shape != expected.shape or not np.allclose(got, expected, rtol=1e-4, atol=1e-5):
            off = float(np.abs(got - expected).max()) if got.shape == expected.shape else got.shape
            raise Wrong(f"a batch gives other numbers than a run alone, for {task.feed['x'].shape}: off by {off}")
