"""A cheap model in front of an expensive one, with a certificate; memory of what the expensive one said; consolidation.

    import ronn_hrm as hrm

    session = hrm.HRMSession("small.onnx", "large.onnx", guarantee=hrm.Guarantee(alpha=0.01))
    outputs, why = session.run(inputs, explain=True)

Hierarchical Routing and Memory; not the recurrent network called "Hierarchical Reasoning Model".
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ronn_hrm._version import __version__

if TYPE_CHECKING:
    from ronn_hrm.advise import Advice as Advice
    from ronn_hrm.decision import Decision as Decision
    from ronn_hrm.drift.settings import Audit as Audit
    from ronn_hrm.guarantee.certificate import Certificate as Certificate
    from ronn_hrm.guarantee.kinds import Threshold as Threshold
    from ronn_hrm.guarantee.kinds import least_records as least_records
    from ronn_hrm.guarantee.settings import Guarantee as Guarantee
    from ronn_hrm.memory.archive import StateArchive as StateArchive
    from ronn_hrm.memory.episode import Episode as Episode
    from ronn_hrm.memory.episode import Episodes as Episodes
    from ronn_hrm.memory.episodic import EpisodicStore as EpisodicStore
    from ronn_hrm.memory.index import AnnIndex as AnnIndex
    from ronn_hrm.memory.index import FlatIndex as FlatIndex
    from ronn_hrm.memory.settings import Memory as Memory
    from ronn_hrm.memory.working import ExactCache as ExactCache
    from ronn_hrm.scorers import AdditiveScorer as AdditiveScorer
    from ronn_hrm.scorers import ConfidenceScorer as ConfidenceScorer
    from ronn_hrm.scorers import LogisticScorer as LogisticScorer
    from ronn_hrm.scorers import MarginScorer as MarginScorer
    from ronn_hrm.scorers import SizeRule as SizeRule
    from ronn_hrm.task import Classification as Classification
    from ronn_hrm.task import Custom as Custom
    from ronn_hrm.task import Regression as Regression
    from ronn_hrm.task import TokenLabels as TokenLabels

_HOME = {
    "Advice": "advise",
    "Decision": "decision",
    "Classification": "task", "Regression": "task", "TokenLabels": "task", "Custom": "task",
    "LogisticScorer": "scorers", "AdditiveScorer": "scorers", "ConfidenceScorer": "scorers", "MarginScorer": "scorers",
    "SizeRule": "scorers",
    "Guarantee": "guarantee.settings", "Certificate": "guarantee.certificate", "Threshold": "guarantee.kinds",
    "least_records": "guarantee.kinds", "Audit": "drift.settings",
    "Memory": "memory.settings", "ExactCache": "memory.working", "EpisodicStore": "memory.episodic",
    "Episode": "memory.episode", "Episodes": "memory.episode", "FlatIndex": "memory.index", "AnnIndex": "memory.index",
    "StateArchive": "memory.archive",
}  # fmt: skip

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'ronn_hrm' has no attribute {name!r}")
    return getattr(import_module(f"ronn_hrm.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
