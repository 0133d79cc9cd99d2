"""A goal: what was aimed at, what the prototype reached, and what is measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Row:
    """One line of a goal. met: None where nothing was to be met, or nothing could be measured."""

    what: str
    measured: str
    target: str = ""
    prototype: str = ""
    met: bool | None = None


@dataclass
class Goal:
    """id: G1 to G9. rows: what is shown; figures: plain values behind them, for results/hrm.json."""

    id: str
    title: str
    rows: list[Row] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, what: str, measured: str, *, target: str = "", prototype: str = "", met: bool | None = None) -> None:
        self.rows.append(Row(what, measured, target, prototype, None if met is None else bool(met)))

    def as_data(self) -> dict[str, Any]:
        return asdict(self)
