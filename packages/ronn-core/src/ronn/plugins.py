"""Isolated discovery: every entry point of group ``ronn`` is loaded alone, and each failure keeps its reason."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

from ronn import hookspecs, knobs
from ronn.debug import say
from ronn.entry_points import UNKNOWN, EntryPoint, entry_points
from ronn.errors import ProviderError, nearest
from ronn.listeners import emit, plug, unplug
from ronn.ops import custom
from ronn.records import dataclass, field

if TYPE_CHECKING:
    from ronn.provider import Device, Provider

GROUP = "ronn"


@dataclass(slots=True)
class Record:
    """One discovered provider (or plugin): usable, or the reason why not."""

    name: str
    distribution: str
    version: str
    target: str
    provider: Provider | None = None
    reason: str = ""
    error: BaseException | None = None
    _devices: tuple[Device, ...] | None = field(default=None, repr=False)

    @property
    def ok(self) -> bool:
        return not self.reason

    def tell_failure(self) -> None:
        """Tells why the provider (or plugin) cannot be used."""
        say(1, f"ronn: provider {self.name} from {self.distribution} {self.version} cannot be used: {self.reason}")
        emit("ProviderFailed", provider=self.name, reason=self.reason)

    def devices(self) -> tuple[Device, ...]:
        """The usable devices; asks the provider once. Empty with a ``reason`` where there are none."""
        if self._devices is None:
            with _asking:  # another thread may be there already
                if self._devices is None:
                    self._devices = self._ask()
        return self._devices

    def unusable(self) -> dict[str, str]:
        """Devices that are there and cannot be used, and why."""
        self.devices()
        try:
            return {} if self.provider is None else dict(self.provider.unusable())
        except Exception as e:
            return {"others": f"unusable() failed: {type(e).__name__}: {e}"}

    def _ask(self) -> tuple[Device, ...]:
        found: tuple[Device, ...] = ()
        if self.provider is not None:
            from ronn.provider import Unavailable

            try:
                found = tuple(self.provider.devices())
                if not found:
                    self.reason = "no usable device"
            except Unavailable as e:
                self.reason = str(e) or "unavailable"
            except Exception as e:
                self.reason, self.error = f"devices() failed: {type(e).__name__}: {e}", e
            if self.reason:
                self.tell_failure()
        return found


class Loadable(Protocol):
    """What the registry needs of an entry point. One of ``importlib.metadata`` tells its distribution as ``dist``."""

    @property
    def name(self) -> str: ...

    @property
    def value(self) -> str: ...

    def load(self) -> Any: ...


def _distribution(point: Loadable) -> tuple[str, str]:
    if isinstance(point, EntryPoint):
        return point.distribution, point.version
    dist = getattr(point, "dist", None)
    return (UNKNOWN, UNKNOWN) if dist is None else (dist.name, dist.version)


def _registers_operators(target: Any) -> bool:
    """Whether it is a function of ``ronn.op``, or a module or package of such."""
    home = getattr(target, "__name__", "?")
    fns = [o.fn for o in custom.registered()]
    return any(target is f or f.__module__ == home or f.__module__.startswith(home + ".") for f in fns)


class Registry:
    """The providers and plugins of this environment, or of the entry points that are given."""

    def __init__(self, points: Iterable[Loadable] | None = None) -> None:
        self.manager = pluggy.PluginManager("ronn")
        self.manager.add_hookspecs(hookspecs)
        self.records: list[Record] = []
        allowed = knobs.words(knobs.PROVIDERS.get())
        found = [(p.name, *_distribution(p), p) for p in (entry_points(GROUP) if points is None else points)]
        for name, distribution, version, point in sorted(found, key=lambda f: (f[0], f[1], f[3].value)):
            if not allowed or name in allowed or name == "reference":
                self._load(point, Record(name, distribution, version, point.value))
        if points is None and (modules := knobs.words(knobs.OPS.get())):
            from ronn.custom.modules import bring_in

            for module in modules:
                bring_in(module)

    def _load(self, point: Loadable, record: Record) -> None:
        try:
            target = point.load()
            found = self._accept(target, record)
        except BaseException as e:
            if isinstance(e, (KeyboardInterrupt, GeneratorExit)):
                raise
            record.reason, record.error = f"{type(e).__name__}: {e}", e
            self.records.append(record)
            record.tell_failure()
            return
        for provider in found:
            self._add(provider, record)
        if not found:
            self.records.append(record)

    def _accept(self, target: Any, record: Record) -> Sequence[Provider]:
        """Providers that an entry point brings: a Provider class or object, or a plugin with hooks."""
        from ronn.provider import Provider

        if isinstance(target, type) and issubclass(target, Provider):
            return [target()]
        if isinstance(target, Provider):
            return [target]
        plugin_name = f"{record.distribution}:{record.name}"
        self.manager.register(target, plugin_name)
        try:
            self.manager.check_pending()
            caller = self.manager.subset_hook_caller(
                "ronn_providers", [p for p in self.manager.get_plugins() if p is not target]
            )
            providers = [p for group in caller() for p in group]
            if not self.manager.get_hookcallers(target) and not _registers_operators(target):
                raise TypeError(
                    f"{record.target} is neither a Provider nor a plugin with ronn_* hooks nor a module of ronn.op"
                )
            ops = self.manager.subset_hook_caller(
                "ronn_ops", [p for p in self.manager.get_plugins() if p is not target]
            )
            from ronn.ops.schema import register_schema

            for schema in (s for group in ops() for s in group):
                register_schema(schema)
        except BaseException:
            self.manager.unregister(target)
            raise
        return providers

    def _add(self, provider: Provider, origin: Record) -> None:
        from ronn.provider import API_VERSION

        name = getattr(provider, "name", None)
        record = Record(str(name or origin.name), origin.distribution, origin.version, origin.target)
        self.records.append(record)
        if not isinstance(name, str) or not name:
            record.reason = f"{type(provider).__name__} has no name"
        elif provider.api_version != API_VERSION:
            record.reason = (
                f"written for provider API {provider.api_version}; this ronn-core has {API_VERSION} "
                f"(install matching versions of {origin.distribution} and ronn-core)"
            )
        else:
            taken = next((r for r in self.records if r is not record and r.ok and r.name == name), None)
            if taken is not None:
                record.reason = f"the name {name!r} is taken by {taken.distribution} ({taken.target})"
            else:
                record.provider = provider
                say(1, f"ronn: provider {name} from {origin.distribution} {origin.version}")
        if record.reason:
            record.tell_failure()

    @property
    def names(self) -> list[str]:
        """Names of all providers, the unusable ones too."""
        return [r.name for r in self.records]

    def add(self, provider: Provider) -> Record:
        """Registers a provider made in this process, without a package. ProviderError when it cannot be taken."""
        origin = Record(
            provider.name, "<this process>", "", f"{type(provider).__module__}:{type(provider).__qualname__}"
        )
        self._add(provider, origin)
        record = self.records[-1]
        if not record.ok:
            self.records.pop()
            raise ProviderError(f"provider {record.name!r} was refused: {record.reason}")
        return record

    def remove(self, name: str) -> None:
        """Takes a provider out again (the counterpart of ``add``)."""
        self.records = [r for r in self.records if r.name != name]

    def get(self, name: str) -> Record:
        """The usable provider called ``name``. ProviderError with the reason when there is none."""
        found = [r for r in self.records if r.name == name]
        for record in found:
            if record.ok and record.devices():
                return record
        if found:
            record = found[0]
            raise ProviderError(
                f"provider {name!r} ({record.distribution} {record.version}) is not available: {record.reason}",
                hint="`ronn doctor` shows every provider and why it is unusable",
            ) from record.error
        near = nearest(name, self.names)
        raise ProviderError(
            f"there is no provider {name!r}; installed: {', '.join(sorted(set(self.names)))}",
            hint=f"did you mean {near!r}?" if near else f"pip install ronn-provider-{name}, if there is such a package",
        )


_lock = threading.Lock()
_asking = threading.RLock()


def _after_fork() -> None:
    global _lock, _asking
    _lock = threading.Lock()
    _asking = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@functools.lru_cache(maxsize=1)
def _registry() -> Registry:
    made = Registry()
    hooks = made.manager.hook.ronn_listeners.get_hookimpls()
    plug([(h.plugin_name, h.function) for h in hooks])
    return made


def registry() -> Registry:
    """The registry of this process, made on first use."""
    with _lock:
        return _registry()


def reset() -> None:
    """Forgets what was discovered; the next use looks again."""
    with _lock:
        _registry.cache_clear()
        unplug()
