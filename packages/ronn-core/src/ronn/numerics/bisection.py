"""What ``ronn.bisect`` has found out, as text and as data."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ronn.errors import OptionError
from ronn.numerics.difference import Difference
from ronn.records import dataclass, field

if TYPE_CHECKING:
    from ronn.ir.graph import IRModel

EQUAL, PASS, KERNEL, PLAN = "equal", "pass", "kernel", "plan"
SUM, OPERATORS, SIZES, UNKNOWN = "sum", "operators", "sizes", "unknown"

MEANING = {
    EQUAL: "the numbers agree: there is nothing to find",
    PASS: "a pass is guilty",
    KERNEL: "a kernel is guilty",
    PLAN: "each kernel is right by itself, the plan that runs them together is not",
    SUM: "no kernel is beyond the tolerance by itself: small differences add up",
    OPERATORS: "reference kernels, without any pass, differ from what is expected too",
    SIZES: "right by themselves, wrong in a session that has run other sizes before",
    UNKNOWN: "it differs, and nothing was found that makes the difference",
}
_MAX_LINES = 12
_MAX_WIDTH = 160


@dataclass(frozen=True, slots=True)
class Trial:
    """One run: with at most ``limit`` rewrites (None: all), or what else is said by ``what``. bad: the outputs differ,
    or the run failed, as ``error`` tells. seconds: what it took."""

    what: str
    limit: int | None
    bad: bool
    difference: Difference | None = None
    error: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Suspect:
    """A kernel that was looked at: labels of the nodes that it computes, their operators, the provider, native machine
    code or a Python function, the value that is farthest off, and by how much; or the error that it raised."""

    nodes: tuple[str, ...]
    operators: tuple[str, ...]
    provider: str
    native: bool
    value: str
    difference: Difference
    error: str = ""


@dataclass
class Bisection:
    """The result of ``ronn.bisect``. ``str()`` tells it to people, ``as_data()`` to programs.

    verdict: ``equal``, ``pass``, ``kernel``, ``plan``, ``sum``, ``operators``, ``sizes`` or
        ``unknown``.
    pass_name, rule, rewrite: the guilty pass, its rule (empty where it has none), and the number of the rewrite as
        RONN_PASS_LIMIT counts: with one less the numbers are right. For a required pass, which no limit stops,
        ``rewrite`` counts the pass's own. None where the pass fails without rewriting anything.
    node, nodes: labels of the nodes that the rewrite made or changed, or that the guilty kernel computes.
    before, after: lines of nodes and constants that are in one graph only. inputs: what the nodes take.
    suspects: kernels that are off, worst first. trials: the runs made. sample: which of the inputs. output: the output
        that is farthest off, and ``difference`` by how much; ``error``: what the run raised.
    advice: how to go on, one line each. repro: the files that ``save_repro`` has written.
    """

    verdict: str
    model: str
    sample: str = ""
    output: str = ""
    difference: Difference | None = None
    error: str = ""
    pass_name: str | None = None
    rule: str = ""
    rewrite: int | None = None
    required: bool = False
    rewrites: int = 0
    nodes: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    trials: tuple[Trial, ...] = ()
    advice: tuple[str, ...] = ()
    seconds: float = 0.0
    repro: tuple[str, ...] = ()
    _make_repro: Callable[[], tuple[IRModel, Mapping[str, Any]]] | None = field(default=None, repr=False)

    @property
    def found(self) -> bool:
        """Whether somebody is named: a pass or a kernel."""
        return self.verdict in (PASS, KERNEL)

    @property
    def node(self) -> str:
        """The first of ``nodes``; empty when no node is known."""
        return self.nodes[0] if self.nodes else ""

    @property
    def runs(self) -> int:
        return len(self.trials)

    def save_repro(self, path: str | os.PathLike[str]) -> list[Path]:
        """Writes the smallest part of the model, around the guilty node, that still differs, as ``path`` (``.onnx``),
        and its inputs beside it (``.npz``). Returns the files. OptionError when nothing differs."""
        if self._make_repro is None:
            raise OptionError("there is nothing to reproduce: the numbers agree")
        from ronn.frontend.proto import save_model
        from ronn.numerics.samples import save_arrays

        target = Path(path)
        target = target if target.suffix == ".onnx" else target.with_name(target.name + ".onnx")
        target.parent.mkdir(parents=True, exist_ok=True)
        model, feed = self._make_repro()
        save_model(model, target)
        data = target.with_suffix(".npz")
        save_arrays(data, feed)
        self.repro = (str(target), str(data))
        return [target, data]

    def as_data(self) -> dict[str, Any]:
        """Everything as plain data, for JSON."""
        return {
            "verdict": self.verdict, "meaning": MEANING[self.verdict], "model": self.model, "sample": self.sample,
            "output": self.output, "difference": _plain(self.difference), "error": self.error,
            "pass": self.pass_name, "rule": self.rule, "rewrite": self.rewrite, "required": self.required,
            "rewrites": self.rewrites, "node": self.node, "nodes": list(self.nodes), "before": list(self.before),
            "after": list(self.after), "inputs": list(self.inputs),
            "suspects": [{**_plain(s), "difference": _plain(s.difference)} for s in self.suspects],
            "trials": [{**_plain(t), "difference": _plain(t.difference)} for t in self.trials],
            "advice": list(self.advice), "seconds": self.seconds, "repro": list(self.repro),
        }  # fmt: skip

    def __str__(self) -> str:
        lines = [f"{self.model}: {MEANING[self.verdict]}"]
        if self.verdict == EQUAL:
            return "\n".join([*lines, *self._foot()])
        if self.error:
            lines += ["  " + line for line in ("it fails: " + self.error).splitlines()[:_MAX_LINES]]
        elif self.difference is not None:
            lines.append(f"  output   {self.output}: {self.difference.reason}")
        if self.sample:
            lines.append(f"  sample   {self.sample}")
        if self.pass_name is not None:
            rule = f", rule {self.rule}" if self.rule else ""
            lines.append(f"  pass     {self.pass_name}{rule}")
            lines.append(f"  rewrite  {self._numbered()}")
        if self.nodes:
            lines.append(f"  node     {', '.join(self.nodes[:4])}" + (" ..." if len(self.nodes) > 4 else ""))
        lines += [f"  input    {text}" for text in self.inputs[:_MAX_LINES]]
        for title, found in (("before", self.before), ("after", self.after)):
            if found:
                lines.append(f"  {title}:")
                lines += [f"    {_short(text)}" for text in found[:_MAX_LINES]]
                if len(found) > _MAX_LINES:
                    lines.append(f"    ... and {len(found) - _MAX_LINES} more lines")
        lines += [_suspect_line(s) for s in self.suspects[:5]]
        lines += [f"  go on    {text}" for text in self.advice]
        lines += [f"  wrote    {file}" for file in self.repro]
        return "\n".join([*lines, *self._foot()])

    def _numbered(self) -> str:
        if self.rewrite is None:
            return "none: it fails while it looks at the graph"
        if self.required:
            return f"{self.rewrite} of this pass (it is required: no limit stops it)"
        return (
            f"{self.rewrite} of {self.rewrites} (RONN_PASS_LIMIT={self.rewrite} is wrong, {self.rewrite - 1} is right)"
        )

    def _foot(self) -> list[str]:
        return [f"  {self.runs} run{'s' if self.runs != 1 else ''} in {self.seconds:.1f} s"]


def _suspect_line(s: Suspect) -> str:
    kind = "native" if s.native else "Python"
    text = s.error if s.error else f"%{s.value}: {s.difference.reason or _size(s.difference)}"
    return f"  kernel   {', '.join(s.operators)} on {s.provider} ({kind}), {', '.join(s.nodes[:3])}: {_short(text)}"


def _size(difference: Difference) -> str:
    return f"off by {difference.max_abs:.3g} (allowed {difference.allowed:.3g})"


def _short(text: str) -> str:
    return text if len(text) <= _MAX_WIDTH else text[: _MAX_WIDTH - 3] + "..."


def _plain(thing: Any) -> Any:
    if thing is None:
        return None
    return {name: finite(getattr(thing, name)) for name in thing.__dataclass_fields__}


def finite(value: Any) -> Any:
    """None for NaN and infinities, which JSON lacks."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
