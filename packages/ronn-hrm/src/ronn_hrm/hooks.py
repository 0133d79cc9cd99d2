"""Plugins of the routing: each entry point of group ``ronn_hrm`` is loaded alone, and a failure keeps its reason."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

from ronn.debug import WARNING, tell
from ronn.entry_points import entry_points
from ronn_hrm import hookspecs

if TYPE_CHECKING:
    from ronn_hrm.assess.groups import Group
    from ronn_hrm.contracts import Scorer
    from ronn_hrm.drift.detector import Detector
    from ronn_hrm.memory.episodic import EpisodicStore
    from ronn_hrm.memory.settings import Memory
    from ronn_hrm.sleep.consolidation import Outcome
    from ronn_hrm.sleep.settings import Sleep
    from ronn_hrm.task import Task

GROUP = "ronn_hrm"


class Loadable(Protocol):
    """What is needed of an entry point."""

    @property
    def name(self) -> str: ...
    def load(self) -> Any: ...


class Hooks:
    """The plugins of this environment, or of the entry points that are given. failures: names, and why not."""

    def __init__(self, points: Iterable[Loadable] | None = None) -> None:
        self._manager = pluggy.PluginManager("ronn_hrm")
        self._manager.add_hookspecs(hookspecs)
        self.failures: dict[str, str] = {}
        for point in sorted(entry_points(GROUP) if points is None else points, key=lambda p: p.name):
            try:
                self.register(point.load(), point.name)
            except Exception as e:  # a plugin may raise whatever it likes; the others are none the worse for it
                self.failures[point.name] = f"{type(e).__name__}: {e}"
                tell(WARNING, "hrm", f"plugin {point.name} cannot be used: {self.failures[point.name]}")

    def register(self, plugin: Any, name: str | None = None) -> None:
        """Takes a plugin. TypeError for what has no hook; what pluggy raises for a hook that does not fit."""
        self._manager.register(plugin, name)
        try:
            self._manager.check_pending()
            if not self._manager.get_hookcallers(plugin):
                raise TypeError(f"{plugin!r} has no function marked @ronn_hrm.hookimpl that is a hook of ronn_hrm")
        except BaseException:
            self._manager.unregister(plugin)
            raise

    def unregister(self, plugin: Any) -> None:
        """Takes a plugin out again."""
        self._manager.unregister(plugin)

    def features(self, task: Task) -> list[Group]:
        found: list[Sequence[Group]] = self._manager.hook.hrm_features(task=task)
        return [group for groups in found for group in groups]

    def scorer(self, names: Sequence[str], task: Task) -> Callable[..., Scorer] | None:
        found: Callable[..., Scorer] | None = self._manager.hook.hrm_scorer(names=names, task=task)
        return found

    def store(self, memory: Memory) -> EpisodicStore | None:
        found: EpisodicStore | None = self._manager.hook.hrm_store(memory=memory)
        return found

    def consolidator(self, sleep: Sleep) -> Callable[..., Outcome] | None:
        found: Callable[..., Outcome] | None = self._manager.hook.hrm_consolidator(sleep=sleep)
        return found

    def drift_detector(self, alpha: float, run_length: float) -> Detector | None:
        found: Detector | None = self._manager.hook.hrm_drift_detector(alpha=alpha, run_length=run_length)
        return found


@functools.lru_cache(maxsize=1)
def hooks() -> Hooks:
    """The plugins of this process, found on first use."""
    return Hooks()
