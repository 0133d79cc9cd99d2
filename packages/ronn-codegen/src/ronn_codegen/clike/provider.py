"""``ClikeProvider``: the base of providers whose devices run C-like kernels. They give devices and launchers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ronn.debug import say
from ronn.provider.contract import CompiledPart, Device, No, Part, Provider, Support, Yes
from ronn_codegen import fuse
from ronn_codegen.clike.kernel import Target
from ronn_codegen.clike.launcher import Launcher
from ronn_codegen.clike.library import Kernels
from ronn_codegen.clike.loops import needs_doubles
from ronn_codegen.clike.program import Program
from ronn_codegen.clike.sizes import sized
from ronn_codegen.clike.table import CLIKE
from ronn_codegen.clike.taken import Taken
from ronn_codegen.lowering import Context, Lowering, Refused, lower_node

if TYPE_CHECKING:
    from ronn.ir.graph import Node
    from ronn.passes.manager import Pass


class ClikeProvider(Provider):
    """Takes every node that has a lowering for C-like devices, and compiles parts to programs of its launcher."""

    wants_sizes: ClassVar[bool] = True

    def __init__(self) -> None:
        self._taken: dict[Device, Taken] = {}

    def launcher(self, device: Device, options: Mapping[str, Any]) -> Launcher:
        """What runs kernels on a device: one for equal arguments."""
        raise NotImplementedError(f"{type(self).__name__}.launcher")

    def target(self, device: Device, options: Mapping[str, Any]) -> Target:
        """What kernels for a device are made for: all that claims go by."""
        return self.launcher(device, options).target

    def passes(self, device: Device) -> Sequence[Pass]:
        from ronn_codegen.passes import EXPANSIONS, INTEGERS

        return (*INTEGERS, *EXPANSIONS)

    def supports(self, node: Node, device: Device) -> Support:
        reason = self.refusal(node, device)
        return No(reason, later=_may_come(node)) if reason else Yes()

    def refusal(self, node: Node, device: Device) -> str:
        """Why a node cannot run on a device; empty when it can."""
        counted = any(e.counted for e in CLIKE.entries(node.domain, node.op))
        found = sized(node, counted)
        if found is None:
            return "its sizes are found out while it runs"
        target = self.target(device, self.options)
        context = self.context(target, self.options)
        taken = self._taken.setdefault(device, Taken())
        key = taken.key(context, found)
        if key is not None and taken.has(key):
            return ""
        try:
            c = lower_node(found, context)
        except Refused as e:
            return str(e)
        if not target.doubles and any(needs_doubles(p.generated) for p in c.pending):
            return "the device has no float64"
        reason = self.unfit(c, device)
        if key is not None and not reason:
            taken.add(key)
        return reason

    def unfit(self, c: Lowering, device: Device) -> str:
        """Why what a node is lowered to does not fit a device; empty when it does."""
        return ""

    def context(self, target: Target, options: Mapping[str, Any]) -> Context:
        """What the lowerings of one compilation share."""
        return Context(Kernels(target), options, table=CLIKE)

    def compile(self, part: Part, device: Device, options: Mapping[str, Any]) -> CompiledPart:
        from ronn.provider.contract import Call

        launcher = self.launcher(device, options)
        context = self.context(launcher.target, options)
        made = [c for group in fuse.groups(part, context) for c in lower_group(group, context)]
        program = Program(part, made, launcher)
        say(4, lambda: _sources(program))
        call = Call(program, part.inputs, part.outputs, part.nodes, inner=program.inner)
        return CompiledPart([call], program.close, program.compiles, program)


def lower_group(group: tuple[Node, ...], context: Context) -> list[Lowering]:
    """A group as one lowering, or its nodes one by one."""
    if len(group) > 1:
        c = Lowering(group, context)
        try:
            fuse.lower_group(c)
            return [c]
        except Refused as e:
            reason = str(e)
            say(4, lambda: f"ronn: not fused: {', '.join(n.label for n in group)}: {reason}")
    return [lower_node(node, context) for node in group]


def _may_come(node: Node) -> bool:
    """Whether values that its sizes hang on may make a node run: as it is, or as other nodes."""
    from ronn_codegen.passes import EXPANSIONS

    return bool(CLIKE.entries(node.domain, node.op)) or any(node.op.startswith(p.about) for p in EXPANSIONS)


def _sources(program: Program) -> str:
    target = program.launcher.target
    lines = [f"ronn: {target.dialect.name}: source", target.dialect.prelude(doubles=target.doubles)]
    told = set()
    for step in program.steps:
        lines.append(f"// --- {', '.join(f'{n.op_id} {n.label!r}' for n in step.nodes)}: {step.entry} {step.grid}")
        if step.entry not in told:
            told.add(step.entry)
            lines.append(step.kernel.source(step.entry, target))
    return "\n".join(lines)
