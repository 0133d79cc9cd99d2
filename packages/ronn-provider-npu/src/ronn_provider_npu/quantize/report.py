"""What quantising cost: by step, in all, and for the task."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ronn.numerics.task import Limits, Task
from ronn.records import dataclass
from ronn_provider_npu.quantize.errors import Row
from ronn_provider_npu.quantize.settings import Settings
from ronn_provider_npu.quantize.steps import Kept


@dataclass(frozen=True, slots=True)
class Tried:
    """A way to quantise, and the signal over error of the outputs that it gave on calibration data, in decibels."""

    way: Mapping[str, Any]
    sqnr_db: float


@dataclass(frozen=True)
class Report:
    """way: what was chosen, of ``tried``. data: what rows and task were measured on; calibration: the name of what
    was calibrated with, in ``runs`` runs. outside: nodes of the quantised model that the profile it was made for does
    not take."""

    rows: tuple[Row, ...]
    kept: tuple[Kept, ...]
    way: Mapping[str, Any]
    tried: tuple[Tried, ...]
    task: Task
    limits: Limits
    data: str
    calibration: str
    runs: int
    settings: Settings
    outside: tuple[Kept, ...] = ()

    @property
    def faults(self) -> list[str]:
        """Why the model should not be used, in words; empty where nothing speaks against it."""
        return self.task.faults(self.limits)

    def notes(self) -> list[str]:
        """What a reader should know beside the figures."""
        found = []
        if self.task.made_up:
            found.append("The inputs were made up: ranges and figures of them say little. Give real ones.")
        if self.kept:
            found.append("The model does not run on int8 alone: some nodes compute with floats still.")
        if self.outside:
            found.append(f"The profile does not take {len(self.outside)} node(s) of the quantised model.")
        return found

    def as_data(self) -> dict[str, Any]:
        """Everything, for JSON. Infinite figures are None."""
        task = self.task
        return {
            "steps": [
                {
                    "name": r.name, "op": r.op, "weights": r.shape, "scale": r.scale, "zero_point": r.zero,
                    "low": r.low, "high": r.high, "sqnr_db": finite(r.sqnr_db), "cosine": finite(r.cosine),
                }
                for r in self.rows
            ],
            "float": [{"name": k.name, "op": k.op, "reason": k.reason} for k in self.kept],
            "outside": [{"name": k.name, "op": k.op, "reason": k.reason} for k in self.outside],
            "way": dict(self.way),
            "tried": [{**t.way, "sqnr_db": finite(t.sqnr_db)} for t in self.tried],
            "form": self.settings.form,
            "activations": self.settings.scheme.activations,
            "per_channel": self.settings.scheme.per_channel,
            "calibration": {"data": self.calibration, "runs": self.runs},
            "data": self.data,
            "task": {
                "made_up": task.made_up, "scores": task.scores, "rows": task.rows, "agreement": task.agreement,
                "top1_before": task.before, "top1_after": task.after,
                "outputs": [
                    {"name": o.name, "cosine": finite(o.cosine), "sqnr_db": finite(o.sqnr_db)} for o in task.outputs
                ],
            },
            "faults": self.faults,
            "notes": self.notes(),
        }  # fmt: skip

    def totals(self) -> list[tuple[str, str]]:
        """Lines about the whole model: what, and how much."""
        scheme, task = self.settings.scheme, self.task
        weights = "by channel" if scheme.per_channel else "one scale a layer"
        done = [str(self.way["method"])]
        done += [f"weights rounded by {self.way['rounding']}"]
        done += [text for key, text in _DONE if self.way[key]]
        found = [
            ("operators on bytes", f"{len(self.rows)}, {len(self.kept)} float"),
            ("bytes", f"activations {scheme.activations}, weights int8 {weights}"),
            ("ranges", ", ".join(done)),
        ]
        for o in task.outputs:
            found.append((f"output {o.name}", f"cosine {o.cosine:.5f}, {decibels(o.sqnr_db)}"))
        if task.agreement is not None:
            found.append(("same best class", f"{task.agreement:.2%} of {task.rows} rows"))
        if task.before is not None and task.after is not None:
            found.append(("top-1", f"{task.before:.2%} -> {task.after:.2%}"))
        found.append(("calibrated with", f"{self.calibration}, {self.runs} run(s)"))
        found.append(("measured on", self.data))
        return found

    def __str__(self) -> str:
        lines = [_line("step", "operators", "range", "SQNR", "cosine")]
        lines += [
            _line(r.name, r.op, f"{r.low:.4g} to {r.high:.4g}", decibels(r.sqnr_db), f"{r.cosine:.5f}")
            for r in self.rows
        ]
        lines += [f"float: {k.op} {k.name}: {k.reason}" for k in self.kept]
        lines += [f"outside: {k.op} {k.name}: {k.reason}" for k in self.outside]
        lines += [f"{what}: {value}" for what, value in self.totals()]
        lines += [*self.notes(), *(f"bad: {f}" for f in self.faults)]
        return "\n".join(lines)


_DONE = (("bias_correction", "biases corrected"), ("equalise", "channels equalised"))


def _line(name: str, op: str, span: str, db: str, cosine: str) -> str:
    return f"{name[-40:]:<40} {op[:24]:<24} {span:>24} {db:>12} {cosine:>8}"


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def decibels(value: float) -> str:
    return f"{value:.1f} dB" if math.isfinite(value) else "exact" if value > 0 else "nothing left"
