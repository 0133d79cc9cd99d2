"""The order of calls where some are native and some run in Python: in few stretches of either kind.

Each stretch of native calls is a launch of its own, which costs a small model more than its kernels.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import pairwise

from ronn.ir.graph import Value
from ronn.provider.contract import Call

_SMALL = 4 << 20  # bytes of all results up to which it does not matter how long each is kept


def in_few_stretches(calls: Sequence[Call]) -> Sequence[Call]:
    """The calls in an order that can run, with fewer changes between native and other ones if there is any.

    Calls of a kind stay in their order as far as they can. Where results are large nothing is moved: the order they
    come in keeps few of them at a time.
    """
    changes = _changes(calls)
    if changes < 2 or sum(_nbytes(v) for c in calls for v in c.outputs) > _SMALL:
        return calls
    best = min((_ordered(calls, first) for first in (False, True)), key=_changes)
    return best if _changes(best) < changes else calls


def _changes(calls: Sequence[Call]) -> int:
    return sum((a.native is None) != (b.native is None) for a, b in pairwise(calls))


def _ordered(calls: Sequence[Call], native: bool) -> list[Call]:
    """All that can run of one kind, then all that then can of the other, and so on."""
    maker = {v: i for i, c in enumerate(calls) for v in c.outputs if v.name}
    needs = [{maker[v] for v in c.inputs if v is not None and v in maker} for c in calls]
    users: list[list[int]] = [[] for _ in calls]
    for i, needed in enumerate(needs):
        for j in needed:
            users[j].append(i)
    missing = [len(needed) for needed in needs]
    ready: dict[bool, list[int]] = {True: [], False: []}
    for i, call in enumerate(calls):
        if not missing[i]:
            ready[call.native is not None].append(i)
    out: list[Call] = []
    while ready[True] or ready[False]:
        while ready[native]:
            i = heapq.heappop(ready[native])
            out.append(calls[i])
            for j in users[i]:
                missing[j] -= 1
                if not missing[j]:
                    heapq.heappush(ready[calls[j].native is not None], j)
        native = not native
    return out


def _nbytes(value: Value) -> int:
    t = value.tensor
    return t.size * max(t.dtype.bits, 8) // 8 if t.dtype is not None and t.is_static else 0
