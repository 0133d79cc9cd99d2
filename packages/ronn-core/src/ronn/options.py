"""Options of a session: frozen, checked when made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from ronn.errors import OptionError, nearest
from ronn.plan.budget import parse_size

OPTIMIZATIONS = ("none", "basic", "full")
PRECISIONS = ("float32", "bf16")
FOR_PROVIDERS = ("threads", "deterministic", "precision")
"""Options of a session that providers with an option of the same name take over."""


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """How a session compiles and runs a model.

    optimization: named list of passes: ``none`` (only what running needs), ``basic`` (no fusions), ``full``.
    disabled_passes: names of passes to leave out (``ronn passes`` lists them).
    dimensions: sizes for symbolic dims, fixed for the whole session: ``{"batch": 1}``.
    fold_limit: bytes by which a folded constant may be larger than what it was computed from.
    plan_cache: how many input signatures keep their plan (least recently used goes first).
    threads: how many a run may use; 0 means what affinity mask and cgroup quota leave (or RONN_THREADS).
    deterministic: the same bits whatever the number of threads.
    memory_limit: bytes that the session may hold, as a number or as ``"512MB"``: constants, packed constants, arenas,
        and what runs in progress allocate as far as sizes are known. What does not fit is a MemoryLimitError, before
        it is allocated; so is a run for which other runs leave no room (it does not wait for them).
    precision: ``float32``, or ``bf16``: products of matrices may be taken in bfloat16, sums stay in float32.

    ``threads``, ``deterministic`` and ``precision`` hold for every provider that has an option of that name, unless it
    is given one of its own.

    Raises OptionError for a value that an option cannot have.
    """

    optimization: str = "full"
    disabled_passes: frozenset[str] | tuple[str, ...] = frozenset()
    dimensions: Mapping[str, int] = field(default_factory=dict)
    fold_limit: int = 1 << 20
    plan_cache: int = 16
    threads: int = 0
    deterministic: bool = False
    memory_limit: int | str | None = None
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.optimization not in OPTIMIZATIONS:
            raise OptionError(
                f"optimization={self.optimization!r} is not known", hint=f"one of {', '.join(OPTIMIZATIONS)}"
            )
        if isinstance(self.disabled_passes, str):
            raise OptionError("disabled_passes takes a collection of names, not one string")
        object.__setattr__(self, "disabled_passes", frozenset(self.disabled_passes))
        for name, size in self.dimensions.items():
            if not isinstance(size, int) or size < 0:
                raise OptionError(f"dimensions[{name!r}]={size!r} is not a size")
        object.__setattr__(self, "dimensions", MappingProxyType(dict(self.dimensions)))
        if self.plan_cache < 1:
            raise OptionError("plan_cache must be at least 1")
        if self.fold_limit < 0:
            raise OptionError("fold_limit must not be negative")
        if not isinstance(self.threads, int) or isinstance(self.threads, bool) or self.threads < 0:
            raise OptionError(f"threads={self.threads!r} is not a number of threads", hint="0 means automatic")
        if self.precision not in PRECISIONS:
            raise OptionError(f"precision={self.precision!r} is not known", hint=f"one of {', '.join(PRECISIONS)}")
        if self.memory_limit is not None:
            object.__setattr__(self, "memory_limit", parse_size(self.memory_limit))

    def for_provider(self, options: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """``given``, filled up with what this session says about the provider's ``options``."""
        filled = {name: getattr(self, name) for name in FOR_PROVIDERS if name in options}
        return {**filled, **given}

    @classmethod
    def of(cls, **given: Any) -> SessionOptions:
        """Options from keywords; OptionError with the nearest name for an unknown one."""
        known = [f.name for f in fields(cls)]
        for name in given:
            if name not in known:
                near = nearest(name, known)
                raise OptionError(
                    f"there is no session option {name!r}",
                    hint=f"did you mean {near!r}?" if near else f"known: {', '.join(known)}",
                )
        return cls(**given)

    def __reduce__(self) -> tuple[object, ...]:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["dimensions"] = dict(self.dimensions)
        return (_restore, (values,))


def _restore(values: dict[str, Any]) -> SessionOptions:
    return SessionOptions(**values)
