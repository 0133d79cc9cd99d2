"""Comparisons as tables: for ``str()``, and for the command line."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ronn.numerics.comparison import Comparison, Row, Side, bytes_text
from ronn.records import dataclass

TOP = 20
_LISTED = 8


@dataclass(frozen=True)
class Sheet:
    """A title, column heads and rows; ``right``: columns of numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[str, ...] = ()


def sheets(found: Comparison, top: int = TOP) -> list[Sheet]:
    """The tables of a comparison; of nodes the ``top`` worst (0: all, in A's order)."""
    out = [_sides(found.sides), _outputs(found)]
    if found.nodes:
        rows = found.worst_nodes()[:top] if top else found.nodes
        heads = ("node of A", "op", "value", "by", "max abs", "max rel", "cosine", "SNR dB", "differing", "on B")
        lines = tuple((r.node, r.op, _named(r), r.how, *_figures(r), r.placed) for r in rows)
        what = f"Values inside, worst first ({len(rows)} of {len(found.nodes)})" if top else "Values inside"
        out.append(Sheet(what, heads, lines, heads[4:9]))
    for side in found.sides:
        if side.fallen:
            shown = side.fallen[:top] if top else side.fallen
            facts = tuple((f.node, f.op, f.provider, f.what, f.reason) for f in shown)
            title = f"To know about {side.letter} ({len(shown)} of {len(side.fallen)})"
            out.append(Sheet(title, ("node", "op", "provider", "what", "reason"), facts))
    return out


def remarks(found: Comparison) -> list[str]:
    """Sentences below the tables."""
    lines = []
    first = found.first_beyond()
    if first is not None:
        lines.append(
            f"the first value beyond the tolerance: {first.name} of {first.op} {first.node!r}: "
            f"{first.spread.worst.reason}"
        )
    for letter, only in (("A", found.only_a), ("B", found.only_b)):
        if only:
            named = ", ".join(only[:_LISTED]) + (" ..." if len(only) > _LISTED else "")
            lines.append(f"not matched: {len(only)} nodes of {letter} alone: {named}")
    lines += [*found.missing, *found.notes]
    lines.append("within the tolerance" if found.equal else "beyond the tolerance: " + _beyond(found))
    return lines


def text(found: Comparison) -> str:
    """Everything as plain text."""
    return "\n".join([*(_plain(s) for s in sheets(found)), *remarks(found)])


def _beyond(found: Comparison) -> str:
    rows = [r for r in found.outputs if not r.spread.equal]
    told = [f"{r.letter} {r.name}: {r.spread.worst.reason}" for r in rows[:_LISTED]]
    return "; ".join(told) if told else "outputs are missing"


def _sides(sides: Sequence[Side]) -> Sheet:
    heads = ("", "what", "median ms", "P95 ms", "load ms", "first ms", "file", "weights", "memory", "nodes")
    rows = []
    for s in sides:
        times = ("", "") if s.latency is None else (f"{s.latency.median_ms:.3g}", f"{s.latency.p95_ms:.3g}")
        placed = ", ".join(f"{name} {n}" for name, n in s.placement.items())
        rows.append(
            (s.letter, s.name, *times, f"{s.load_ms:.0f}", f"{s.first_ms:.1f}", bytes_text(s.file),
             bytes_text(s.weights), bytes_text(s.memory), placed)
        )  # fmt: skip
    return Sheet("Sides", heads, tuple(rows), heads[2:9])


def _outputs(found: Comparison) -> Sheet:
    heads = ("side", "output", "max abs", "max rel", "cosine", "SNR dB", "differing", "same class", "")
    rows = []
    for r in found.outputs:
        agrees = "" if r.spread.argmax is None else f"{r.spread.argmax:.1%}"
        verdict = "equal" if r.spread.equal else f"beyond in {r.spread.beyond} of {len(r.spread.found)}"
        rows.append((r.letter, _named(r), *_figures(r), agrees, verdict))
    samples = len(found.samples)
    return Sheet(f"Outputs against A, {samples} sample{'s' if samples != 1 else ''}", heads, tuple(rows), heads[2:8])


def _named(row: Row) -> str:
    return row.name if row.name == row.other else f"{row.name} ~ {row.other}"


def _figures(row: Row) -> tuple[str, str, str, str, str]:
    d = row.spread.worst
    if d.size == 0 and not d.equal:
        return (d.reason, "", "", "", "")
    if d.reason and d.max_abs == 0 and not d.not_finite:
        return (d.reason, "", "", "", f"{d.differing:.2%}")
    snr = row.spread.snr_db
    return (
        f"{d.max_abs:.3g}" + (f", {d.not_finite} NaN/inf" if d.not_finite else ""),
        f"{d.max_rel:.3g}",
        "" if row.spread.cosine is None else f"{row.spread.cosine:.6f}",
        "" if snr is None else "inf" if math.isinf(snr) else f"{snr:.1f}",
        f"{row.spread.differing:.2%}",
    )


def _plain(sheet: Sheet) -> str:
    table = [sheet.columns, *sheet.rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(sheet.columns))]
    lines = [sheet.title]
    for row in table:
        cells = [
            c.rjust(w) if h in sheet.right else c.ljust(w) for c, w, h in zip(row, widths, sheet.columns, strict=True)
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join([*lines, ""])
