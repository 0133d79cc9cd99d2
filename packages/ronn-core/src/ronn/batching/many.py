"""``Session.run_batch``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ronn.batching.decide import Batching, assume
from ronn.batching.join import Request, default_sizes, pack, prepare, run_together
from ronn.errors import BatchError, CancelledError, OptionError, RonnError

if TYPE_CHECKING:
    from ronn.session import Session
    from ronn.values import Outputs


def batching_for(session: Session, join: bool | None) -> Batching:
    """How requests are joined: as proved (None), as the shapes say (True; OptionError where they do not), or not."""
    if join is None:
        return session.batching()
    if join:
        proved = session.batching()
        return proved if proved.joins else assume(session)
    return Batching("", {}, {}, False, "join=False")


def check_sizes(max_batch: int, sizes: Sequence[int] | None) -> tuple[int, ...]:
    """The numbers of rows that joined runs may have. OptionError for what is no number of rows."""
    if isinstance(max_batch, bool) or not isinstance(max_batch, int) or max_batch < 1:
        raise OptionError(f"max_batch={max_batch!r} is not a number of rows", hint="1 or more")
    if sizes is None:
        return default_sizes(max_batch)
    wrong = [s for s in sizes if isinstance(s, bool) or not isinstance(s, int) or not 1 <= s <= max_batch]
    if wrong or not sizes:
        raise OptionError(f"sizes={list(sizes)!r}: numbers of rows from 1 to max_batch={max_batch} are needed")
    return tuple(sorted({*sizes, max_batch}))


def run_batch(
    session: Session,
    requests: Sequence[Any],
    outputs: Sequence[str] | None,
    join: bool | None,
    max_batch: int,
    sizes: Sequence[int] | None,
    return_exceptions: bool,
    run: Any,
) -> list[Outputs | RonnError]:
    """See ``Session.run_batch``. ``run`` runs the session once on a mapping of inputs."""
    allowed = check_sizes(max_batch, sizes)
    batching = batching_for(session, join)
    results: list[Any] = [None] * len(requests)
    groups: dict[object, list[tuple[int, Request]]] = {}
    for i, inputs in enumerate(requests):
        try:
            request = prepare(session, batching, inputs, outputs)
        except RonnError as e:
            results[i] = e
            continue
        groups.setdefault((i,) if request.key is None else request.key, []).append((i, request))
    over: CancelledError | None = None
    for group in groups.values():
        waiting = list(group)
        while waiting:
            count, size = pack([r.rows for _, r in waiting], allowed)
            now, waiting = waiting[:count], waiting[count:]
            if over is not None:
                found: Sequence[Outputs | RonnError] = [over] * count
            else:
                found = run_together([r for _, r in now], size, batching, run)
            for (i, _), result in zip(now, found, strict=True):
                results[i] = result
                over = result if isinstance(result, CancelledError) else over
    errors: Mapping[int, RonnError] = {i: r for i, r in enumerate(results) if isinstance(r, RonnError)}
    if errors and not return_exceptions:
        raise BatchError(errors, results)
    return results
