"""Deliberately bad providers: each breaks one rule, and one check must catch it. ``Correct`` breaks none.

They claim float32 ``Relu``, ``Add`` and ``Sigmoid``, as small third-party providers do.
"""

# mypy: disable-error-code="no-any-return, override"
from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ronn.provider import (
    API_VERSION,
    Call,
    CompiledPart,
    Device,
    KernelContext,
    KernelProvider,
    Part,
    Support,
    Unavailable,
    Yes,
    kernel,
)

Array = np.ndarray


class Correct(KernelProvider):
    """Three right kernels."""

    name = "correct"

    @kernel("Relu", since=6, dtypes="float32")
    def relu(self, ctx: KernelContext, x: Array) -> Array:
        return np.where(x < 0, np.float32(0), x)

    @kernel("Add", since=7, dtypes="float32")
    def add(self, ctx: KernelContext, a: Array, b: Array) -> Array:
        return a + b

    @kernel("Sigmoid", since=6, dtypes="float32")
    def sigmoid(self, ctx: KernelContext, x: Array) -> Array:
        e = np.exp(-np.abs(x))
        return np.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(np.float32)


class Absent(Correct):
    """Right too: its hardware is absent, and it says so."""

    name = "absent"

    def devices(self) -> list[Device]:
        raise Unavailable("no such device in this machine")


MUTANTS: dict[str, tuple[type[KernelProvider], str]] = {}
"""Name -> (provider, the check that must catch it)."""


def caught_by(check: str) -> Callable[[type[KernelProvider]], type[KernelProvider]]:
    """Registers a mutant."""

    def register(mutant: type[KernelProvider]) -> type[KernelProvider]:
        MUTANTS[mutant.name] = (mutant, check)
        return mutant

    return register


# --- import and absence


@caught_by("import")
class RaisesAtDiscovery(Correct):
    name = "raises-at-discovery"

    def __init__(self) -> None:
        raise RuntimeError("no driver")


@caught_by("absence")
class WrongErrorWhenAbsent(Correct):
    name = "wrong-error-when-absent"

    def devices(self) -> list[Device]:
        raise OSError("libdevice.so: cannot open shared object file")


@caught_by("import")
class SlowImport(Correct):
    name = "slow-import"

    def __init__(self) -> None:
        super().__init__()
        time.sleep(1.5)


@caught_by("import")
class ChangesEnvironment(Correct):
    name = "changes-environment"

    def __init__(self) -> None:
        super().__init__()
        import os

        os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "") + "1"


@caught_by("import")
class StartsThread(Correct):
    name = "starts-thread"

    def __init__(self) -> None:
        super().__init__()
        threading.Thread(target=time.sleep, args=(1,), daemon=True).start()


# --- claims


@caught_by("honest_claims")
class OverClaimsDtype(Correct):
    name = "over-claims-dtype"

    @kernel("Relu", since=6, dtypes="float32 bfloat16")
    def relu(self, ctx: KernelContext, x: Array) -> Array:
        if x.dtype != np.float32:
            raise TypeError("only float32")
        return np.maximum(x, 0)


@caught_by("honest_claims")
class OverClaimsOp(Correct):
    name = "over-claims-op"

    def supports(self, node: Any, device: Device) -> Support:
        return Yes() if node.op == "Conv" else super().supports(node, device)


@caught_by("refusals")
class RefusesWithoutReason(Correct):
    name = "refuses-without-reason"

    def supports(self, node: Any, device: Device) -> Any:
        return super().supports(node, device) or False


# --- numerics


@caught_by("numerics")
class OffByOne(Correct):
    name = "off-by-one"

    @kernel("Relu", since=6, dtypes="float32")
    def relu(self, ctx: KernelContext, x: Array) -> Array:
        out = np.where(x < 0, np.float32(0), x)
        if out.size > 16 and out.size % 16:
            out.reshape(-1)[-1] = 0.5
        return out


@caught_by("numerics")
class LosesNaN(Correct):
    name = "loses-nan"

    @kernel("Relu", since=6, dtypes="float32")
    def relu(self, ctx: KernelContext, x: Array) -> Array:
        return np.where(x > 0, x, np.float32(0))


@caught_by("numerics")
class WrongDtype(Correct):
    name = "wrong-dtype"

    @kernel("Sigmoid", since=6, dtypes="float32")
    def sigmoid(self, ctx: KernelContext, x: Array) -> Array:
        return 1 / (1 + np.exp(-x.astype(np.float64)))


@caught_by("numerics")
class WrongScalarShape(Correct):
    name = "wrong-scalar-shape"

    @kernel("Relu", since=6, dtypes="float32")
    def relu(self, ctx: KernelContext, x: Array) -> Array:
        return np.where(np.atleast_1d(x) < 0, np.float32(0), np.atleast_1d(x))


@caught_by("numerics")
class IgnoresBroadcast(Correct):
    name = "ignores-broadcast"

    @kernel("Add", since=7, dtypes="float32")
    def add(self, ctx: KernelContext, a: Array, b: Array) -> Array:
        out = np.empty(np.broadcast_shapes(a.shape, b.shape), np.float32)
        out[...] = a
        if out.shape == b.shape:
            out += b
        return out


@caught_by("onnx_dtypes")
class OldVersionWrong(Correct):
    name = "old-version-wrong"

    @kernel("Softmax", since=1, dtypes="float64")
    def softmax(self, ctx: KernelContext, x: Array) -> Array:
        e = np.exp(x - x.max(axis=0, keepdims=True))
        return np.asarray(e / e.sum(axis=0, keepdims=True))


@caught_by("layouts")
class ReadsStridedMemory(Correct):
    name = "reads-strided-memory"

    @kernel("Relu", since=6, dtypes="float32")
    def relu(self, ctx: KernelContext, x: Array) -> Array:
        if x.ndim and x.strides[-1] < 0:
            x = x[::-1]
        return np.where(x < 0, np.float32(0), x)


# --- shapes and memory


@caught_by("dynamic_shapes")
class FreezesFirstShape(Correct):
    name = "freezes-first-shape"
    _shape: ClassVar[dict[str, tuple[int, ...]]] = {}

    @kernel("Relu", since=6, dtypes="float32")
    def relu(self, ctx: KernelContext, x: Array) -> Array:
        shape = self._shape.setdefault("x", x.shape) if x.ndim == 2 and x.size else x.shape
        out = np.where(x < 0, np.float32(0), x)
        if shape != x.shape:
            out[shape[0] :] = -1
        return out


@caught_by("ownership")
class MutatesInput(Correct):
    name = "mutates-input"

    @kernel("Relu", since=6, dtypes="float32")
    def relu(self, ctx: KernelContext, x: Array) -> Array:
        if x.flags.writeable:
            x[x < 0] = 0
        return x.copy()


@caught_by("ownership")
class ReturnsInternalBuffer(Correct):
    name = "returns-internal-buffer"

    @kernel("Relu", since=6, dtypes="float32", prepare=True)
    def relu(self, ctx: KernelContext) -> Callable[[Array], Array]:
        held: dict[tuple[int, ...], Array] = {}

        def run(x: Array) -> Array:
            buffer = held.setdefault(x.shape, np.empty(x.shape, np.float32))
            np.maximum(x, 0, out=buffer)
            return buffer

        return run


@caught_by("threads")
class SharedScratch(Correct):
    name = "shared-scratch"

    @kernel("Relu", since=6, dtypes="float32", prepare=True)
    def relu(self, ctx: KernelContext) -> Callable[[Array], Array]:
        held: dict[tuple[int, ...], Array] = {}

        def run(x: Array) -> Array:
            scratch = held.setdefault(x.shape, np.empty(x.shape, np.float32))
            np.copyto(scratch, x)
            return np.where(scratch < 0, np.float32(0), scratch)

        return run


@caught_by("fork")
class BoundToProcess(Correct):
    name = "bound-to-process"

    @kernel("Relu", since=6, dtypes="float32", prepare=True)
    def relu(self, ctx: KernelContext) -> Callable[[Array], Array]:
        import os

        owner = os.getpid()

        def run(x: Array) -> Array:
            if os.getpid() != owner:
                raise RuntimeError("device context belongs to another process")
            return np.where(x < 0, np.float32(0), x)

        return run


@caught_by("stopping")
class RunsAsOne(Correct):
    """Makes one call of a whole partition, within which nobody can stop it."""

    name = "runs-as-one"

    def compile(self, part: Part, device: Device, options: Mapping[str, Any]) -> CompiledPart:
        compiled = super().compile(part, device, options)
        calls = compiled.calls
        outputs = [v for v in part.outputs if v.name]
        if len(outputs) != 1:
            return compiled

        def run(*inputs: Array) -> Array:
            known = dict(zip(part.inputs, inputs, strict=True))
            for call in calls:
                known[call.outputs[0]] = call.fn(*(known.get(v, v.data) for v in call.inputs if v is not None))
            return known[outputs[0]]

        return CompiledPart([Call(run, part.inputs, part.outputs, part.nodes)])


@caught_by("stopping")
class RemembersStoppedRuns(Correct):
    """Counts what is under way from kernel to kernel; a run that does not come to its end leaves the count wrong."""

    name = "remembers-stopped-runs"

    def compile(self, part: Part, device: Device, options: Mapping[str, Any]) -> CompiledPart:
        calls = list(super().compile(part, device, options).calls)
        place = [0]

        def counting(index: int, fn: Callable[..., Any]) -> Callable[..., Any]:
            def run(*inputs: Array) -> Array:
                right = place[0] == index
                place[0] = (place[0] + 1) % len(calls)
                return fn(*inputs) if right else fn(*inputs) * np.float32(0.5)

            return run

        return CompiledPart([Call(counting(i, c.fn), c.inputs, c.outputs, c.nodes) for i, c in enumerate(calls)])


@caught_by("memory")
class Leaks(Correct):
    name = "leaks"
    _held: ClassVar[list[Array]] = []

    @kernel("Relu", since=6, dtypes="float32")
    def relu(self, ctx: KernelContext, x: Array) -> Array:
        self._held.append(np.array(x))
        return np.where(x < 0, np.float32(0), x)


@caught_by("close")
class KeepsAfterClose(Correct):
    name = "keeps-after-close"
    _held: ClassVar[list[Array]] = []

    def compile(self, part: Part, device: Device, options: Mapping[str, Any]) -> CompiledPart:
        self._held.append(np.ones(1 << 18, np.float32))
        return super().compile(part, device, options)


# --- behaviour


@caught_by("partitioning")
class AssumesWholeGraph(Correct):
    name = "assumes-whole-graph"

    def compile(self, part: Part, device: Device, options: Mapping[str, Any]) -> CompiledPart:
        calls = list(super().compile(part, device, options).calls)
        if part.inputs and part.inputs[0].name != "x":
            calls = [Call(_halved(c.fn), c.inputs, c.outputs, c.nodes) for c in calls]
        return CompiledPart(calls)


def _halved(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *inputs: fn(*inputs) * np.float32(0.5)


@caught_by("errors")
class HidesErrors(Correct):
    """Takes the nearest element where an index lies outside."""

    name = "hides-errors"

    @kernel("Gather", since=1, dtypes="float32")
    def gather(self, ctx: KernelContext, x: Array, indices: Array, *, axis: int) -> Array:
        at = np.where(indices < 0, indices + x.shape[axis], indices)
        return np.take(x, at, axis=axis, mode="clip")


@caught_by("options")
class TakesAnyOption(Correct):
    name = "takes-any-option"

    def check_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return dict(given)


@caught_by("versions")
class IgnoresVersion(Correct):
    """Claims this core's version whatever it was written for."""

    name = "ignores-version"

    def __getattribute__(self, attribute: str) -> Any:
        return API_VERSION if attribute == "api_version" else super().__getattribute__(attribute)


@caught_by("network_and_files")
class OpensSocket(Correct):
    name = "opens-socket"

    @kernel("Relu", since=6, dtypes="float32")
    def relu(self, ctx: KernelContext, x: Array) -> Array:
        import socket

        try:
            socket.create_connection(("127.0.0.1", 9), timeout=0.1).close()
        except OSError:
            pass  # telemetry that nobody notices
        return np.where(x < 0, np.float32(0), x)


@caught_by("network_and_files")
class WritesFiles(Correct):
    name = "writes-files"

    def compile(self, part: Part, device: Device, options: Mapping[str, Any]) -> CompiledPart:
        Path("~/.provider-cache").expanduser().write_text("compiled")
        return super().compile(part, device, options)


@caught_by("determinism")
class Nondeterministic(Correct):
    name = "nondeterministic"

    @kernel("Sigmoid", since=6, dtypes="float32")
    def sigmoid(self, ctx: KernelContext, x: Array) -> Array:
        noise = np.random.default_rng().uniform(1, 1 + 4e-6, x.shape)
        return np.asarray(1 / (1 + np.exp(-x)) * noise).astype(np.float32)
