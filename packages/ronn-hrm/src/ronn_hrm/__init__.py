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
    from ronn_hrm.assess.groups import Confidence as Confidence
    from ronn_hrm.assess.groups import InputShape as InputShape
    from ronn_hrm.assess.groups import Neighbourhood as Neighbourhood
    from ronn_hrm.assess.groups import Tokens as Tokens
    from ronn_hrm.built import from_model as from_model
    from ronn_hrm.decision import Decision as Decision
    from ronn_hrm.drift.settings import Audit as Audit
    from ronn_hrm.early_exit import EarlyExit as EarlyExit
    from ronn_hrm.embed import FromFunction as FromFunction
    from ronn_hrm.embed import FromInput as FromInput
    from ronn_hrm.embed import FromOutput as FromOutput
    from ronn_hrm.errors import DoesNotPayError as DoesNotPayError
    from ronn_hrm.gates import EscalationLimitError as EscalationLimitError
    from ronn_hrm.gates import Escalations as Escalations
    from ronn_hrm.gates import Gate as Gate
    from ronn_hrm.guarantee.certificate import Certificate as Certificate
    from ronn_hrm.guarantee.kinds import Threshold as Threshold
    from ronn_hrm.guarantee.kinds import least_records as least_records
    from ronn_hrm.guarantee.settings import Guarantee as Guarantee
    from ronn_hrm.hookspecs import hookimpl as hookimpl
    from ronn_hrm.memory.archive import StateArchive as StateArchive
    from ronn_hrm.memory.episode import Episode as Episode
    from ronn_hrm.memory.episode import Episodes as Episodes
    from ronn_hrm.memory.episodic import EpisodicStore as EpisodicStore
    from ronn_hrm.memory.index import AnnIndex as AnnIndex
    from ronn_hrm.memory.index import FlatIndex as FlatIndex
    from ronn_hrm.memory.settings import Memory as Memory
    from ronn_hrm.memory.working import ExactCache as ExactCache
    from ronn_hrm.metrics import Metrics as Metrics
    from ronn_hrm.models import Prepared as Prepared
    from ronn_hrm.policies import AlwaysFast as AlwaysFast
    from ronn_hrm.policies import AlwaysFull as AlwaysFull
    from ronn_hrm.policies import Budgeted as Budgeted
    from ronn_hrm.policies import Cascade as Cascade
    from ronn_hrm.policies import StaticThreshold as StaticThreshold
    from ronn_hrm.scorers import AdditiveScorer as AdditiveScorer
    from ronn_hrm.scorers import ConfidenceScorer as ConfidenceScorer
    from ronn_hrm.scorers import LogisticScorer as LogisticScorer
    from ronn_hrm.scorers import MarginScorer as MarginScorer
    from ronn_hrm.scorers import SizeRule as SizeRule
    from ronn_hrm.session import HRMSession as HRMSession
    from ronn_hrm.sleep import Distil as Distil
    from ronn_hrm.sleep import Sleep as Sleep
    from ronn_hrm.task import Classification as Classification
    from ronn_hrm.task import Custom as Custom
    from ronn_hrm.task import Regression as Regression
    from ronn_hrm.task import TokenLabels as TokenLabels

_HOME = {
    "HRMSession": "session", "Prepared": "models",
    "Cascade": "policies", "AlwaysFull": "policies", "AlwaysFast": "policies", "StaticThreshold": "policies",
    "Budgeted": "policies",
    "FromOutput": "embed", "FromInput": "embed", "FromFunction": "embed",
    "Gate": "gates", "Escalations": "gates", "EscalationLimitError": "gates",
    "Confidence": "assess.groups", "Neighbourhood": "assess.groups", "InputShape": "assess.groups",
    "Tokens": "assess.groups",
    "Advice": "advise", "Metrics": "metrics",
    "Decision": "decision", "EarlyExit": "early_exit", "DoesNotPayError": "errors", "from_model": "built",
    "Classification": "task", "Regression": "task", "TokenLabels": "task", "Custom": "task",
    "LogisticScorer": "scorers", "AdditiveScorer": "scorers", "ConfidenceScorer": "scorers", "MarginScorer": "scorers",
    "SizeRule": "scorers", "Sleep": "sleep", "Distil": "sleep", "hookimpl": "hookspecs",
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
