"""Outputs in memory of the caller's: the slots that a run takes arrays for, so that kernels write there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ronn.ir.graph import Value
from ronn.ir.types import TensorType
from ronn.plan.segment import Segment
from ronn.provider import Call
from ronn.records import dataclass

if TYPE_CHECKING:
    from ronn.plan.plan import Step


@dataclass(frozen=True, slots=True)
class Place:
    """Where an output can be made: the slot whose array holds all of it and nothing else, and that array's type.

    ``native``: kernels write there for certain; a Python function may return another array.
    """

    slot: int
    shape: tuple[int, ...]
    dtype: np.dtype
    native: bool

    def fitted(self, array: np.ndarray) -> np.ndarray:
        """``array``, in C order and as large, as what the slot holds."""
        if array.shape == self.shape and array.dtype == self.dtype:
            return array
        return array.reshape(-1).view(self.dtype).reshape(self.shape)


def places(outputs: Sequence[int], segments: Sequence[Segment], steps: Sequence[Step]) -> dict[int, Place]:
    """By the number of the output, those that kernels can make in memory that they are handed.

    Others are parts of arrays, given out twice, inputs or constants as they are, or of sizes that nobody knows before.
    """
    made = {m.slot: Place(m.slot, m.shape, m.dtype, True) for s in segments for m in s.made} | dict(_of_python(steps))
    homes = {
        v.slot: v.home
        for s in segments
        for v in s.views
        if v.home in made and v.shift == 0 and v.nbytes == _nbytes(made[v.home])
    }
    found = {i: homes.get(slot, slot) for i, slot in enumerate(outputs) if slot in made or slot in homes}
    wanted = Counter(found.values())
    return {i: made[slot] for i, slot in found.items() if wanted[slot] == 1}


def over_inputs(
    calls: Sequence[Call], last_use: Mapping[Value, int], inputs: Sequence[Value], outputs: Sequence[Value]
) -> dict[int, frozenset[int]]:
    """By the number of the output, the inputs that may lie where it is made: a native kernel makes it, may overwrite
    them, and is the last that reads them."""
    number = {v: i for i, v in enumerate(inputs)}
    made = [(at, call) for at, call in enumerate(calls) if call.native is not None and call.outputs]
    maker = {call.outputs[0]: (at, call) for at, call in made}
    found = {}
    for i, value in enumerate(outputs):
        if value not in maker or 0 in maker[value][1].native.alias:  # type: ignore[union-attr]
            continue
        at, call = maker[value]
        operands = [call.inputs[j] for j in call.inplace if j < len(call.inputs)]
        free = [v for v in operands if v in number and last_use.get(v) == at and call.inputs.count(v) == 1]
        if free:
            found[i] = frozenset(number[v] for v in free if v is not None)
    return found


def _of_python(steps: Sequence[Step]) -> Iterator[tuple[int, Place]]:
    """What Python functions make that take memory to write to."""
    for step in steps:
        if step.segment < 0 and step.into:
            for value, slot, in_arena in zip(step.call.outputs, step.outs, step.arena, strict=True):
                if slot > 0 and not in_arena and isinstance(value.type, TensorType) and value.type.is_static:
                    if value.dtype is not None:
                        yield slot, Place(slot, value.tensor.static_shape, value.dtype.numpy, False)


def _nbytes(place: Place) -> int:
    return int(np.prod(place.shape, dtype=np.int64)) * place.dtype.itemsize
