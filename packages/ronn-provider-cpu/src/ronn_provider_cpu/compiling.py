"""From a part to calls: groups of nodes are lowered to native kernels, and what refuses runs on NumPy kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ronn import knobs
from ronn.debug import say
from ronn.errors import OptionError, ProviderError
from ronn.ops import custom
from ronn.options import PRECISIONS
from ronn.provider.contract import Call, CompiledPart, Part
from ronn.records import dataclass
from ronn.threads import default_threads
from ronn_codegen import fuse
from ronn_codegen.native.library import BuildError, Library, library
from ronn_codegen.native.machine import LEVELS
from ronn_provider_cpu import lowering
from ronn_provider_cpu.engine.native import engine
from ronn_provider_cpu.engine.pool import EXECUTOR
from ronn_provider_cpu.lowering import Context, Lowering, Refused, lower_node, to_call
from ronn_provider_cpu.progress import compile_progress
from ronn_provider_cpu.spending import Spending
from ronn_provider_cpu.stretches import in_few_stretches

if TYPE_CHECKING:
    from ronn.ir.graph import Node

NumpyCall = Callable[["Node"], Call]


@dataclass(frozen=True)
class Lowered:
    """What became of one node: ``reason`` tells why it runs on a NumPy kernel; empty when it is native. ``notes``: what
    else there is to know, as whether it is computed in bfloat16."""

    node: Node
    reason: str
    notes: tuple[str, ...] = ()


@lru_cache(maxsize=1)
def unusable() -> str:
    """Why native kernels cannot run on this machine; empty when they can."""
    import platform
    import sys

    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        return f"native kernels need Linux on x86-64; this is {sys.platform} on {platform.machine()}"
    return ""


def level() -> str:
    """The level of instructions in force; ``none`` switches native kernels off. OptionError for an unknown one."""
    given = knobs.CPU_LEVEL.get()
    if given not in (*LEVELS, "none"):
        raise OptionError(f"RONN_CPU_LEVEL={given!r} is not known", hint=f"one of {', '.join(LEVELS)}, none")
    return "none" if unusable() else given


def native_library() -> Library | None:
    """The kernels of this process; None where native kernels are off. OptionError for a level it does not run."""
    at = level()
    if at == "none":
        return None
    try:
        return library(at)
    except ValueError as e:
        raise OptionError(f"RONN_CPU_LEVEL={at}: {e}") from None


def compile_part(part: Part, options: Mapping[str, Any], numpy_call: NumpyCall) -> tuple[CompiledPart, list[Lowered]]:
    """Calls for a part, in an order that can run, and what became of each node."""
    if options.get("precision", PRECISIONS[0]) not in PRECISIONS:
        raise OptionError(f"precision={options['precision']!r} is not known", hint=f"one of {', '.join(PRECISIONS)}")
    kernels = native_library() if options.get("kernels", "native") == "native" else None
    if kernels is None:
        return CompiledPart([numpy_call(n) for n in part.nodes]), [
            Lowered(n, "native kernels are off") for n in part.nodes
        ]
    threads = int(options.get("threads") or default_threads())
    before = kernels.compiles_here
    if custom.changes():
        from ronn_provider_cpu.custom_loops import adopt

        adopt()
    context = lowering.context(kernels, options)
    made: list[Lowering | Node] = []
    report: list[Lowered] = []
    spending = Spending(part)
    for group in fuse.groups(part, context):
        lowered = _lower(group, context, report)
        spending.done(lowered)
        made += lowered
    _require(kernels, made)
    runs = engine(kernels, threads)
    needed = set(part.outputs)
    calls = [to_call(m, runs, needed, spending.spent) if isinstance(m, Lowering) else numpy_call(m) for m in made]
    say(3, lambda: _told(report))
    say(4, lambda: _source(made, context))
    return CompiledPart(in_few_stretches(calls), compiles=kernels.compiles_here - before), report


def _lower(group: Sequence[Node], context: Context, report: list[Lowered]) -> list[Lowering | Node]:
    """A group as one lowering, or its nodes one by one."""
    if len(group) > 1:
        c = Lowering(group, context)
        try:
            fuse.lower_group(c)
        except Refused as e:
            reason = str(e)
            say(4, lambda: f"ronn: not fused: {', '.join(n.label for n in group)}: {reason}")
        else:
            report += [Lowered(n, "") for n in group]
            return [c]
    out: list[Lowering | Node] = []
    for node in group:
        try:
            c = lower_node(node, context)
            out.append(c)
            report.append(Lowered(node, "", tuple(c.notes)))
        except Refused as e:
            out.append(node)
            report.append(Lowered(node, str(e)))
    return out


def _require(kernels: Library, made: Sequence[Lowering | Node]) -> None:
    pending = [p for m in made if isinstance(m, Lowering) for p in m.pending]
    modules = dict.fromkeys([EXECUTOR, *(p.module for p in pending if p.module)])
    try:
        with compile_progress() as progress:
            kernels.require(list(modules), progress)
        with compile_progress() as progress:
            kernels.prepare((p.generated for p in pending if p.generated is not None), progress)
    except BuildError as e:
        raise ProviderError(str(e), hint="RONN_CPU_LEVEL=none runs on NumPy kernels meanwhile") from e


def _source(made: Sequence[Lowering | Node], context: Context) -> str:
    """What runs for each group of nodes: generated kernels as loops and as LLVM IR, others by module and name."""
    lines = ["ronn: cpu: source"]
    for m in made:
        if isinstance(m, Lowering):
            lines.append(f"--- {', '.join(f'{n.op_id} {n.label!r}' for n in m.nodes)}")
            for p in m.pending:
                if p.generated is None:
                    lines.append(f"{p.module}.{p.name}")
                else:
                    lines += [f"{p.generated.signature}", p.generated.text, p.generated.source(context.library.machine)]
    return "\n".join(lines)


def _told(report: Sequence[Lowered]) -> str:
    refused = [r for r in report if r.reason]
    lines = [f"ronn: cpu: {len(report) - len(refused)} nodes native, {len(refused)} on NumPy"]
    lines += [f"  {r.node.label}: {r.reason}" for r in refused]
    lines += [f"  {r.node.label}: {note}" for r in report for note in dict.fromkeys(r.notes)]
    return "\n".join(lines)
