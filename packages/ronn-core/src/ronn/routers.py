"""Routers: what answers requests in a session's place, with several models at hand. Plugins offer them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ronn.errors import OptionError, RonnError, nearest
from ronn.records import dataclass

if TYPE_CHECKING:
    from ronn.model import Model
    from ronn.options import SessionOptions
    from ronn.values import ValueInfo

KNOWN = {"hrm": "ronn-hrm"}
"""Packages of routers, for errors: what to install for a name that nothing here offers."""


class Routed(Protocol):
    """What a router makes: it runs as a session does, and may have more."""

    @property
    def inputs(self) -> list[ValueInfo]: ...
    @property
    def outputs(self) -> list[ValueInfo]: ...
    def run(self, inputs: Any = None, *, outputs: Sequence[str] | None = None) -> Mapping[str, Any]: ...
    def close(self) -> None: ...


Factory = Callable[["Model", "SessionOptions", Mapping[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Offer:
    """A router that a plugin offers."""

    name: str
    plugin: str
    make: Factory


def offers() -> dict[str, Offer]:
    """All routers by name. RonnError naming the plugin whose hook fails, or both where two have one name."""
    from ronn.plugins import registry

    found: dict[str, Offer] = {}
    for hook in registry().manager.hook.ronn_routers.get_hookimpls():
        plugin = str(hook.plugin_name)
        try:
            given: Any = hook.function()
            pairs = [(str(name), make) for name, make in given.items() if callable(make)]
            if len(pairs) != len(given):
                raise TypeError("ronn_routers returns names and callables that make a session")
        except Exception as e:
            raise RonnError(f"plugin {plugin} cannot say what routers it has: {type(e).__name__}: {e}") from e
        for name, make in pairs:
            other = found.setdefault(name, Offer(name, plugin, make))
            if other.plugin != plugin:
                raise RonnError(
                    f"plugins {other.plugin} and {plugin} both have a router {name!r}", hint="uninstall one of them"
                )
    return found


def create(model: Model, options: SessionOptions) -> Any:
    """What the router of ``options`` makes of the model; it gets the options without itself.

    Raises OptionError for a router that there is not, RonnError naming the plugin where making it fails.
    """
    spec = options.router
    assert spec is not None and not isinstance(spec, Mapping)
    name, config = (spec, {}) if isinstance(spec, str) else spec
    offer = offers().get(name)
    if offer is None:
        raise _unknown(name)
    try:
        made = offer.make(model, options.replace(router=None), config)
    except RonnError as e:
        e.add_note(f"raised by router {name!r} of plugin {offer.plugin}")
        raise
    except Exception as e:
        raise RonnError(f"router {name!r} of plugin {offer.plugin} failed: {type(e).__name__}: {e}") from e
    if not callable(getattr(made, "run", None)):
        raise RonnError(f"router {name!r} of plugin {offer.plugin} made {type(made).__name__}, which has no run()")
    return made


def _unknown(name: str) -> OptionError:
    from ronn.plugins import registry

    names = sorted(offers())
    broken = next((r for r in registry().records if not r.ok and r.name == name), None)
    if broken is not None:
        return OptionError(
            f"there is no router {name!r}: {broken.distribution} {broken.version} cannot be used: {broken.reason}",
            hint="`ronn doctor` shows every plugin and why it is unusable",
        )
    near = nearest(name, names)
    package = KNOWN.get(name, f"the package that has it (those of RONN: {', '.join(KNOWN.values())})")
    return OptionError(
        f"there is no router {name!r}; installed: {', '.join(names) if names else 'none'}",
        hint=f"did you mean {near!r}?" if near else f"pip install {package}",
    )
