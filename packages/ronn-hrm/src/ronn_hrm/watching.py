"""What a session's metrics ask when they are read, and what its folder says of how it was made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ronn_hrm.kept import SETTINGS

if TYPE_CHECKING:
    from ronn_hrm.drift.guard import Guard
    from ronn_hrm.keeper import Keeper
    from ronn_hrm.parts import Parts
    from ronn_hrm.state import State


def watch(parts: Parts, guard: Guard, keeper: Keeper, state: Callable[[], State]) -> None:
    """Has sizes and detectors asked for whenever metrics are read."""
    metrics, cache, store = parts.metrics, parts.cache, parts.store
    metrics.set("alpha", parts.guarantee.alpha)
    metrics.watch("cache_entries", lambda: len(cache))
    metrics.watch("cache_bytes", lambda: cache.stats()["bytes"])
    metrics.watch("episodes", lambda: store.held[0])
    metrics.watch("episode_bytes", lambda: store.held[1])
    metrics.watch("detector", lambda: guard.audit.value)
    metrics.watch("novelty", lambda: float("nan") if guard.novelty is None else guard.novelty.value)
    metrics.watch("guard", lambda: guard.phase == "guard")
    metrics.watch("epoch", lambda: guard.epoch)
    keeper.failed = lambda error: metrics.add("failures", "job")
    metrics.watch("queue", lambda: keeper.waiting + store.waiting)
    metrics.watch("lam", lambda: state().lam)
    sizes: dict[str, int] = {}

    def size() -> int:
        """Of the state in service; looked at once, for an index may take its time."""
        now = state()
        if now.id not in sizes:
            sizes.clear()
            sizes[now.id] = state_bytes(now)
        return sizes[now.id]

    metrics.watch("state_bytes", size)


def state_bytes(state: State) -> int:
    """Bytes of what was learnt: the memory that is searched, the correction, the student."""
    size = 0
    arrays = getattr(state.neighbours, "arrays", None)
    if arrays is not None:
        size += sum(array.nbytes for array in arrays().values())
    if state.correction is not None:
        size += state.correction.weight.nbytes + state.correction.bias.nbytes
    return size + (0 if state.student is None else len(state.student.model))


def keep_settings(parts: Parts) -> None:
    """Notes the settings in the store, so that a folder can be understood without the program that made it."""
    if parts.memory.path is None:
        return
    parts.store.put(
        SETTINGS,
        {
            "task": parts.task.as_data(),
            "assessor": parts.assessor.as_data(),
            "embed": None if parts.cheap.embed is None else parts.cheap.embed.as_data(),
            "guarantee": parts.guarantee.as_data(),
            "audit": parts.audit.as_data(),
            "policy": parts.policy.as_data(),
            "fast": source_of(parts.cheap.source),
            "full": source_of(parts.full.session()) if parts.full.is_open else None,
        },
    )


def source_of(session: Any) -> str | None:
    """The path of a session's model, where it came from a file."""
    source = getattr(getattr(getattr(session, "model", None), "ir", None), "source", None)
    return None if source is None or not Path(source).is_file() else str(Path(source).absolute())
