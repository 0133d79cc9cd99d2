"""Options of a session: frozen, checked when made."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import index
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from ronn.errors import OptionError, nearest
from ronn.frontend.limits import DEFAULTS, MAX_DEPTH, Limits
from ronn.plan.budget import parse_size

if TYPE_CHECKING:
    from ronn.builder import SessionOptionsBuilder

OPTIMIZATIONS = ("none", "basic", "full")
PRECISIONS = ("float32", "bf16")
FOR_PROVIDERS = ("threads", "deterministic", "precision")
"""Options of a session that providers with an option of the same name take over."""

ProviderSpec = str | tuple[str, Mapping[str, Any]]
"""A provider's name, alone or with options of its own."""

RouterSpec = str | tuple[str, Mapping[str, Any]] | Mapping[str, Mapping[str, Any]]
"""A router's name, alone or with its configuration: as a pair, or as a mapping of one."""


class OptionValues(TypedDict, total=False):
    """The fields of ``SessionOptions``, for editors and type checkers: of ``replace``, and of ``options={...}``."""

    providers: str | Sequence[ProviderSpec] | None
    optimization: str
    disabled_passes: Collection[str]
    dimensions: Mapping[str, int]
    fold_limit: int | str
    plan_cache: int
    threads: int
    deterministic: bool
    memory_limit: int | str | None
    precision: str
    max_model_bytes: int | str | None
    max_tensor_bytes: int | str | None
    max_nodes: int
    max_depth: int
    router: RouterSpec | None


@dataclass(frozen=True, kw_only=True, repr=False)
class SessionOptions:
    """How a session loads, compiles and runs a model.

    providers: names, or (name, options) pairs, in order of preference; nothing else is used. None means cpu, with
        reference behind it. The argument ``providers`` of ``Session`` goes before it.
    optimization: named list of passes: ``none`` (only what running needs), ``basic`` (no fusions), ``full``.
    disabled_passes: names of passes to leave out (``ronn passes`` lists them).
    dimensions: sizes for symbolic dims, fixed for the whole session: ``{"batch": 1}``.
    fold_limit: bytes by which a folded constant may be larger than what it was computed from.
    plan_cache: how many input signatures keep their plan (least recently used goes first).
    threads: how many a run may use; 0 means what affinity mask and cgroup quota leave (or RONN_THREADS).
    deterministic: the same bits whatever the number of threads.
    memory_limit: bytes that the session may hold: constants, packed constants, arenas, and what runs in progress
        allocate as far as sizes are known. What does not fit is a MemoryLimitError, before it is allocated; so is a run
        for which other runs leave no room (it does not wait for them). None means no limit.
    precision: ``float32``, or ``bf16``: products of matrices may be taken in bfloat16, sums stay in float32.
    max_model_bytes: bytes that the model file may have, with the external data that it names. None means no limit.
    max_tensor_bytes: bytes that one tensor may have: a constant of the file (unpacked, where it is stored in less than
        a byte an element), or one that a run makes, as far as its size is known before. None means no limit but the
        machine's memory.
    max_nodes: nodes that a model may have, once every call of its functions is expanded.
    max_depth: how deep a file may nest: graphs within graphs, types within types, functions that call functions. At
        most 64.
    router: what answers requests in the session's place, with several models at hand: a name, or (name, configuration),
        as ``("hrm", {"fast": "small.onnx"})``. Routers come with packages (``hrm`` with ronn-hrm), which say what may
        be configured. ``Model.create_session`` makes them; ``Session`` itself does not route.

    Bytes are a number, or text as ``"512MB"`` or ``"2GiB"``. ``threads``, ``deterministic`` and ``precision`` hold for
    every provider that has an option of that name, unless it is given one of its own. The four with ``max`` bound what
    strange files may ask for: a model beyond them is refused with a ModelError (a run, with a MemoryLimitError).

    Raises OptionError for an unknown option, with the nearest name, and for a value that an option cannot have.
    """

    providers: str | Sequence[ProviderSpec] | None = None
    optimization: str = "full"
    disabled_passes: Collection[str] = frozenset()
    dimensions: Mapping[str, int] = field(default_factory=dict)
    fold_limit: int | str = 1 << 20
    plan_cache: int = 16
    threads: int = 0
    deterministic: bool = False
    memory_limit: int | str | None = None
    precision: str = "float32"
    max_model_bytes: int | str | None = DEFAULTS.max_model_bytes
    max_tensor_bytes: int | str | None = DEFAULTS.max_tensor_bytes
    max_nodes: int = DEFAULTS.max_nodes
    max_depth: int = DEFAULTS.max_depth
    router: RouterSpec | None = None

    if not TYPE_CHECKING:

        def __new__(cls, **given: Any) -> SessionOptions:
            for name in given:
                if name not in cls.__dataclass_fields__:
                    raise unknown_option(name)
            return super().__new__(cls)

    def __post_init__(self) -> None:
        put = object.__setattr__
        if self.providers is not None:
            put(self, "providers", provider_specs(self.providers))
        _choice("optimization", self.optimization, OPTIMIZATIONS)
        _choice("precision", self.precision, PRECISIONS)
        put(self, "disabled_passes", _names("disabled_passes", self.disabled_passes))
        put(self, "dimensions", MappingProxyType(_sizes("dimensions", self.dimensions)))
        put(self, "fold_limit", parse_size(self.fold_limit, "fold_limit", least=0))
        put(self, "plan_cache", _whole("plan_cache", self.plan_cache, 1))
        put(self, "threads", _whole("threads", self.threads, 0, "0 means what this process may use"))
        put(self, "max_nodes", _whole("max_nodes", self.max_nodes, 1))
        put(self, "max_depth", _whole("max_depth", self.max_depth, 1))
        if self.router is not None:
            put(self, "router", router_spec(self.router))
        if self.max_depth > MAX_DEPTH:
            raise OptionError(f"max_depth={self.max_depth} is too large: {MAX_DEPTH} is the most")
        if not isinstance(self.deterministic, bool):
            raise OptionError(f"deterministic={self.deterministic!r} is not a switch", hint="True or False")
        for name in ("memory_limit", "max_model_bytes", "max_tensor_bytes"):
            given = getattr(self, name)
            if given is not None:
                put(self, name, parse_size(given, name))

    @classmethod
    def of(cls, given: SessionOptions | Mapping[str, Any] | str | os.PathLike[str] | None) -> SessionOptions:
        """Options from what ``Session(options=...)`` takes."""
        if isinstance(given, SessionOptions):
            return given
        if isinstance(given, (str, os.PathLike)):
            return cls.from_file(given)
        if given is not None and not isinstance(given, Mapping):
            raise OptionError(
                f"options are {type(given).__name__}, not SessionOptions, a mapping or a file's path",
                hint="end the builder with .build()" if hasattr(given, "build") else 'for instance {"threads": 2}',
            )
        return cls(**(given if given is not None else {}))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> SessionOptions:
        """Options from a TOML file: one key an option, with the values that it takes here, and ``[router.NAME]`` for a
        router's configuration. Files named in that are relative to the file's folder. The text ``none`` stands for
        None, which TOML does not have.

        Raises OptionError naming the file and the key, with the nearest name for an unknown one.
        """
        from ronn.options_file import read

        return cls(**read(path))

    @staticmethod
    def builder() -> SessionOptionsBuilder:
        """A builder, which has a method for each option: ``SessionOptions.builder().threads(2).build()``."""
        from ronn.builder import SessionOptionsBuilder

        return SessionOptionsBuilder()

    def replace(self, **changes: Unpack[OptionValues]) -> SessionOptions:
        """A copy with some options changed."""
        return SessionOptions(**{**self._values(), **changes})

    @property
    def limits(self) -> Limits:
        """What a model file may ask for."""
        return Limits(self.max_model_bytes, self.max_tensor_bytes, self.max_nodes, self.max_depth)  # type: ignore[arg-type]

    def for_provider(self, options: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """``given``, filled up with what this session says about the provider's ``options``."""
        filled = {name: getattr(self, name) for name in FOR_PROVIDERS if name in options}
        return {**filled, **given}

    def _values(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __hash__(self) -> int:
        plain = {**self._values(), "dimensions": frozenset(self.dimensions.items())}
        if self.providers is not None:
            pairs = ((s, {}) if isinstance(s, str) else s for s in self.providers)
            plain["providers"] = tuple((name, frozenset(given.items())) for name, given in pairs)
        plain["router"] = _hashable(self.router)
        return hash(tuple(plain.values()))

    def __repr__(self) -> str:
        plain = {**_plain(self._values()), "disabled_passes": tuple(sorted(self.disabled_passes))}
        usual = {**_plain(SessionOptions()._values()), "disabled_passes": ()}
        return f"SessionOptions({', '.join(f'{n}={v!r}' for n, v in plain.items() if v != usual[n])})"

    def __reduce__(self) -> tuple[object, ...]:
        return (_restore, (_plain(self._values()),))


def _restore(values: dict[str, Any]) -> SessionOptions:
    return SessionOptions(**values)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """The values of options, mappings as dicts."""
    specs = values["providers"]
    if specs is not None:
        specs = tuple(s if isinstance(s, str) else (s[0], dict(s[1])) for s in specs)
    return {
        **values,
        "dimensions": dict(values["dimensions"]),
        "providers": specs,
        "router": _thawed(values["router"]),
    }


def unknown_option(name: str) -> OptionError:
    """The error for an option that there is not, with the nearest one that there is."""
    known = [f.name for f in fields(SessionOptions)]
    near = nearest(name, known)
    return OptionError(
        f"there is no session option {name!r}", hint=f"did you mean {near!r}?" if near else f"known: {', '.join(known)}"
    )


def provider_specs(given: str | Sequence[ProviderSpec]) -> tuple[ProviderSpec, ...]:
    """Providers as people list them, checked: names, with read-only options where there are any.

    Raises OptionError for something else, an empty list, or a name that is there twice. What is installed is not asked.
    """
    found: dict[str, ProviderSpec] = {}
    if not isinstance(given, str) and not isinstance(given, Sequence):
        raise OptionError(f"providers={given!r} is not a list of names", hint='for instance ["cpu", "reference"]')
    for spec in [given] if isinstance(given, str) else given:
        pair = (spec, {}) if isinstance(spec, str) else spec
        if not (isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[0], str)):
            raise OptionError(f"provider {spec!r} is not a name", hint='give "cpu", or ("cpu", {"threads": 1})')
        name, options = pair
        if not isinstance(options, Mapping):
            raise OptionError(f"options of provider {name!r} are {options!r}", hint='a mapping, as {"threads": 1}')
        if name in found:
            raise OptionError(f"provider {name!r} is listed twice")
        found[name] = (name, MappingProxyType(dict(options))) if options else name
    if not found:
        raise OptionError("no providers listed", hint="leave providers out for the default, cpu and reference")
    return tuple(found.values())


def router_spec(given: RouterSpec) -> str | tuple[str, Mapping[str, Any]]:
    """A router as people give it, checked: its name, with a read-only configuration where there is one.

    Raises OptionError for something else. What is installed is not asked.
    """
    example = 'give "hrm", or ("hrm", {"fast": "small.onnx"})'
    if isinstance(given, str):
        return given
    if isinstance(given, Mapping):
        if len(given) != 1:
            names = ", ".join(map(repr, given))
            raise OptionError(f"router names {len(given)} routers: {names}", hint="one answers: name that one alone")
        ((name, config),) = given.items()
    elif isinstance(given, (tuple, list)) and len(given) == 2:
        name, config = given
    else:
        raise OptionError(f"router={given!r} is not a name", hint=example)
    if not isinstance(name, str):
        raise OptionError(f"router {name!r} is not a name", hint=example)
    if not isinstance(config, Mapping) or not all(isinstance(key, str) for key in config):
        raise OptionError(f"the configuration of router {name!r} is {config!r}", hint='a mapping, as {"alpha": 0.01}')
    return (name, _frozen(config)) if config else name


def router_elsewhere(router: RouterSpec) -> OptionError:
    """The error of a session that was given a router."""
    name = router if isinstance(router, str) else next(iter(router))
    return OptionError(
        f"a Session runs one model, and its options name the router {name!r}",
        hint="ronn.load(path).create_session(options) makes what routes",
    )


def _frozen(value: Any) -> Any:
    """A copy with mappings and lists, at any depth, that cannot be changed."""
    if isinstance(value, Mapping):
        return MappingProxyType({key: _frozen(inner) for key, inner in value.items()})
    return tuple(map(_frozen, value)) if type(value) in (list, tuple) else value


def _thawed(value: Any) -> Any:
    """The same with plain dicts, which can be printed and pickled."""
    if isinstance(value, Mapping):
        return {key: _thawed(inner) for key, inner in value.items()}
    return tuple(map(_thawed, value)) if type(value) is tuple else value


def _hashable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return frozenset((key, _hashable(inner)) for key, inner in value.items())
    return tuple(map(_hashable, value)) if type(value) is tuple else value


def _choice(name: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise OptionError(f"{name}={given!r} is not known", hint=f"one of {', '.join(known)}")


def _whole(name: str, given: Any, least: int, hint: str | None = None) -> int:
    try:
        number = -1 if isinstance(given, bool) else index(given)
    except TypeError:
        number = -1
    if number < least:
        raise OptionError(f"{name}={given!r} is not a whole number from {least} on", hint=hint)
    return number


def _names(name: str, given: Any) -> frozenset[str]:
    if isinstance(given, str) or not isinstance(given, Collection) or not all(isinstance(n, str) for n in given):
        raise OptionError(f"{name}={given!r} is not a collection of names", hint=f'for instance {name}=["fuse-gelu"]')
    return frozenset(given)


def _sizes(name: str, given: Any) -> dict[str, int]:
    if not isinstance(given, Mapping) or not all(isinstance(n, str) for n in given):
        raise OptionError(f"{name}={given!r} is not a mapping of dim to size", hint='for instance {"batch": 1}')
    return {n: _whole(f"{name}[{n!r}]", size, 0, "a size is 0 or more") for n, size in given.items()}
