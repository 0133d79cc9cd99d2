"""The table of the page, from the figures that are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.bitnet.contestants import I2_S
from benchmarks.bitnet.measure import Row
from benchmarks.bitnet.sizes import Size
from benchmarks.bitnet.targets import Target, targets

PICTURE = "images/bitnet-speed.svg"


def text(found: Mapping[str, Any]) -> str:
    """Markdown of what results/bitnet.json holds."""
    rows, sizes = [Row(**r) for r in found["rows"]], [Size(**s) for s in found["sizes"]]
    machine = found["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    parts = [
        f"Measured on {machine['cpu']} ({', '.join(machine['features'])}), one thread, {versions}. Times are of one"
        " product: the median, and the best, of runs taken in turn; *x* is how many times faster than the best float32,"
        " which is the faster of NumPy (OpenBLAS) and ONNX Runtime in the same run.",
        f"![Times faster than the best float32, by case]({PICTURE})",
        _targets(targets(rows, sizes)),
        f"*From memory*: a chain of as many products as have {found['streamed'] / 1e6:.0f} MB of weights or more in the"
        " contestant's own format; *in cache*: a chain of two. The read test reads 256 MB from one end to the other, in"
        " turn with the contestants.",
        _cases(rows),
        _missing(found["missing"]),
        _sizes(sizes),
        _extremes(found["extremes"]),
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


def _targets(made: Sequence[Target]) -> str:
    lines = ["| aim | measured | |", "| --- | ---: | --- |"]
    for t in made:
        figures = " / ".join(f"{v:.0f}" if t.unit == "%" else f"{v:.3g}" for v in t.found)
        verdict = {True: "met", False: "missed", None: "not measured"}[t.met]
        aim = f"{t.what}: >= {t.goal:g}{' %' if t.unit == '%' else 'x'}"
        lines.append(f"| {aim} | {figures} | {verdict} |")
    return "\n".join(lines)


def _cases(rows: Sequence[Row]) -> str:
    parts = []
    for case in dict.fromkeys(r.case for r in rows):
        lines = [
            f"**{case}**", "",
            "| contestant | median, us | best, us | x | x, best | weights, GB/s | of the read test |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]  # fmt: skip
        for r in sorted((r for r in rows if r.case == case), key=lambda r: r.microseconds):
            name = f"{r.contestant} ({r.setting})" if r.setting else r.contestant
            memory = r.kind.startswith("out")
            share = f"{r.gbytes_per_second:.1f} | {r.of_read:.0%}" if memory else "| "
            lines.append(
                f"| {name} | {r.microseconds:.1f} | {r.least:.1f} | {r.ratio:.2f} | {r.least_ratio:.2f} | {share} |"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _missing(missing: Mapping[str, str]) -> str:
    return "\n".join(f"- {name} was not run: {how}" for name, how in missing.items())


def _sizes(sizes: Sequence[Size]) -> str:
    lines = ["| weights of 4096 x 4096, a scale for each row | bytes | smaller |", "| --- | ---: | ---: |"]
    return "\n".join([*lines, *(f"| {s.what} | {s.bytes:,} | {s.smaller:.1f} x |" for s in sizes)])


def _extremes(off: Mapping[str, float]) -> str:
    """What became of the largest sums that there are."""
    wrong = {name: v for name, v in off.items() if v > 0.05}
    told = (
        "Before it is timed, each contestant's answer is held against exact integers (RONN's 8-bit activations and"
        f" signs, {I2_S}) or float64. Where all of 4096 weights are 1 and all activations are the largest,"
    )  # fmt: skip
    if not wrong:
        return f"{told} all answers are right as well."
    names = "; ".join(f"{name} is off by {v:.0%}" for name, v in wrong.items())
    return f"{told} {names}: sums of 16 bits that overflow. The others are right."
