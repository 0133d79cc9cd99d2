"""``out=``: memory of the caller's that a run puts its outputs into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ronn import dlpack
from ronn.errors import InputError, nearest
from ronn.ir.graph import Value
from ronn.ir.types import DType, TensorType
from ronn.plan.plan import Plan
from ronn.plan.segment import address
from ronn.plan.stop import Stop
from ronn.records import dataclass
from ronn.usage import Copies
from ronn.values import own

Out = Mapping[str, Any] | Sequence[Any]
"""Buffers by the name of the output, or in the order of the outputs, None for those that the run is to make."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """What the caller gave for an output, and its memory."""

    name: str
    given: Any
    array: np.ndarray

    @property
    def direct(self) -> bool:
        """Whether a kernel can write there."""
        return self.array.flags.c_contiguous and self.array.flags.aligned and self.array.dtype != object

    def take(self, result: Any, copies: Copies) -> Any:
        """Sees to it that the buffer holds ``result``, and returns what the caller gave. InputError if it cannot."""
        if not isinstance(result, np.ndarray):
            raise InputError(f"output {self.name!r} is {type(result).__name__}: out= takes tensors")
        if result.shape != self.array.shape or result.dtype != self.array.dtype:
            raise _misfit(self.name, self.array, f"came out as {_text(result)}", result)
        if not self.direct or (result.size and address(result) != address(self.array)):
            copies.count(outs=1)
            self.array[...] = result
        return self.given


Buffers = list[Buffer | None]


def read_buffers(
    out: Out, names: Sequence[str], plan: Plan, chosen: Sequence[int], inputs: Mapping[str, Any]
) -> Buffers:
    """The buffers of a run that gives the plan's outputs of number ``chosen`` under ``names``, None where it is to make
    an array.

    Raises InputError for an unknown output, for something that has no memory that can be written, for a dtype or shape
    that the output does not have, and for memory that overlaps that of an input or of another buffer: but for that of
    an input which the plan can make the output over.
    """
    outputs = [plan.outputs[i] for i in chosen]
    if isinstance(out, Mapping):
        for name in out:
            if name not in names:
                near = nearest(str(name), names)
                listed = ", ".join(map(repr, names))
                hint = f"did you mean {near!r}?" if near else None
                raise InputError(f"out has {name!r}, which is no output of this run; it gives {listed}", hint=hint)
        given = [out.get(n) for n in names]
    elif isinstance(out, (list, tuple)):
        given = list(out)
        if len(given) != len(names):
            listed = ", ".join(map(repr, names))
            hint = "None leaves one to the run; or give a mapping"
            raise InputError(f"out has {len(given)} buffers, the run gives {len(names)}: {listed}", hint=hint)
    elif len(names) == 1:
        given = [out]
    else:
        hint = f"for instance out={{{names[0]!r}: array}}"
        raise InputError(f"out is {type(out).__name__}, not a mapping of output name to buffer", hint=hint)
    buffers = [None if g is None else _buffer(n, g, v) for n, g, v in zip(names, given, outputs, strict=True)]
    of = list(inputs)
    over = {n: {of[j] for j in plan.over_inputs.get(i, ())} for n, i in zip(names, chosen, strict=True)}
    _check_overlaps([b for b in buffers if b is not None], inputs, over)
    return buffers


def run_into(
    plan: Plan,
    feed: Mapping[str, Any],
    stop: Stop,
    out: Out,
    names: Sequence[str],
    chosen: Sequence[int],
    copies: Copies,
) -> list[Any]:
    """One run whose outputs go to ``out``: those of number ``chosen``, called ``names``. ``feed``: inputs in order."""
    buffers = read_buffers(out, names, plan, chosen, feed)
    places: Buffers = [None] * len(plan.outputs)
    for i, buffer in zip(chosen, buffers, strict=True):
        places[i] = buffer
    results = plan.run([*feed.values()], stop, given_to(plan, places))
    return take_all(buffers, [results[i] for i in chosen], [*feed.values()], copies)


def given_to(plan: Plan, buffers: Buffers) -> dict[int, np.ndarray]:
    """What ``Plan.run`` takes: the buffers that it can have its kernels write to."""
    places = plan.places
    pairs = [(places[i], b.array) for i, b in enumerate(buffers) if b is not None and i in places and b.direct]
    return {place.slot: place.fitted(array) for place, array in pairs}


def take_all(buffers: Buffers, results: Sequence[Any], inputs: Sequence[Any], copies: Copies) -> list[Any]:
    """The outputs: what the caller gave where there is something, else the result, as the caller's own."""
    taken = [None if b is None else b.take(r, copies) for b, r in zip(buffers, results, strict=True)]
    made = [i for i, b in enumerate(buffers) if b is None]
    foreign = [*inputs, *(b.array for b in buffers if b is not None)]
    for i, result in zip(made, own([results[i] for i in made], foreign, copies), strict=True):
        taken[i] = result
    return taken


def _buffer(name: str, given: Any, output: Value) -> Buffer:
    array = _memory(name, given)
    declared = output.type
    if declared is not None and not isinstance(declared, TensorType):
        raise InputError(f"output {name!r} is {declared}: out= takes tensors")
    dtype, shape = output.dtype, output.tensor.shape
    wrong = dtype is not None and not (dtype.numpy == array.dtype or (dtype is DType.STRING and array.dtype == object))
    if shape is not None and not wrong:
        fits = [not isinstance(d, int) or d == n for d, n in zip(shape, array.shape)]
        wrong = len(shape) != array.ndim or not all(fits)
    if wrong:
        raise _misfit(name, array, f"is {declared}", output)
    return Buffer(name, given, array)


def _memory(name: str, given: Any) -> np.ndarray:
    array: np.ndarray
    if isinstance(given, np.ndarray):
        array = given
    else:
        try:
            if hasattr(given, "__array_interface__"):
                array = np.asarray(given)
            elif hasattr(given, "__dlpack__"):
                array = dlpack.read(given)
            else:
                array = np.asarray(memoryview(given))
        except Exception as e:
            raise InputError(
                f"out[{name!r}]: {type(given).__name__} has no memory that a run could write to: {e}",
                hint="give an array, or something with __dlpack__ or a buffer on the host",
            ) from e
    if not array.flags.writeable:
        raise InputError(f"out[{name!r}] is read-only: {_text(array)}", hint="give memory that can be written")
    return array


def _check_overlaps(buffers: Sequence[Buffer], inputs: Mapping[str, Any], over: Mapping[str, set[str]]) -> None:
    arrays = [(n, a) for n, a in inputs.items() if isinstance(a, np.ndarray)]
    for k, buffer in enumerate(buffers):
        for name, array in arrays:
            if name in over[buffer.name] and buffer.direct and _same(buffer.array, array):
                continue
            if _overlap(buffer.array, array):
                raise InputError(
                    f"out[{buffer.name!r}] overlaps the input {name!r}, which kernels read while they write",
                    hint="give it memory of its own",
                )
        for other in buffers[:k]:
            if _overlap(buffer.array, other.array):
                both = f"out[{buffer.name!r}] and out[{other.name!r}]"
                raise InputError(f"{both} overlap", hint="give each memory of its own")


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return address(a) == address(b) and a.shape == b.shape and a.dtype == b.dtype and b.flags.c_contiguous


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    if not np.may_share_memory(a, b):
        return False
    try:
        return np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]  # any bound will do
    except np.exceptions.TooHardError:
        return True


def _misfit(name: str, array: np.ndarray, said: str, wanted: Any) -> InputError:
    shape = wanted.shape if isinstance(wanted, np.ndarray) else wanted.tensor.shape
    hint = None
    if wanted.dtype is not None and shape is not None and all(isinstance(d, int) for d in shape):
        dtype = wanted.dtype if isinstance(wanted, np.ndarray) else wanted.dtype.numpy
        hint = f"numpy.empty({tuple(shape)}, {dtype.name!r}) fits"
    return InputError(f"output {name!r} {said}, and the buffer given for it is {_text(array)}", hint=hint)


def _text(array: np.ndarray) -> str:
    return f"{array.dtype}{list(array.shape)}"
