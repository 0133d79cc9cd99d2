"""From provider names, as people list them, to targets."""

from __future__ import annotations

from collections.abc import Sequence

from ronn.ops import custom
from ronn.options import ProviderSpec as ProviderSpec
from ronn.options import SessionOptions, provider_specs
from ronn.partition import Target
from ronn.plugins import registry

DEFAULT_PROVIDERS = ("cpu", "reference")


def resolve_targets(
    providers: str | Sequence[ProviderSpec] | None, options: SessionOptions | None = None
) -> tuple[Target, ...]:
    """The targets that ``providers`` name, in order; if None, those of ``options``. ProviderError for an unknown or
    unusable one, OptionError for an option that a provider does not have.

    What ``options`` say about threads and precision goes to every provider that has such an option.
    None in both means the default: cpu, with reference behind it (reference alone where no cpu provider is installed).
    """
    known = registry()
    if providers is None and options is not None:
        providers = options.providers
    if providers is None:
        usable = {r.name for r in known.records if r.ok}
        providers = [p for p in DEFAULT_PROVIDERS if p in usable]
    targets: list[Target] = []
    for spec in provider_specs(providers):
        name, given = (spec, {}) if isinstance(spec, str) else spec
        record = known.get(name)
        assert record.provider is not None
        if options is not None:
            given = options.for_provider(record.provider.options, given)
        targets.append(Target(record.provider, record.devices()[0], record.provider.check_options(given)))
    return (*targets, *implied_targets())


def implied_targets() -> tuple[Target, ...]:
    """What stands behind the providers listed: the functions of ``ronn.op``, where any are registered."""
    if not custom.table:
        return ()
    from ronn.custom.python import target

    return (target(),)
