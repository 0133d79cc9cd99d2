"""Inputs and outputs bound to memory: checked once, for runs again and again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn import listeners
from ronn.buffers import Buffers, Out, given_to, read_buffers, take_all
from ronn.errors import InputError
from ronn.plan.plan import Plan
from ronn.plan.stop import Stop
from ronn.values import Outputs, is_copy, own, positions

if TYPE_CHECKING:
    from ronn.session import Session


class Binding:
    """What ``Session.bind`` returns: call it to run on what the bound memory holds then.

    Nothing is converted, checked or looked up again, and nothing is allocated for outputs that are bound and that
    kernels can write in place. Inputs may be written between runs, not during one. Threads that run at once need a
    binding each, where outputs are bound.
    """

    __slots__ = (
        "_buffers",
        "_chosen",
        "_given",
        "_inputs",
        "_out",
        "_outputs",
        "_plan",
        "_session",
        "_sure",
        "_values",
    )

    _plan: Plan

    def __init__(self, session: Session, inputs: Any, outputs: Sequence[str] | None, out: Out | None) -> None:
        self._session = session
        self._inputs = inputs
        self._outputs = session._output_names if outputs is None else tuple(outputs)
        self._out = out
        self._bind()

    def _bind(self) -> None:
        session = self._session
        variant, self._plan, self._values, _ = session._ready(self._inputs, ())
        names = [v.name for v in variant.portable.inputs]
        feed = dict(zip(names, self._values, strict=True))
        given = self._inputs if isinstance(self._inputs, dict) else dict(zip(names, _listed(self._inputs, len(names))))
        for name, array in feed.items():
            if not isinstance(array, np.ndarray) or is_copy(array, given[name]):
                what = type(given[name]).__name__
                raise InputError(
                    f"input {name!r} cannot be bound: a run would read a copy of the {what}, made now",
                    hint="bind an array, or anything else with __dlpack__ or a buffer",
                )
        self._chosen = positions(self._outputs, variant.portable.output_names)
        self._buffers: Buffers = [None] * len(self._chosen)
        if self._out is not None:
            self._buffers = read_buffers(self._out, self._outputs, self._plan, self._chosen, feed)
        every: Buffers = [None] * len(self._plan.outputs)
        for i, buffer in zip(self._chosen, self._buffers, strict=True):
            every[i] = buffer
        self._given = given_to(self._plan, every)
        places = self._plan.places
        bound = [i for i, b in zip(self._chosen, self._buffers, strict=True) if b is not None and b.direct]
        self._sure: Outputs | None = None
        if len(bound) == len(self._chosen) and all(i in places and places[i].native for i in bound):
            if not self._plan.guard:
                self._sure = Outputs(self._outputs, [b.given for b in self._buffers if b is not None])

    def __call__(
        self, *, timeout: float | None = None, stop: Stop | None = None, threads: int | None = None
    ) -> Outputs:
        """Runs once; arguments, results and errors as for ``Session.run``; bound outputs are what was given."""
        stops = self._session._stops
        if timeout is None and stop is None and threads is None and not listeners.watching_runs:
            return self._run(stops.shared)
        with self._session._watched(), stops.own(timeout, stop, threads) as own_stop:
            listeners.note_signature(self._plan.signature)
            return self._run(own_stop)

    run = __call__

    def _run(self, stop: Stop) -> Outputs:
        if not self._plan.keep:  # given back since: the session was trimmed, or is closed
            self._bind()
        plan = self._plan
        plan.used = True
        results = plan.run(self._values, stop, self._given)
        if self._sure is not None:
            return self._sure
        copies = self._session._copies
        if self._out is not None:
            results = take_all(self._buffers, [results[i] for i in self._chosen], self._values, copies)
            return Outputs(self._outputs, results)
        if not plan.fresh:
            results = own(results, self._values, copies)
        return Outputs(self._outputs, [results[i] for i in self._chosen])

    def __repr__(self) -> str:
        bound = [b.name for b in self._buffers if b is not None]
        return f"Binding({self._session!r}, outputs bound: {', '.join(bound) or 'none'})"


def _listed(inputs: Any, count: int) -> Sequence[Any]:
    return inputs if isinstance(inputs, (list, tuple)) and len(inputs) == count else [inputs]
