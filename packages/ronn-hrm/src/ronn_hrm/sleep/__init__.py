"""Consolidation in idle time: what is learnt from episodes, judged before it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ronn_hrm.sleep.consolidation import Outcome as Outcome
    from ronn_hrm.sleep.consolidation import consolidate as consolidate
    from ronn_hrm.sleep.report import Judged as Judged
    from ronn_hrm.sleep.report import Report as Report
    from ronn_hrm.sleep.scheduler import Sleeper as Sleeper
    from ronn_hrm.sleep.settings import Sleep as Sleep
    from ronn_hrm.sleep.student import Distil as Distil

_HOME = {
    "Outcome": "consolidation", "consolidate": "consolidation", "Judged": "report", "Report": "report",
    "Sleeper": "scheduler", "Sleep": "settings", "Distil": "student",
}  # fmt: skip

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'ronn_hrm.sleep' has no attribute {name!r}")
    return getattr(import_module(f"ronn_hrm.sleep.{home}"), name)
