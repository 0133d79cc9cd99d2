"""From provider names, as people list them, to targets."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Sequence

from ronn.errors import ProviderError, ProviderWarning
from ronn.ops import custom
from ronn.options import ProviderSpec as ProviderSpec
from ronn.options import SessionOptions, provider_specs
from ronn.partition import Target
from ronn.plugins import registry

_TYPO = 0.75  # how alike names are of which one is taken for a slip of the other
_told: set[str] = set()
DEFAULT_PROVIDERS = ("cpu", "reference")


def resolve_targets(
    providers: str | Sequence[ProviderSpec] | None, options: SessionOptions | None = None
) -> tuple[Target, ...]:
    """The targets that ``providers`` name, in order; if None, those of ``options``.

    One that is not there, or has no device that can be used now, is left out with a ProviderWarning (once for each
    reason) where another one is listed: that is what the others are listed for. ProviderError where none is left, or
    for a name that looks like a typo; OptionError for an option that a provider does not have.

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
    absent: list[ProviderError] = []
    for spec in provider_specs(providers):
        name, given = (spec, {}) if isinstance(spec, str) else spec
        try:
            record = known.get(name)
            provider = record.provider
            assert provider is not None
            if options is not None:
                given = options.for_provider(provider.options, given)
            given = provider.check_options(given)
            targets.append(Target(provider, provider.device_for(given, record.devices()), given))
        except ProviderError as e:
            if name not in known.names and difflib.get_close_matches(name, known.names, 1, _TYPO):
                raise
            absent.append(e)
    if not targets and absent:
        raise absent[0]
    for error in absent:
        _tell_absent(error, [t.name for t in targets])
    return (*targets, *implied_targets())


def _tell_absent(error: ProviderError, left: Sequence[str]) -> None:
    if error.message not in _told:
        _told.add(error.message)
        warnings.warn(f"{error.message}; going on with {', '.join(left)}", ProviderWarning, stacklevel=4)


def implied_targets() -> tuple[Target, ...]:
    """What stands behind the providers listed: the functions of ``ronn.op``, where any are registered."""
    if not custom.table:
        return ()
    from ronn.custom.python import target

    return (target(),)
