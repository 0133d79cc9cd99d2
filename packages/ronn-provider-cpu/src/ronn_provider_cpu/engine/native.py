"""The engine: how the plan launches kernels of the CPU provider."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from ronn.plan.stop import Stop
from ronn.provider.native import Ceilings, Engine
from ronn_codegen.native.library import Library
from ronn_provider_cpu.engine.pool import Launch, pool

if TYPE_CHECKING:
    from numpy import ndarray


class NativeEngine(Engine):
    """Launches kernels on up to ``threads`` threads of the process's pool."""

    def __init__(self, library: Library, threads: int) -> None:
        self.library = library
        self.threads = threads

    def launch(self, steps: ndarray, clock: ndarray | None = None) -> None:
        pool(self.library).run(steps, self.threads, clock)

    def bind(self, steps: ndarray) -> Callable[[Stop, int], int]:
        return Launch(self.library, steps, self.threads)

    def ceilings(self) -> Ceilings:
        from ronn_provider_cpu.engine.measure import ceilings

        return ceilings(self.library, self.threads)

    @property
    def tick(self) -> float:
        """Seconds of one cycle of the counter that ``clock`` is filled from."""
        return pool(self.library).tick


@lru_cache(maxsize=64)
def engine(library: Library, threads: int) -> NativeEngine:
    """The engine for so many threads; one object for each, so that calls of several parts run together."""
    return NativeEngine(library, threads)
