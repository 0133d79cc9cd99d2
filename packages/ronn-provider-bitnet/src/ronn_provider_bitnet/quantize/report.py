"""What quantising cost: by layer, in all, and for the task."""

from __future__ import annotations

import math
from typing import Any

from ronn.numerics.task import Limits, Task
from ronn.plan.budget import size_text
from ronn.records import dataclass
from ronn_provider_bitnet.quantize.fit import TRITS
from ronn_provider_bitnet.quantize.layers import Skipped
from ronn_provider_bitnet.quantize.search import Point

_UINT2_FROM = 25


@dataclass(frozen=True, slots=True)
class Row:
    """A quantised layer. shape: [N, K]; sqnr_db and cosine of its products with the data, or of its weights."""

    name: str
    op: str
    shape: tuple[int, int]
    bits: str
    planes: int
    group: int
    method: str
    sqnr_db: float
    cosine: float
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Report:
    """bytes_before, bytes_after: of all the model's constants. measured: whether rows tell of products with data.
    norms: how many BatchNormalization were given new figures, of ``norms_there``. points: what a search tried. form: of
    the file. activations: bits of what goes into layers but the edges."""

    rows: tuple[Row, ...]
    skipped: tuple[Skipped, ...]
    measured: bool
    data: str
    bytes_before: int
    bytes_after: int
    norms: int
    norms_there: int
    task: Task
    limits: Limits
    wanted_db: float | None
    points: tuple[Point, ...]
    opset: int
    form: str
    activations: int = 16

    @property
    def faults(self) -> list[str]:
        """Why the model should not be used, in words; empty where nothing speaks against it."""
        found = self.task.faults(self.limits)
        if self.wanted_db is not None and not self.task.sqnr_db >= self.wanted_db:
            found.append(
                f"outputs have {self.task.sqnr_db:.1f} dB of signal over error with the most bits that are allowed, "
                f"less than {self.wanted_db:g}"
            )
        return found

    def notes(self) -> list[str]:
        """What a reader should know beside the figures."""
        found = []
        if self.task.made_up:
            found.append("The inputs were made up: figures on them say little. Give real ones with --data.")
        if self.norms_there:
            found.append(f"BatchNormalization re-estimated: {self.norms} of {self.norms_there}.")
        elif self.measured:
            found.append("The model has no BatchNormalization of its own (left), so none was re-estimated.")
        if self.form == TRITS:
            found.append("1 and 1.58 bits are written as trits, 1.6 bits a weight, which provider bitnet alone runs.")
            return found
        if any(r.bits == "1" or (r.bits == "1.58" and r.planes == 1) for r in self.rows):
            found.append("1 and 1.58 bits are written as 2 bits a weight, the fewest that ordinary ONNX has.")
        if any(r.op == "Conv" and r.bits in ("1", "1.58", "2") for r in self.rows) and self.opset < _UINT2_FROM:
            found.append(
                f"Convolutions have 4 bits a weight at least: integers of 2 bits come with opset {_UINT2_FROM}, "
                f"this model has {self.opset} (`ronn convert --opset {_UINT2_FROM}`)."
            )
        return found

    def as_data(self) -> dict[str, Any]:
        """Everything, for JSON. Infinite figures are None."""
        task = self.task
        return {
            "layers": [
                {
                    "name": r.name, "op": r.op, "shape": list(r.shape), "bits": r.bits, "planes": r.planes,
                    "group": r.group if r.group else "row", "method": r.method, "sqnr_db": finite(r.sqnr_db),
                    "cosine": r.cosine, "bytes_before": r.before, "bytes_after": r.after,
                }
                for r in self.rows
            ],
            "skipped": [{"name": s.name, "bytes": s.bytes, "reason": s.reason} for s in self.skipped],
            "data": self.data,
            "form": self.form,
            "activations": self.activations,
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
            "batch_norms": {"there": self.norms_there, "reestimated": self.norms},
            "task": {
                "made_up": task.made_up, "scores": task.scores, "rows": task.rows, "agreement": task.agreement,
                "top1_before": task.before, "top1_after": task.after, "loss_before": optional(task.loss_before),
                "loss_after": optional(task.loss_after),
                "outputs": [
                    {"name": o.name, "cosine": finite(o.cosine), "sqnr_db": finite(o.sqnr_db)} for o in task.outputs
                ],
            },
            "search": [{"bytes": p.bytes, "noise": p.noise, "sqnr_db": p.sqnr_db} for p in self.points],
            "faults": self.faults,
            "notes": self.notes(),
        }  # fmt: skip

    def totals(self) -> list[tuple[str, str]]:
        """Lines about the whole model: what, and how much."""
        before, after = sum(r.before for r in self.rows), sum(r.after for r in self.rows)
        found = [
            ("layers quantised", f"{len(self.rows)} of {len(self.rows) + len(self.skipped)}"),
            ("bytes of these", _change(before, after)),
            ("bytes of all constants", _change(self.bytes_before, self.bytes_after)),
        ]
        if self.activations != 16:
            found.append(("activations", f"{self.activations} bits, but for the first and the last layer"))
        task = self.task
        for o in task.outputs:
            found.append((f"output {o.name}", f"cosine {o.cosine:.5f}, {decibels(o.sqnr_db)}"))
        if task.agreement is not None:
            found.append(("same best class", f"{task.agreement:.2%} of {task.rows} rows"))
        if task.before is not None and task.after is not None:
            found.append(("top-1", f"{task.before:.2%} -> {task.after:.2%}"))
        if task.loss_before is not None and task.loss_after is not None:
            gap = f" ({task.loss_after / task.loss_before - 1:+.1%})" if task.loss_before > 0 else ""
            found.append(("cross-entropy", f"{task.loss_before:.4f} -> {task.loss_after:.4f} bits{gap}"))
        found.append(("measured on", self.data))
        return found


def _change(before: int, after: int) -> str:
    ratio = f" ({before / after:.1f}x smaller)" if 0 < after < before else ""
    return f"{size_text(before)} -> {size_text(after)}{ratio}"


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def optional(value: float | None) -> float | None:
    return None if value is None else finite(value)


def decibels(value: float) -> str:
    return f"{value:.1f} dB" if math.isfinite(value) else "exact" if value > 0 else "nothing left"
