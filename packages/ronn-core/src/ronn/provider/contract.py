"""The provider contract. A provider offers devices, says which nodes it takes, and compiles parts of graphs.

Two doors lead in:

* **Kernel door**: subclass ``KernelProvider`` and decorate NumPy-like functions with ``@kernel``; claims, compilation
  and memory are done for you.
* **Compiler door**: subclass ``Provider`` and write ``compile(part, device, options) -> CompiledPart``.

The whole module imports neither onnx nor numba.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ronn.errors import OptionError, nearest
from ronn.provider.native import NativeWork
from ronn.records import dataclass, field

if TYPE_CHECKING:
    import numpy as np

    from ronn.ir.graph import Node, Value
    from ronn.passes.manager import Pass
    from ronn.plan.budget import Budget

API_VERSION = 1
"""The version of this contract. A provider states the one it was written for; a different one is refused."""


class Unavailable(Exception):
    """Raised by ``Provider.devices`` when the hardware or a library is absent; the text is shown to people."""


@dataclass(frozen=True, slots=True)
class Yes:
    """The provider takes the node. ``score`` ranks bids of providers of equal priority; ``note`` is shown to people
    (for instance: computed in float32 and rounded back)."""

    score: float = 1.0
    note: str = ""

    def __bool__(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class No:
    """The provider refuses the node, and says why. ``later``: it may take the node where values are known on which
    sizes hang; where nobody takes it before, it is asked again when a run has them."""

    reason: str
    later: bool = False

    def __bool__(self) -> bool:
        return False


Support = Yes | No


class Allocator:
    """Moves arrays between host memory and a device's own. Only devices with their own memory have one."""

    def to_device(self, array: np.ndarray) -> Any:
        """A device buffer holding ``array`` (host, any layout)."""
        raise NotImplementedError(f"{type(self).__name__}.to_device")

    def to_host(self, buffer: Any) -> np.ndarray:
        """A host array holding ``buffer``."""
        raise NotImplementedError(f"{type(self).__name__}.to_host")


@dataclass(frozen=True)
class Device:
    """One device. ``memory`` names the memory space that its buffers live in; ``host`` is NumPy arrays."""

    name: str
    description: str = ""
    memory: str = "host"
    allocator: Allocator | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive nodes of one graph that one device runs: what ``compile`` gets.

    ``nodes`` are in order; ``inputs`` are the values that come from outside (constants are not listed: read their
    ``data``); ``outputs`` are the values that are needed outside.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


@dataclass(slots=True)
class Call:
    """One thing that the plan calls: ``fn(*arrays of inputs) -> array, or sequence of arrays for several outputs``.

    ``into``: fn also takes ``out=`` (an array for one output, a list for several; an entry may be None: then fn
    allocates) and must fill and return it. ``inplace`` lists inputs whose memory output 0 may overwrite (same dtype
    and shape; the plan decides). ``view_of`` says that an output may alias the memory of that one input and no other;
    without it, an output that fn allocates may alias any input. ``on_host``: the outputs are host arrays (the plan's
    maker sets it to False for devices with memory of their own). ``native``: the call runs as machine code instead of
    ``fn``, on values of known size; ``inplace`` holds for it too.
    """

    fn: Callable[..., Any]
    inputs: tuple[Value | None, ...]
    outputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    into: bool = False
    inplace: tuple[int, ...] = ()
    view_of: Mapping[int, int] = field(default_factory=dict)
    on_host: bool = True
    native: NativeWork | None = None
    inner: Sequence[Call] = ()
    """What ``fn`` runs, for profiles: calls with ``native.kernels``. While ``running.clock`` of ``ronn.plan.stop`` is a
    list, ``fn`` appends to it what it did: ``(number of the inner call, number of the kernel, start, seconds)``, by the
    clock of ``time.perf_counter``. What ran at the same time may overlap."""
    title: str = ""
    """What profiles call one that has no nodes."""


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes in the memory of a device. constants: by something that is equal for those that are shared. arena: what one
    run needs; arenas, idle: how many of them there are, and how many no run uses."""

    constants: Mapping[Hashable, int]
    arena: int
    arenas: int
    idle: int


class DeviceMemory:
    """What a compiled part holds in the memory of a device. ``budget``, where there is one, is asked by ``take`` for
    each arena before it is allocated, and told by ``give``."""

    budget: Budget | None = None

    def held(self) -> Held:
        """What it holds now."""
        raise NotImplementedError(f"{type(self).__name__}.held")

    def trim(self) -> None:
        """Gives arenas back that no run uses."""


@dataclass(slots=True)
class CompiledPart:
    """What a provider makes of a part: calls that the plan runs in order. ``close`` gives resources back.
    ``compiles`` counts kernels that had to be compiled for it. ``memory`` accounts for what lies on a device."""

    calls: Sequence[Call]
    close: Callable[[], None] | None = None
    compiles: int = 0
    memory: DeviceMemory | None = None


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A file that a provider keeps for later sessions. ``group`` says for what (a kind of machine); ``current``: this
    process would use the group."""

    path: Path
    group: str
    current: bool = True


Progress = Callable[[int, int, str], None]
"""Told ``(done, total, what)``."""


class Provider:
    """An execution provider. Subclasses give ``name`` and override what they need.

    Discovery makes one instance with no arguments; that must be cheap and must not raise. Options of a session
    (``providers=[("name", {...})]``) are checked against ``options`` (name -> default).
    """

    name: ClassVar[str]
    api_version: ClassVar[int] = API_VERSION
    options: ClassVar[Mapping[str, Any]] = {}
    folds: ClassVar[bool] = False
    """Whether its results are exact enough to compute constants with, at compile time."""
    wants_sizes: ClassVar[bool] = False
    """Whether it runs better when sizes are known: where they depend on data, the rest of a graph is then planned once
    the data is there."""

    def devices(self) -> Sequence[Device]:
        """The usable devices. Raise ``Unavailable("reason")`` when there is none."""
        return (Device(self.name),)

    def unusable(self) -> Mapping[str, str]:
        """Devices that are there and cannot be used, and why; asked after ``devices``, for people."""
        return {}

    def device_for(self, options: Mapping[str, Any], devices: Sequence[Device]) -> Device:
        """The device that a session with these options (checked, defaults filled in) uses, of ``devices``, which there
        are: the first, unless options name another one. It may carry what options say (a ``Device`` of one's own with
        further fields): ``supports``, ``passes`` and ``compile`` get it. OptionError for one that there is not,
        ProviderError where none can be used any more."""
        return devices[0]

    def supports(self, node: Node, device: Device) -> Support:
        """Whether this provider runs ``node``, whose input and output types are inferred. Never guesses: a claimed
        node must run."""
        return No(f"provider {self.name!r} claims no nodes")

    def passes(self, device: Device) -> Sequence[Pass]:
        """Passes to run over the whole graph before bids are taken, when this provider is in the session."""
        return ()

    def compile(self, part: Part, device: Device, options: Mapping[str, Any]) -> CompiledPart:
        """Turns a part into calls. All nodes of it were claimed by ``supports``."""
        raise NotImplementedError(f"{type(self).__name__}.compile")

    def compile_for_folding(self, part: Part, device: Device, options: Mapping[str, Any]) -> CompiledPart:
        """Turns a part that runs once, on constants, into calls. What is cheap to make counts, not what runs fast."""
        return self.compile(part, device, options)

    def warm_up(self, device: Device, progress: Progress | None = None) -> int:
        """Makes what sessions will need and no model is asked for (``ronn warmup``); how many things were made."""
        return 0

    def cached_files(self) -> Sequence[CachedFile]:
        """The files that it keeps in RONN's cache folder (``ronn cache``)."""
        return ()

    def check_cached(self, file: CachedFile) -> str:
        """What is wrong with one of its files; empty when it is sound."""
        return ""

    def check_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The options with defaults filled in; OptionError for an unknown one, or a value of another kind than the
        default's (None says nothing of kinds)."""
        for key, value in given.items():
            if key not in self.options:
                near = nearest(key, list(self.options))
                raise OptionError(
                    f"provider {self.name!r} has no option {key!r}",
                    hint=f"did you mean {near!r}?" if near else f"known options: {sorted(self.options) or 'none'}",
                )
            kind = _kind(self.options[key])
            if kind and _kind(value) not in (kind, *_ALSO.get(kind, ())):
                raise OptionError(f"option {key!r} of provider {self.name!r} is {kind}, not {value!r}")
        return {**self.options, **given}


_KINDS = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}
_ALSO = {"a number": ("a whole number",)}


def _kind(value: Any) -> str | None:
    return _KINDS.get(type(value))
