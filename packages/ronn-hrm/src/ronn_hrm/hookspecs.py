"""The hooks by which third parties replace parts of the routing. They are called while a session is put together, never
while a request is answered.

A plugin is a module or object with functions marked ``@ronn_hrm.hookimpl``, named by an entry point of group
``ronn_hrm``, or registered in this process by ``ronn_hrm.hooks.hooks().register``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from ronn_hrm.assess.groups import Group
    from ronn_hrm.contracts import Scorer
    from ronn_hrm.drift.detector import Detector
    from ronn_hrm.memory.episodic import EpisodicStore
    from ronn_hrm.memory.settings import Memory
    from ronn_hrm.sleep.consolidation import Outcome
    from ronn_hrm.sleep.settings import Sleep
    from ronn_hrm.task import Task

# A specification is a signature and a text: pluggy calls the implementations, never what stands in a body here.
hookspec = pluggy.HookspecMarker("ronn_hrm")
hookimpl = pluggy.HookimplMarker("ronn_hrm")


@hookspec
def hrm_features(task: Task) -> Sequence[Group]:
    """Groups of features that are computed of each request behind RONN's own, where a session is told none. Their names
    must differ from all others."""
    raise NotImplementedError


@hookspec(firstresult=True)
def hrm_scorer(names: Sequence[str], task: Task) -> Callable[..., Scorer] | None:
    """What fits scorers where a session chooses them (``scorer="auto"``): a function of features [N, F] in the order of
    ``names``, these names, losses [N], and the keyword ``alpha``, that gives a scorer. It sees records of the role
    ``fit`` only. Kinds that are kept on disk must be known to ``ronn_hrm.scorers.register``. None: no opinion."""
    raise NotImplementedError


@hookspec(firstresult=True)
def hrm_store(memory: Memory) -> EpisodicStore | None:
    """The store of episodes and decisions, with the methods of ``EpisodicStore``. None: no opinion."""
    raise NotImplementedError


@hookspec(firstresult=True)
def hrm_consolidator(sleep: Sleep) -> Callable[..., Outcome] | None:
    """What consolidates in the place of ``ronn_hrm.sleep.consolidate``, called with the same arguments: it changes
    nothing, and ends soon after the event ``cancel`` is set. None: no opinion."""
    raise NotImplementedError


@hookspec(firstresult=True)
def hrm_drift_detector(alpha: float, run_length: float) -> Detector | None:
    """What watches the losses that audits find: an alarm of it voids the certificate. None: no opinion."""
    raise NotImplementedError


def specs() -> dict[str, Callable[..., Any]]:
    """The hooks by name, in the order of this file."""
    return {name: f for name, f in globals().items() if name.startswith("hrm_") and callable(f)}
