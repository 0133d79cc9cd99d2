"""Lifetimes: which storage each value lives in, and from which call to which call."""

from __future__ import annotations

from collections.abc import Sequence

from ronn.ir.graph import Value
from ronn.ir.types import TensorType
from ronn.provider import Call
from ronn.records import dataclass, field

ALIGNMENT = 64
_PATIENCE = 9  # calls


@dataclass(slots=True, eq=False)
class Storage:
    """Memory that one or more values share. ``size`` in bytes; None where the kernel allocates it."""

    first: int
    last: int
    size: int | None = None
    offset: int = -1
    external: bool = False  # not the arena's: inputs, graph outputs, what kernels allocate
    values: list[Value] = field(default_factory=list)
    home: Value | None = None  # of external storage: the value whose array holds it


@dataclass(slots=True)
class Lifetimes:
    """Storage of every value, and the call after which each value's slot may be cleared."""

    storage: dict[Value, Storage]
    last_use: dict[Value, int]
    shift: dict[Value, int] = field(default_factory=dict)  # bytes from the start of its storage, where not 0
    scratch: dict[tuple[int, int], Storage] = field(default_factory=dict)  # (call, number) -> memory of that call only
    joined: set[int] = field(default_factory=set)  # calls whose first output was made, all of it, by those before

    def arena_storages(self) -> list[Storage]:
        """The storages that the arena must hold, each once."""
        seen: dict[int, Storage] = {}
        for s in self.storage.values():
            if s.size is not None and not s.external:
                seen.setdefault(id(s), s)
        return [*seen.values(), *self.scratch.values()]


def nbytes(value: Value) -> int | None:
    """Bytes of a value whose size is known and whose elements NumPy can store in plain memory; else None."""
    t = value.type
    if not isinstance(t, TensorType) or t.dtype is None or not t.is_static or t.dtype.bits == 0:
        return None
    return t.size * t.dtype.numpy.itemsize


def analyse(calls: Sequence[Call], inputs: Sequence[Value], outputs: Sequence[Value]) -> Lifetimes:
    """Walks the calls once: last uses, then storages, sharing where a call may work in place.

    What a call returns without filling a given ``out`` may be a view of any of its inputs (or hold them, as a sequence
    does), unless the call says of which one; their arena storage stays alive as long as the result does.
    """
    end = len(calls)
    last_use = _last_uses(calls, outputs, end)
    final = set(outputs)
    escaping = _aliased_by_outputs(calls, final)
    storage: dict[Value, Storage] = {v: Storage(-1, end, external=True, home=v) for v in inputs}
    holds: dict[Value, frozenset[Storage]] = {}  # the arena storages that a value may lie in
    found = Lifetimes(storage, last_use)

    for i, call in enumerate(calls):
        alias = {} if call.native is None else call.native.alias
        counted = {} if call.native is None else call.native.counted
        if call.native is not None:
            for n, wanted in enumerate(call.native.scratch):
                found.scratch[i, n] = Storage(i, i, wanted)
        for j, out in enumerate(call.outputs):
            if not out.name:
                continue
            last = last_use.get(out, i)
            if j in alias:
                source = call.inputs[alias[j][0]]
                assert source is not None
                if source not in storage:
                    storage[source] = Storage(-1, end, external=True, home=source)
                storage[out] = storage[source]
                found.shift[out] = found.shift.get(source, 0) + alias[j][1]
                home = storage[out].home
                if home is not None:  # its array must outlive what lies in it
                    last_use[home] = max(last_use.get(home, i), last)
                held = holds.get(source, frozenset())
            else:
                fills = call.into or call.native is not None
                placed = fills and j not in counted and out not in final and out not in escaping
                size = nbytes(out) if placed else None
                if size is None:
                    storage[out] = Storage(i, last, external=True, values=[out], home=out)
                    held = frozenset() if fills else _may_hold(call, j, holds)
                else:
                    shared = _reusable(call, out, holds, found, i) if j == 0 else None
                    storage[out] = Storage(i, last, size) if shared is None else shared
                    held = frozenset((storage[out],))
                    if j == 0 and shared is None and call.native is not None and call.native.joins:
                        _join(call, storage[out], holds, found, i)
            holds[out] = held
            for s in held:
                s.values.append(out)
                s.last = max(s.last, last)
    return found


def _join(call: Call, whole: Storage, holds: dict[Value, frozenset[Storage]], known: Lifetimes, at: int) -> None:
    """Gives inputs that a call joins their places in its output from the start, where nothing else shares theirs."""
    assert call.native is not None and whole.size is not None
    made = 0
    for j, offset in call.native.joins.items():
        value = call.inputs[j]
        part = None if value is None else known.storage.get(value)
        if value is None or part is None or part.external or part is whole or part.size != nbytes(value):
            continue
        # A part that waits for long would keep the whole waiting: only parts that are much of it may.
        if part.size is None or (at - part.first) * (whole.size - part.size) > _PATIENCE * whole.size:
            continue
        for v in part.values:
            holds[v] = (holds[v] - {part}) | {whole}
            if known.storage[v] is part:
                known.storage[v] = whole
                known.shift[v] = known.shift.get(v, 0) + offset
        whole.values += part.values
        whole.first, whole.last = min(whole.first, part.first), max(whole.last, part.last)
        made += part.size
    if made == whole.size:
        known.joined.add(at)


def _aliased_by_outputs(calls: Sequence[Call], final: set[Value]) -> set[Value]:
    """Values that an output of the graph is an alias of: they live where the output does."""
    found: set[Value] = set()
    for call in reversed(calls):
        if call.native is not None:
            for j, (source, _) in call.native.alias.items():
                value = call.inputs[source]
                if value is not None and (call.outputs[j] in final or call.outputs[j] in found):
                    found.add(value)
    return found


def _may_hold(call: Call, output: int, holds: dict[Value, frozenset[Storage]]) -> frozenset[Storage]:
    viewed = call.view_of.get(output)
    # An input that may be viewed may also be omitted from the end of the list.
    sources = call.inputs if viewed is None else call.inputs[viewed : viewed + 1]
    return frozenset().union(*(holds.get(v, frozenset()) for v in sources if v is not None))


def _last_uses(calls: Sequence[Call], outputs: Sequence[Value], end: int) -> dict[Value, int]:
    last: dict[Value, int] = {}
    for i, call in enumerate(calls):
        for v in call.inputs:
            if v is not None:
                last[v] = i
    for v in outputs:
        last[v] = end
    return last


def _reusable(
    call: Call, out: Value, holds: dict[Value, frozenset[Storage]], known: Lifetimes, at: int
) -> Storage | None:
    """The arena storage of an input with the output's type, when everything that may lie in it dies at this call."""
    for j in call.inplace:
        value = call.inputs[j] if j < len(call.inputs) else None
        found = None if value is None else known.storage.get(value)
        if value is None or found is None or found.external or known.shift.get(value):
            continue
        if value.type != out.type and (call.native is None or found.size != nbytes(out)):
            continue
        if any(found in holds.get(v, ()) for v in call.inputs if v is not None and v is not value):
            continue
        if all(known.last_use.get(v, at) <= at for v in found.values):
            return found
    return None
