"""More bad providers: they hold what is not theirs, or lose what they hold. Importing this registers them."""

# mypy: disable-error-code="no-any-return, override"
from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ronn.provider import CachedFile, CompiledPart, Device, KernelContext, Part, kernel
from ronn_testkit.mutants import Array, Correct, caught_by


@caught_by("fork")
class LocksAcrossFork(Correct):
    """Holds a lock while it works, which a child forked meanwhile waits for in vain."""

    name = "locks-across-fork"
    _lock = threading.Lock()

    @kernel("Relu", since=6, dtypes="float32")
    def relu(self, ctx: KernelContext, x: Array) -> Array:
        with self._lock:
            time.sleep(0.002)
            return np.where(x < 0, np.float32(0), x)


_BORN = time.time_ns() % 2**20


@caught_by("fork")
class DiffersByProcess(Correct):
    """Something that every process draws anew gets into its results."""

    name = "differs-by-process"

    @kernel("Sigmoid", since=6, dtypes="float32")
    def sigmoid(self, ctx: KernelContext, x: Array) -> Array:
        return (1 / (1 + np.exp(-x)) * np.float32(1 + _BORN * 1e-6)).astype(np.float32)


@caught_by("lifetimes")
class TakesOutputsBack(Correct):
    """Reuses the memory of outputs once their session is closed."""

    name = "takes-outputs-back"

    def compile(self, part: Part, device: Device, options: Mapping[str, Any]) -> CompiledPart:
        compiled = super().compile(part, device, options)
        made: list[Array] = []

        def take_back() -> None:
            for array in made:
                array.fill(0)

        for call in compiled.calls:
            object.__setattr__(call, "fn", _noting(call.fn, made))
        return CompiledPart(compiled.calls, close=take_back)


def _noting(fn: Callable[..., Any], made: list[Array]) -> Callable[..., Any]:
    def run(*inputs: Any) -> Any:
        made.append(fn(*inputs))
        return made[-1]

    return run


@caught_by("lifetimes")
class HoldsItsInput(Correct):
    name = "holds-its-input"
    _last: ClassVar[list[Array]] = []

    @kernel("Relu", since=6, dtypes="float32")
    def relu(self, ctx: KernelContext, x: Array) -> Array:
        self._last[:] = [*self._last[-3:], x]
        return np.where(x < 0, np.float32(0), x)


@caught_by("buffers")
class AddsToWhatIsThere(Correct):
    """Takes memory to write to, and takes it to be empty."""

    name = "adds-to-what-is-there"

    @kernel("Relu", since=6, dtypes="float32", into=True)
    def relu(self, ctx: KernelContext, x: Array, out: Array | None = None) -> Array:
        if out is None:
            return np.where(x < 0, np.float32(0), x)
        np.add(out, np.where(x < 0, np.float32(0), x), out=out, where=~np.isnan(out))
        np.copyto(out, np.where(x < 0, np.float32(0), x), where=np.isnan(out))
        return out


@caught_by("buffers")
class WritesBeside(Correct):
    """Fills up to a whole vector, whoever the rest belongs to."""

    name = "writes-beside"

    @kernel("Relu", since=6, dtypes="float32", into=True)
    def relu(self, ctx: KernelContext, x: Array, out: Array | None = None) -> Array:
        made = np.where(x < 0, np.float32(0), x)
        if out is None:
            return made
        out[...] = made
        base = out.base
        if isinstance(base, np.ndarray) and base.dtype == np.float32:
            flat = base.reshape(-1)
            first = (out.ctypes.data - flat.ctypes.data) // 4
            flat[first + out.size : first + out.size + 7] = 0
        return out


@caught_by("memory_cap")
class HiddenScratch(Correct):
    name = "hidden-scratch"

    @kernel("Relu", since=6, dtypes="float32")
    def relu(self, ctx: KernelContext, x: Array) -> Array:
        scratch = np.zeros((24, *x.shape), np.float32)
        return np.where(x < 0, scratch[0], x)


@caught_by("cache")
class TrustsItsFiles(Correct):
    """Keeps a file, and takes whatever it finds there for it."""

    name = "trusts-its-files"

    def cached_files(self) -> Sequence[CachedFile]:
        from ronn.host import cache_folder

        path = Path(cache_folder()) / "trusts-its-files.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"machine code " * 10)
        return (CachedFile(path, "any machine"),)
