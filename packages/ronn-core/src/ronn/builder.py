"""Session options, one call each: for programs that put them together step by step, and for editors to complete."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ronn.errors import OptionError, nearest
from ronn.options import ProviderSpec, RouterSpec, SessionOptions, provider_specs


class UnknownMethodError(OptionError, AttributeError):
    """The builder has no such method, because there is no such option."""


class SessionOptionsBuilder:
    """Has a method for each field of ``SessionOptions``; each sets its option and returns the builder.

    ``provider``, ``disable_pass`` and ``dimension`` add to what is there. ``build()`` checks the values and gives the
    options; more may be changed, and built, afterwards.
    """

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def build(self) -> SessionOptions:
        """The options: frozen, checked. Raises OptionError."""
        return SessionOptions(**self._values)

    def provider(self, name: str, **options: Any) -> SessionOptionsBuilder:
        """One more provider, with options of its own; the first one added is the most wanted."""
        return self.providers([*self._values.get("providers", ()), (name, options)])

    def providers(self, providers: str | Sequence[ProviderSpec] | None) -> SessionOptionsBuilder:
        """All providers that may be used, in order of preference. None means cpu, with reference behind it."""
        if providers is None:
            self._values.pop("providers", None)
            return self
        return self._set("providers", provider_specs(providers))

    def optimization(self, level: str) -> SessionOptionsBuilder:
        """The named list of passes: ``none``, ``basic`` or ``full``."""
        return self._set("optimization", level)

    def disable_pass(self, *names: str) -> SessionOptionsBuilder:
        """Passes to leave out, besides those left out so far."""
        return self.disabled_passes({*self._values.get("disabled_passes", ()), *names})

    def disabled_passes(self, names: Collection[str]) -> SessionOptionsBuilder:
        """All passes to leave out."""
        return self._set("disabled_passes", names)

    def dimension(self, name: str, size: int) -> SessionOptionsBuilder:
        """The size of one symbolic dim, for the whole session."""
        return self.dimensions({**self._values.get("dimensions", {}), name: size})

    def dimensions(self, sizes: Mapping[str, int]) -> SessionOptionsBuilder:
        """Sizes of symbolic dims, for the whole session."""
        return self._set("dimensions", sizes)

    def fold_limit(self, nbytes: int | str) -> SessionOptionsBuilder:
        """Bytes by which a folded constant may be larger than what it was computed from."""
        return self._set("fold_limit", nbytes)

    def plan_cache(self, signatures: int) -> SessionOptionsBuilder:
        """How many input signatures keep their plan."""
        return self._set("plan_cache", signatures)

    def threads(self, number: int) -> SessionOptionsBuilder:
        """How many threads a run may use; 0 means what this process may use."""
        return self._set("threads", number)

    def deterministic(self, on: bool = True) -> SessionOptionsBuilder:
        """The same bits whatever the number of threads."""
        return self._set("deterministic", on)

    def memory_limit(self, nbytes: int | str | None) -> SessionOptionsBuilder:
        """What the session may hold: bytes, or text as ``"512MB"``. None means no limit."""
        return self._set("memory_limit", nbytes)

    def precision(self, name: str) -> SessionOptionsBuilder:
        """``float32``, or ``bf16`` for products of matrices."""
        return self._set("precision", name)

    def max_model_bytes(self, nbytes: int | str | None) -> SessionOptionsBuilder:
        """What the model file may have, with its external data. None means no limit."""
        return self._set("max_model_bytes", nbytes)

    def max_tensor_bytes(self, nbytes: int | str | None) -> SessionOptionsBuilder:
        """What one tensor may have. None means no limit but the machine's memory."""
        return self._set("max_tensor_bytes", nbytes)

    def max_nodes(self, number: int) -> SessionOptionsBuilder:
        """How many nodes a model may have, once every call of its functions is expanded."""
        return self._set("max_nodes", number)

    def max_depth(self, levels: int) -> SessionOptionsBuilder:
        """How deep a file may nest graphs, types and functions."""
        return self._set("max_depth", levels)

    def router(self, router: RouterSpec | None) -> SessionOptionsBuilder:
        """What answers requests in the session's place: a name, or (name, configuration). None means nothing does."""
        return self._set("router", router)

    def _set(self, name: str, value: Any) -> SessionOptionsBuilder:
        self._values[name] = value
        return self

    def __repr__(self) -> str:
        return f"SessionOptionsBuilder({', '.join(f'{n}={v!r}' for n, v in self._values.items())})"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):  # what copy, pickle and inspect ask for
                raise AttributeError(name)
            known = sorted(n for n in vars(SessionOptionsBuilder) if not n.startswith("_"))
            near = nearest(name, known)
            raise UnknownMethodError(
                f"the builder of session options has no method {name!r}",
                hint=f"did you mean {near!r}?" if near else f"there are {', '.join(known)}",
            )
