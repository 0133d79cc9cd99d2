"""Isolated discovery: every entry point of group ``ronn`` is loaded alone, and each failure keeps its reason."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pluggy

from ronn import hookspecs, knobs
from ronn.debug import say
from ronn.errors import ProviderError, nearest
from ronn.records import dataclass, field

if TYPE_CHECKING:
    from ronn.provider import Device, Provider

GROUP = "ronn"
UNKNOWN = "?"


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

    def devices(self) -> tuple[Device, ...]:
        """The usable devices; asks the provider once. Empty with a ``reason`` where there are none."""
        if self._devices is None:
            self._devices = ()
            if self.provider is not None:
                from ronn.provider import Unavailable

                try:
                    self._devices = tuple(self.provider.devices())
                    if not self._devices:
                        self.reason = "no usable device"
                except Unavailable as e:
                    self.reason = str(e) or "unavailable"
                except Exception as e:
                    self.reason, self.error = f"devices() failed: {type(e).__name__}: {e}", e
        return self._devices


@dataclass(frozen=True, slots=True)
class Found:
    """An entry point of group ``ronn``, and the distribution that has it."""

    point: metadata.EntryPoint
    distribution: str = UNKNOWN
    version: str = UNKNOWN

    @property
    def order(self) -> tuple[str, str, str]:
        return self.point.name, self.distribution, self.point.value


def installed() -> Iterator[Found]:
    """The entry points of group ``ronn`` of all installed distributions. Of several with one name the first on the path
    counts. As ``metadata.entry_points``, but the files of distributions that have none of the group are not parsed."""
    for distribution in metadata.distributions():
        text = distribution.read_text("entry_points.txt")
        if text is None or not _SECTION.search(text):
            continue
        name, version = _name_and_version(distribution)
        if name == UNKNOWN or metadata.distribution(name).read_text("entry_points.txt") == text:
            for point in distribution.entry_points.select(group=GROUP):
                yield Found(point, name, version)


_SECTION = re.compile(rf"^\s*\[{GROUP}\]", re.M)
_NAME, _VERSION = (re.compile(rf"^{field}: *(\S+)", re.M) for field in ("Name", "Version"))


def _name_and_version(distribution: metadata.Distribution) -> tuple[str, str]:
    for file in ("METADATA", "PKG-INFO"):
        text = distribution.read_text(file)
        if text is not None and (name := _NAME.search(text)) and (version := _VERSION.search(text)):
            return name[1], version[1]
    return UNKNOWN, UNKNOWN


def _given(point: metadata.EntryPoint) -> Found:
    return Found(point) if point.dist is None else Found(point, point.dist.name, point.dist.version)


class Registry:
    """The providers and plugins of this environment, or of the entry points that are given."""

    def __init__(self, entry_points: Iterable[metadata.EntryPoint] | None = None) -> None:
        self.manager = pluggy.PluginManager("ronn")
        self.manager.add_hookspecs(hookspecs)
        self.records: list[Record] = []
        points = dict.fromkeys(installed()) if entry_points is None else [_given(p) for p in entry_points]
        allowed = knobs.words(knobs.PROVIDERS.get())
        for found in sorted(points, key=lambda f: f.order):
            if not allowed or found.point.name in allowed or found.point.name == "reference":
                self._load(found)

    def _load(self, origin: Found) -> None:
        record = Record(origin.point.name, origin.distribution, origin.version, origin.point.value)
        try:
            target = origin.point.load()
            found = self._accept(target, record)
        except BaseException as e:
            if isinstance(e, (KeyboardInterrupt, GeneratorExit)):
                raise
            record.reason, record.error = f"{type(e).__name__}: {e}", e
            self.records.append(record)
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
            if not self.manager.get_hookcallers(target):
                raise TypeError(f"{record.target} is neither a Provider nor a plugin with ronn_* hooks")
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


@functools.lru_cache(maxsize=1)
def _registry() -> Registry:
    return Registry()


def registry() -> Registry:
    """The registry of this process, made on first use."""
    with _lock:
        return _registry()


def reset() -> None:
    """Forgets what was discovered; the next use looks again."""
    with _lock:
        _registry.cache_clear()
