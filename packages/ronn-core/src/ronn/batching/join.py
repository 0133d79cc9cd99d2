"""From requests to runs: which of them go together, how their inputs are put together and the outputs taken apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.batching.decide import Batching
from ronn.errors import CancelledError, InputError, InternalError, RonnError, nearest
from ronn.records import dataclass
from ronn.values import Outputs, check_symbols, convert, gather_inputs

if TYPE_CHECKING:
    from ronn.session import Session

Run = Callable[[Mapping[str, Any]], Outputs]
"""Runs the model once on inputs by name."""


@dataclass(frozen=True, slots=True)
class Request:
    """The inputs of one request, converted and checked.

    rows: how many rows it brings. key: requests of equal keys can be joined; None: this one runs by itself.
    cut: for outputs with padded dims, by name, the size of each axis (None: as it comes) and where the padding lies.
    """

    values: Mapping[str, Any]
    outputs: tuple[str, ...] | None
    rows: int = 0
    key: object = None
    cut: Mapping[str, tuple[slice, ...]] | None = None


def prepare(session: Session, batching: Batching, inputs: Any, outputs: Sequence[str] | None) -> Request:
    """Converts and checks the inputs of one request. InputError when they do not fit the model."""
    wanted = check_outputs(session, outputs)
    graph, ir = session.model.graph, session.model.ir
    given = gather_inputs(inputs, graph.inputs, ir.overridable)
    if not given.keys() <= {v.name for v in graph.inputs}:
        return Request(given, wanted)  # it feeds constants that have a default
    values = {v.name: convert(given[v.name], v.type, v.name) for v in graph.inputs}
    check_symbols(values, graph.inputs, session.options.dimensions)
    return keyed(Request(values, wanted), batching)


def keyed(request: Request, batching: Batching) -> Request:
    """The request with its rows counted, and with what it must have in common with others to be joined with them."""
    values = request.values
    if not batching.joins or not all(isinstance(a, np.ndarray) for a in values.values()):
        return request
    found = set()
    key: list[object] = []
    for name, axis in batching.inputs.items():
        array = values[name]
        if axis is None:
            key.append((array.dtype.str, array.shape, _content(array)))
        elif axis >= array.ndim:
            return request
        else:
            found.add(array.shape[axis])
            key.append((array.dtype.str, array.shape[:axis], array.shape[axis + 1 :]))
    if len(found) != 1 or 0 in found:
        return request
    return Request(values, request.outputs, found.pop(), tuple(key), request.cut)


def _content(array: np.ndarray) -> object:
    if array.dtype.kind == "O":
        return tuple(array.reshape(-1).tolist())
    return hashlib.blake2b(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"").digest()


def check_outputs(session: Session, outputs: Sequence[str] | None) -> tuple[str, ...] | None:
    """Names of outputs that a request wants, checked. InputError for one that the model does not have."""
    if outputs is None:
        return None
    names = [v.name for v in session.model.outputs]
    for name in outputs:
        if name not in names:
            near = nearest(name, names)
            raise InputError(
                f"the model has no output {name!r}; it gives {', '.join(map(repr, names))}",
                hint=f"did you mean {near!r}?" if near else None,
            )
    return tuple(outputs)


def default_sizes(most: int) -> tuple[int, ...]:
    """Numbers of rows that joined runs have: powers of two up to ``most``, and ``most``. Few, since each is planned."""
    return tuple(sorted({*(1 << i for i in range(most.bit_length())), most}))


def pack(rows: Sequence[int], sizes: Sequence[int]) -> tuple[int, int]:
    """How many of the requests in front, with so many rows each, go into the next run, and its number of rows.

    As many as make exactly one of ``sizes``; where no number of them does, as many as fit, filled up to the next size.
    One request alone keeps its own size.
    """
    total, fit, exact = 0, 0, 0
    for i, n in enumerate(rows, 1):
        total += n
        if total > sizes[-1]:
            break
        fit = i
        if total in sizes:
            exact = i
    if exact > 1 or (exact == 1 and fit == 1) or fit <= 1:
        count = max(exact, 1)
        return count, sum(rows[:count])
    size = sum(rows[:fit])
    return fit, next(s for s in sizes if s >= size)


def run_together(requests: Sequence[Request], size: int, batching: Batching, run: Run) -> list[Outputs | RonnError]:
    """Runs requests of one key as one run of ``size`` rows, and gives what each gets.

    When the run fails, each request runs by itself, so that only those that cannot run have an error. One that was
    cancelled or timed out is over for all of them.
    """
    if len(requests) == 1:
        return [run_alone(requests[0], run)]
    try:
        results = run(_joined(requests, size, batching))
    except CancelledError as e:
        return [e] * len(requests)
    except RonnError:
        return [run_alone(r, run) for r in requests]
    out: list[Outputs | RonnError] = []
    start = 0
    for request in requests:
        stop = start + request.rows
        taken = [_part(results[n], batching.outputs[n], start, stop, size, n) for n in batching.outputs]
        out.append(finished(request, Outputs(tuple(batching.outputs), taken)))
        start = stop
    return out


def run_alone(request: Request, run: Run) -> Outputs | RonnError:
    """Runs one request by itself; gives its outputs, or its error."""
    try:
        return finished(request, run(request.values))
    except RonnError as e:
        return e


def finished(request: Request, results: Outputs) -> Outputs:
    """The outputs that the request wants, cut back to its own size."""
    names = list(results.keys()) if request.outputs is None else list(request.outputs)
    if request.outputs is None and request.cut is None:
        return results
    found = [results[n] for n in names]
    if request.cut is not None:
        found = [f[request.cut[n]].copy() if n in request.cut else f for n, f in zip(names, found, strict=True)]
    return Outputs(names, found)


def _joined(requests: Sequence[Request], size: int, batching: Batching) -> dict[str, Any]:
    spare = size - sum(r.rows for r in requests)
    joined = {}
    for name, axis in batching.inputs.items():
        parts = [r.values[name] for r in requests]
        if axis is None:
            joined[name] = parts[0]
            continue
        if spare:
            last = parts[-1]
            parts.append(np.repeat(last.take([-1], axis=axis), spare, axis=axis))
        joined[name] = np.concatenate(parts, axis=axis)
    return joined


def _part(value: Any, axis: int | None, start: int, stop: int, rows: int, name: str) -> Any:
    """The rows from ``start`` to ``stop`` of an output of a run of so many ``rows``, as an array of its own."""
    if axis is None:
        return value.copy() if isinstance(value, np.ndarray) else value
    length = len(value) if isinstance(value, list) else value.shape[axis]
    if length % rows:
        raise InternalError(f"output {name!r} of {rows} joined rows has {length} along axis {axis}")
    per = length // rows
    if isinstance(value, list):
        return value[start * per : stop * per]
    return value[(slice(None),) * axis + (slice(start * per, stop * per),)].copy()
