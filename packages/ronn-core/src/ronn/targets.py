"""From provider names, as people list them, to targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ronn.errors import OptionError
from ronn.options import SessionOptions
from ronn.partition import Target
from ronn.plugins import registry

DEFAULT_PROVIDERS = ("cpu", "reference")

ProviderSpec = str | tuple[str, Mapping[str, Any]]


def resolve_targets(
    providers: Sequence[ProviderSpec] | None, options: SessionOptions | None = None
) -> tuple[Target, ...]:
    """The targets that ``providers`` name, in order. ProviderError for an unknown or unusable one.

    What ``options`` say about threads and precision goes to every provider that has such an option.
    None means the default: cpu, with reference behind it (and reference alone where no cpu provider is installed).
    """
    known = registry()
    if providers is None:
        usable = {r.name for r in known.records if r.ok}
        providers = [p for p in DEFAULT_PROVIDERS if p in usable]
    if isinstance(providers, str):
        providers = [providers]
    targets: list[Target] = []
    for spec in providers:
        name, given = (spec, {}) if isinstance(spec, str) else spec
        if any(t.name == name for t in targets):
            raise OptionError(f"provider {name!r} is listed twice")
        record = known.get(name)
        assert record.provider is not None
        if options is not None:
            given = options.for_provider(record.provider.options, given)
        targets.append(Target(record.provider, record.devices()[0], record.provider.check_options(given)))
    if not targets:
        raise OptionError("no providers listed", hint="leave providers out for the default, cpu and reference")
    return tuple(targets)
