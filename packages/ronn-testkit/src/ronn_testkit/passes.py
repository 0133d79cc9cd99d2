"""``passes.txt``, the positive list that stands beside a provider, and ``known_failures.txt``.

    # onnx 1.23
    test_abs  since:13  native,fallback
    test_if   since:11  fallback

``native``: passes with every node on the provider; ``fallback``: passes with the reference provider behind it.
``since`` is the opset that the test's model imports. ``# columns: native`` in the head leaves the other column out. The
list is held against the suite of the onnx that it names; with another onnx, tests that one of the two does not have are
left out.

A line of ``known_failures.txt`` is a name, then why it fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

COLUMNS = ("native", "fallback")


def onnx_series() -> str:
    """``1.23`` for onnx 1.23.2."""
    return ".".join(metadata.version("onnx").split(".")[:2])


@dataclass
class PassList:
    """The names that pass, by column, and the onnx series whose suite was run."""

    series: str = ""
    columns: tuple[str, ...] = COLUMNS
    native: set[str] = field(default_factory=set)
    fallback: set[str] = field(default_factory=set)
    since: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> PassList:
        """Reads a list; an empty one when there is no file. ValueError names the line that cannot be read."""
        out = cls()
        if not path.exists():
            return out
        for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            line = raw.strip()
            if line.startswith("# onnx "):
                out.series = line.removeprefix("# onnx ").strip()
            if line.startswith("# columns: "):
                out.columns = tuple(line.removeprefix("# columns: ").replace(" ", "").split(","))
            if not line or line.startswith("#"):
                continue
            words = line.split()
            if len(words) != 3 or not words[1].startswith("since:"):
                raise ValueError(f"{path}:{number}: expected 'name since:<opset> native,fallback', got {line!r}")
            name, since, columns = words
            unknown = set(columns.split(",")) - set(COLUMNS)
            if unknown or name in out.since:
                raise ValueError(f"{path}:{number}: {'unknown column ' + str(unknown) if unknown else 'listed twice'}")
            out.since[name] = int(since.removeprefix("since:"))
            for column in columns.split(","):
                getattr(out, column).add(name)
        return out

    def write(self, path: Path) -> None:
        """Writes the list, sorted."""
        names = sorted(set().union(*(getattr(self, c) for c in self.columns)))
        width = max((len(n) for n in names), default=0)
        lines = [f"# onnx {self.series}"]
        if self.columns != COLUMNS:
            lines.append(f"# columns: {','.join(self.columns)}")
        lines.append("# " + ", ".join(f"{c}: {len(getattr(self, c))}" for c in self.columns))
        for name in names:
            held = ",".join(c for c in self.columns if name in getattr(self, c))
            lines.append(f"{name:{width}}  since:{self.since.get(name, 0):<3} {held}")
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def differences(listed: PassList, column: str, passed: set[str], ran: set[str]) -> list[str]:
    """What is wrong with a column: listed tests that fail, unlisted ones that pass, names not in the suite."""
    wanted: set[str] = getattr(listed, column)
    same_suite = listed.series == onnx_series()
    out = [f"{name} is listed as {column} but fails" for name in sorted(wanted & (ran - passed))]
    if same_suite:
        out += [f"{name} passes {column} but is not listed" for name in sorted(passed - wanted)]
        out += [f"{name} is listed but not in the suite" for name in sorted(wanted - ran)]
    else:
        known = listed.native | listed.fallback
        out += [f"{name} passes {column} but is not listed" for name in sorted((passed - wanted) & known)]
    return out


def read_known_failures(path: Path) -> dict[str, str]:
    """Test name -> why it fails. Empty when there is no file; ValueError for a line without a reason."""
    out: dict[str, str] = {}
    if not path.exists():
        return out
    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = raw.strip()
        if line and not line.startswith("#"):
            name, _, reason = line.partition(" ")
            if not reason.strip():
                raise ValueError(f"{path}:{number}: {name} has no reason")
            out[name] = reason.strip()
    return out


def fixed(known: Mapping[str, str], passed: set[str]) -> list[str]:
    """Complaints about known failures that pass."""
    found = sorted(set(known) & passed)
    return [f"{name} is a known failure ({known[name]}) but passes: take it out" for name in found]
