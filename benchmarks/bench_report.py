"""The bench result as JSON, as a table in the terminal and as a picture."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")
CONTESTANT_NAMES = {"ronn": "RONN", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
PEERS = ("onnxruntime", "openvino")
PLAIN_WIDTH = 150


def milliseconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def geometric_mean(values: list[float]) -> float | None:
    return math.exp(sum(math.log(value) for value in values) / len(values)) if values else None


def ratios(entries: list[dict[str, Any]], peer: str) -> list[float]:
    found = [entry.get(f"{peer}_over_ronn") for entry in entries]
    return [value for value in found if value is not None]


def one_line(entry: dict[str, Any]) -> str:
    head = f"{entry['name']} ({entry['size']})"
    if "contestants" not in entry:
        return f"{head}: {entry.get('unavailable', entry.get('error', 'no result'))}"
    parts = []
    for name, figures in entry["contestants"].items():
        parts.append(
            f"{name} {milliseconds(figures.get('median_ms'))} ms" if "error" not in figures else f"{name} cannot"
        )
    return f"{head}: " + ", ".join(parts)


def print_table(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    threads = result["threads"]
    table = Table(
        title=f"median ms (P95), {threads} thread{'s' if threads > 1 else ''}; a ratio above 1: RONN is faster"
    )
    table.add_column("model", no_wrap=True)
    table.add_column("size", max_width=14)
    for name in CONTESTANT_NAMES.values():
        table.add_column(name, justify="right")
    for peer in PEERS:
        table.add_column(f"{CONTESTANT_NAMES[peer]} / RONN", justify="right")
    table.add_column("start s", justify="right")
    table.add_column("MiB", justify="right")
    notes = []
    for entry in result["models"]:
        cells = [entry["name"], entry["size"]]
        contestants = entry.get("contestants", {})
        if not contestants:
            notes.append(one_line(entry))
        for name in CONTESTANT_NAMES:
            figures = contestants.get(name, {"error": "no result"})
            if "error" in figures:
                cells.append("cannot")
                if contestants:
                    notes.append(f"{entry['name']}: {CONTESTANT_NAMES[name]}: {figures['error']}")
                continue
            mark = " !" if figures.get("equal") is False else ""
            cells.append(f"{milliseconds(figures['median_ms'])} ({milliseconds(figures['p95_ms'])}){mark}")
            if mark:
                notes.append(
                    f"{entry['name']}: {CONTESTANT_NAMES[name]} differs from ONNX Runtime by "
                    f"{figures['relative_difference']:.1e} of the largest value"
                )
        for peer in PEERS:
            ratio = entry.get(f"{peer}_over_ronn")
            cells.append("-" if ratio is None else f"{ratio:.2f}")
        for field, form in (("start_s", "{:.2f}"), ("taken_memory_mib", "{:.0f}")):
            values = [contestants.get(name, {}).get(field) for name in CONTESTANT_NAMES]
            cells.append(" / ".join("-" if value is None else form.format(value) for value in values))
        table.add_row(*cells)
    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    console.print(table)
    for note in notes:
        console.print(note, style="dim", highlight=False)
    for peer in PEERS:
        found = ratios(result["models"], peer)
        if found:
            console.print(
                f"{CONTESTANT_NAMES[peer]} / RONN over {len(found)} models: geometric mean {geometric_mean(found):.2f}"
            )


def draw(result: dict[str, Any], path: Path) -> bool:
    """Ratio bars per model, on a logarithmic axis. False when there is nothing to draw."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    entries = [entry for entry in result["models"] if any(entry.get(f"{peer}_over_ronn") for peer in PEERS)]
    if not entries:
        return False
    entries.sort(key=lambda entry: entry.get("onnxruntime_over_ronn") or 0.0)
    figure, axes = plt.subplots(figsize=(9, 1.6 + 0.32 * len(entries)), layout="constrained")
    for offset, peer, color in ((-0.2, "onnxruntime", "#4063d8"), (0.2, "openvino", "#d08a3c")):
        at = [number + offset for number, entry in enumerate(entries) if entry.get(f"{peer}_over_ronn")]
        values = ratios(entries, peer)
        axes.barh(at, [value - 1 for value in values], left=1, height=0.38, color=color, label=CONTESTANT_NAMES[peer])
    axes.set_xscale("log")
    axes.set_yticks(range(len(entries)), [entry["name"] for entry in entries], fontsize=8)
    axes.axvline(1, color="black", linewidth=0.8)
    ticks = [tick for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if _in_view(tick, axes.get_xlim())]
    axes.set_xticks(ticks, [f"{tick:g}x" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("median time of the peer / median time of RONN (right of the line: RONN is faster)")
    threads, machine = result["threads"], result["machine"]
    axes.set_title(f"{machine['cpu']}, {threads} thread{'s' if threads > 1 else ''}", fontsize=10)
    axes.legend(loc="lower right", fontsize=8)
    axes.grid(axis="x", linewidth=0.3)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return True


def _in_view(tick: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= tick <= limits[1]


def write(result: dict[str, Any], folder: Path) -> None:
    """bench.json and bench.png into `folder`, the table onto the terminal.

    The names of quick runs end in -quick, those of runs on several threads in -N-threads.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = "bench-quick" if result["quick"] else "bench"
    if result["threads"] > 1:
        stem += f"-{result['threads']}-threads"
    target = folder / f"{stem}.json"
    target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print_table(result)
    drawn = draw(result, folder / f"{stem}.png")
    print(f"wrote {stem}.json{f' and {stem}.png' if drawn else ''} into {folder.name}")
