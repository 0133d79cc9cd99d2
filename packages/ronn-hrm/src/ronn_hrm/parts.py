"""What the pieces of one routed session share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ronn.records import dataclass

if TYPE_CHECKING:
    from ronn_hrm.assess.assessor import Assessor
    from ronn_hrm.contracts import Policy
    from ronn_hrm.drift.settings import Audit
    from ronn_hrm.fast_path import CheapModel
    from ronn_hrm.gates import Escalations, Gate
    from ronn_hrm.guarantee.settings import Guarantee
    from ronn_hrm.history import History
    from ronn_hrm.memory.episode import Episodes
    from ronn_hrm.memory.episodic import EpisodicStore
    from ronn_hrm.memory.settings import Memory
    from ronn_hrm.memory.working import ExactCache
    from ronn_hrm.metrics import Metrics
    from ronn_hrm.models import ExpensiveModel
    from ronn_hrm.requests import Coin
    from ronn_hrm.task import Task


@dataclass(slots=True)
class Parts:
    """Models, memory and settings of a session. names: of the outputs that both models give; None: not known before."""

    cheap: CheapModel
    full: ExpensiveModel
    task: Task
    assessor: Assessor
    policy: Policy
    guarantee: Guarantee
    audit: Audit
    gates: tuple[Gate, ...]
    escalations: Escalations | None
    memory: Memory
    cache: ExactCache
    store: EpisodicStore
    coin: Coin
    metrics: Metrics
    history: History
    input_names: tuple[str, ...] | None
    names: tuple[str, ...] | None
    valid_since: float
    """Seconds since 1970: episodes from before are of other models."""

    latest: int = 0
    """Number of a request that was answered lately."""

    def episodes(self, **conditions: Any) -> Episodes:
        """What the store holds of these models, for which ``conditions`` hold."""
        return self.store.episodes(since=self.valid_since, **conditions)

    def output_names(self, found: Mapping[str, Any], *, of_full: bool) -> tuple[str, ...]:
        """The outputs that are served where none are asked for by name. found: what a model gave, the expensive one
        where ``of_full``."""
        if self.names is not None:
            return self.names
        names = self._common(found)
        if not of_full:  # the first answer of all, after a restart
            declared = getattr(self.full.session(), "outputs", None) if self.full.is_open else None
            if declared is None:
                return names
            of = [v.name for v in declared]
            names = tuple(n for n in names if n in of)
        self.names = self.cheap.served = names
        return names

    def _common(self, found: Mapping[str, Any]) -> tuple[str, ...]:
        cheap = self.cheap.output_names
        return tuple(n for n in found.keys() if cheap is None or n in cheap)  # noqa: SIM118 - Outputs iterates values
