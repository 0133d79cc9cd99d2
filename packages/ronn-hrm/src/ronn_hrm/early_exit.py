"""Early exit: one model cut in two. Its beginning with a small head is the cheap model; the expensive one goes on from
where that stopped (BranchyNet, arXiv 1709.01686)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ronn.errors import OptionError
from ronn.model import Model
from ronn.records import dataclass
from ronn.session import Session
from ronn.tools.split import split_model
from ronn.values import Outputs, ValueInfo, gather_inputs
from ronn_hrm.errors import RoutingError
from ronn_hrm.fingerprint import fingerprint

if TYPE_CHECKING:
    from ronn.model import Options, Source
    from ronn.targets import ProviderSpec

HIDDEN = "hidden"
"""The output of fitted heads that holds their features: an embedding for ``FromOutput``."""


@dataclass(frozen=True, slots=True)
class Carry:
    """Where the expensive model goes on: what the suffix takes, by name, and outputs of the model that lie before the
    cut. The arrays are those that the prefix gave, and inputs as they were handed in."""

    feeds: dict[str, Any]
    early: dict[str, Any]


class EarlyExit:
    """A model that may end early: ``fast`` and ``full`` are the pair that ``HRMSession`` takes.

        early = EarlyExit("model.onnx", exit="relu_6").fit(samples)
        session = HRMSession(early.fast, early.full)

    model: a path, bytes, a ``ronn.Model``. exit: name of the value at which it is cut (``ronn inspect --ir`` prints
    them); several where one is not enough. head: a model of what ends early, from the exit value (by its name) to
    outputs named as the model's; None: ``fit`` makes one. providers, options: as for ``ronn.Session``, for all parts.

    ``full`` runs prefix and suffix, whether it begins anew or goes on, so that an input has one answer to the bit.
    Where passes would fuse across the cut, that answer equals the whole model's to rounding only.

    Raises OptionError for a value that there is not or that separates nothing, RoutingError for a head that does not
    fit.
    """

    def __init__(
        self,
        model: Source,
        exit: str | Sequence[str],
        head: Source | None = None,
        *,
        providers: str | Sequence[ProviderSpec] | None = None,
        options: Options | None = None,
    ) -> None:
        self.model = model if isinstance(model, Model) else Model.load(model, options)
        self.exits = (exit,) if isinstance(exit, str) else tuple(exit)
        self._how: dict[str, Any] = {"providers": providers, "options": options}
        prefix, suffix = split_model(self.model, self.exits)
        self.prefix, self.suffix = Session(prefix, **self._how), Session(suffix, **self._how)
        self.full = Full(self.model, self.prefix, self.suffix)
        self._fast: Fast | None = None
        if head is not None:
            self.set_head(head)

    @property
    def fast(self) -> Fast:
        """The cheap model. RoutingError before there is a head."""
        if self._fast is None:
            raise RoutingError(
                f"the early exit at {', '.join(self.exits)} has no head yet",
                hint="fit(samples) makes one; or EarlyExit(..., head=a model)",
            )
        return self._fast

    @property
    def head(self) -> Model:
        """The head's model; ``ronn.frontend.proto.save_model(head.ir, path)`` keeps it."""
        return self.fast.head.model

    def set_head(self, head: Source) -> None:
        """Ends early with another head. RoutingError where it does not fit the exit or the model's outputs."""
        found = Session(head, **self._how)
        given = [v.name for v in self.prefix.outputs]
        strange = [v.name for v in found.inputs if v.name not in given]
        if strange:
            raise RoutingError(
                f"the head takes {', '.join(map(repr, strange))}, and the exit gives {', '.join(map(repr, given))}",
                hint="name the head's inputs as the values at the exit",
            )
        wanted = [v.name for v in self.model.outputs]
        if not any(v.name in wanted for v in found.outputs):
            raise RoutingError(
                f"the head gives {', '.join(v.name for v in found.outputs)}, and the model {', '.join(wanted)}",
                hint="name the head's outputs as the model's that they stand for",
            )
        self._fast = Fast(self.full, found)

    def fit(
        self,
        inputs: Sequence[Mapping[str, Any]],
        *,
        output: str | None = None,
        kind: str = "linear",
        pool: str = "auto",
        probabilities: bool = False,
        ridge: float = 0.1,
    ) -> EarlyExit:
        """Makes the head: linear, from the values at the exit to what the model itself says of ``inputs``. Gives self.

        inputs: feeds by name, one mapping a request; calibration must not see these again. output: the one that
        answers, [rows, classes] (default: the first). kind: ``linear``, or ``ternary`` (weights -s, 0 and s, one s a
        class). pool: ``mean`` over all axes behind the second (the channels), ``flat`` (every element a feature),
        ``auto``: flat up to 2048 elements. probabilities: the output holds probabilities, not logits. ridge: of the
        features' variance.

        Raises OptionError for too few inputs, or values that cannot be a head's features.
        """
        from ronn_hrm.exit_head import fit_head

        name = output if output is not None else self.model.outputs[0].name
        if len(self.exits) != 1:
            raise OptionError("a head is fitted to one value, and the model is cut at several", hint="give a head")
        rows = [self._seen(one, name) for one in inputs]
        made = fit_head(self.exits[0], name, rows, kind, pool, probabilities, ridge)
        self.set_head(made)
        return self

    def _seen(self, inputs: Mapping[str, Any], output: str) -> tuple[Any, Any]:
        """The value at the exit, and the model's output."""
        first, carry = self.full.begin(inputs)
        return first[self.exits[0]], self.full.resume(carry)[output]

    def __iter__(self) -> Iterator[Any]:
        """``fast``, then ``full``."""
        return iter((self.fast, self.full))

    def close(self) -> None:
        """Closes the sessions of all parts."""
        for session in (self.prefix, self.suffix, *(() if self._fast is None else (self._fast.head,))):
            session.close()


class Full:
    """The whole model, as prefix and suffix: runs, and goes on from where ``Fast`` stopped."""

    def __init__(self, model: Model, prefix: Session, suffix: Session) -> None:
        self.model_inputs, self.overridable = model.graph.inputs, model.ir.overridable
        self.inputs: list[ValueInfo] = model.inputs
        self.outputs: list[ValueInfo] = model.outputs
        self.prefix, self.suffix = prefix, suffix
        self._names = {v.name for v in self.inputs}
        self._order = tuple(v.name for v in self.outputs)
        crossing = {v.name for v in prefix.outputs}
        self._begins_with = (*(v.name for v in prefix.inputs), *prefix.model.ir.overridable)
        takes = [v.name for v in suffix.inputs]
        self._crossing = tuple(n for n in takes if n in crossing)
        self._beside = tuple(n for n in (*takes, *suffix.model.ir.overridable) if n not in crossing)
        behind = {v.name for v in suffix.outputs}
        self._early = tuple(n for n in self._order if n not in behind)

    def fingerprint(self) -> str:
        return f"{fingerprint(self.prefix)}+{fingerprint(self.suffix)}"

    def run(self, inputs: Any = None, *, outputs: Sequence[str] | None = None, **options: Any) -> Mapping[str, Any]:
        """As ``Session.run``."""
        _, carry = self.begin(inputs, **options)
        return self.resume(carry, outputs=outputs, **options)

    def begin(self, inputs: Any = None, **options: Any) -> tuple[Mapping[str, Any], Carry]:
        """Runs the prefix: what it gives, and where to go on."""
        if not isinstance(inputs, Mapping) or inputs.keys() != self._names:
            inputs = gather_inputs(inputs, self.model_inputs, self.overridable)
        first = self.prefix.run({n: inputs[n] for n in self._begins_with if n in inputs}, **options)
        feeds = {n: first[n] for n in self._crossing}
        for name in self._beside:
            if name in inputs:
                feeds[name] = inputs[name]
        return first, Carry(feeds, {n: first[n] for n in self._early})

    def resume(self, carry: Carry, *, outputs: Sequence[str] | None = None, **options: Any) -> Mapping[str, Any]:
        """Runs the suffix: what ``run`` gives. InputError for an output that there is not."""
        if not carry.early:
            return self.suffix.run(carry.feeds, outputs=outputs, **options)
        wanted = self._order if outputs is None else tuple(outputs)
        late = [n for n in wanted if n not in carry.early]
        found = self.suffix.run(carry.feeds, outputs=late, **options) if late else {}
        return Outputs(wanted, [carry.early[n] if n in carry.early else found[n] for n in wanted])

    def close(self) -> None:
        """Closes both parts."""
        self.prefix.close()
        self.suffix.close()


class Fast:
    """The beginning of the model with a head."""

    def __init__(self, full: Full, head: Session) -> None:
        self._full, self.head = full, head
        self.inputs: list[ValueInfo] = full.inputs
        self.outputs: list[ValueInfo] = head.outputs
        self._takes = tuple(v.name for v in head.inputs)

    def fingerprint(self) -> str:
        return f"{fingerprint(self._full.prefix)}+{fingerprint(self.head)}"

    def begin(
        self, inputs: Any = None, *, outputs: Sequence[str] | None = None, **options: Any
    ) -> tuple[Mapping[str, Any], Carry]:
        """The head's outputs, and where ``Full.resume`` goes on."""
        first, carry = self._full.begin(inputs, **options)
        return self.head.run({n: first[n] for n in self._takes}, outputs=outputs, **options), carry

    def run(self, inputs: Any = None, *, outputs: Sequence[str] | None = None, **options: Any) -> Mapping[str, Any]:
        """As ``Session.run``."""
        return self.begin(inputs, outputs=outputs, **options)[0]

    def close(self) -> None:
        """Closes the head; the prefix is the expensive model's too."""
        self.head.close()
