"""Comparisons as tables: for ``str()``, and for the command line."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ronn.numerics.comparison import Comparison, Row, Side, bytes_text
from ronn.profile.report import time_text
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
    out = [_sides(found), _outputs(found)]
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


def _sides(found: Comparison) -> Sheet:
    """A column for each side; what can be is also told as a multiple of A's."""
    sides = found.sides
    a = sides[0]
    rows: list[tuple[str, ...]] = [("what", *(s.name for s in sides))]

    def add(what: str, cells: Sequence[str]) -> None:
        if any(cells):
            rows.append((what, *cells))

    agreements = [found.agreement(s.letter) for s in sides[1:]]
    add("same class as A", ["", *("" if g.same_class is None else f"{g.same_class:.2%}" for g in agreements)])
    add("cosine with A", ["", *("" if g.cosine is None else f"{g.cosine:.6f}" for g in agreements)])
    add("SNR against A", ["", *("" if g.snr_db is None else _decibels(g.snr_db) for g in agreements)])
    for what, name in (
        ("file", "file"), ("weights as loaded", "weights"), ("weights as packed", "packed"), ("memory in all", "memory")
    ):  # fmt: skip
        add(what, [_bytes(getattr(s, name), getattr(a, name)) for s in sides])
    if a.latency is not None:
        add(f"latency{_rows(a.latency.rows)}", [_latency(s, a) for s in sides])
        add("P95 of it", ["" if s.latency is None else time_text(s.latency.p95_ms / 1e3) for s in sides])
    if a.throughput is not None:
        per = "rows" if a.throughput.open else "runs"
        add(f"throughput{_rows(a.throughput.rows)}", [_throughput(s, a, per) for s in sides])
        rows.append(("energy", *("not measured" for _ in sides)))
    add("load", [time_text(s.load_ms / 1e3) for s in sides])
    add("first run", [time_text(s.first_ms / 1e3) for s in sides])
    add("nodes", [", ".join(f"{name} {n}" for name, n in s.placement.items()) for s in sides])
    letters = tuple(s.letter for s in sides)
    return Sheet("Sides", ("", *letters), tuple(rows), letters)


def _rows(count: int | None) -> str:
    return "" if count is None else f", {count} row{'s' if count != 1 else ''}"


def _bytes(size: int | None, other: int | None) -> str:
    if not size or not other or 0.95 < size / other < 1.05:
        return bytes_text(size)
    ratio = f"{other / size:.1f}x smaller" if size < other else f"{size / other:.1f}x larger"
    return f"{bytes_text(size)} ({ratio})"


def _latency(side: Side, a: Side) -> str:
    if side.latency is None or a.latency is None:
        return ""
    mine, theirs = side.latency.median_ms, a.latency.median_ms
    return time_text(mine / 1e3) + ("" if side is a else f" ({_faster(theirs / mine)})")


def _throughput(side: Side, a: Side, per: str) -> str:
    if side.throughput is None or a.throughput is None:
        return ""
    mine, theirs = side.throughput.per_second, a.throughput.per_second
    return f"{mine:,.0f} {per}/s" + ("" if side is a else f" ({_faster(mine / theirs)})")


def _faster(ratio: float) -> str:
    return f"{ratio:.3g}x as fast" if ratio >= 1 else f"{1 / ratio:.3g}x slower"


def _decibels(db: float) -> str:
    return "equal" if math.isinf(db) and db > 0 else f"{db:.1f} dB"


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
