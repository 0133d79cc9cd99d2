"""Parts as calls of the plan: by their provider, or by one that is listed behind it where that fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ronn.errors import ExecutionError, MemoryLimitError, ProviderError, RonnError
from ronn.ir.graph import Node
from ronn.listeners import emit
from ronn.observe import tell_takeover
from ronn.partition import Target, ask
from ronn.plan.plan import Plan
from ronn.plan.standby import Standby
from ronn.provider import Call, DeviceMemory, Part, Yes
from ronn.records import dataclass, field

if TYPE_CHECKING:
    from ronn.compile import Request


@dataclass
class Making:
    """What a plan and the plans of its subgraphs share while they are made."""

    targets: Mapping[str, Target]
    request: Request
    closers: list[Callable[[], None]] = field(default_factory=list)
    inner: list[Plan] = field(default_factory=list)
    devices: list[DeviceMemory] = field(default_factory=list)
    compiles: int = 0


def calls_of(target: Target, part: Part, making: Making) -> Sequence[Call]:
    """The calls of a part, by its provider; by one listed behind it that takes all nodes, where that one fails."""
    try:
        compiled = target.provider.compile(part, target.device, target.options)
    except (ExecutionError, MemoryLimitError, ProviderError) as e:
        return calls_of(_taken_over(target, part, making.request, e), part, making)
    except RonnError:
        raise
    except Exception as e:
        raise _cannot_compile(target, part, e) from e
    for call in compiled.calls:
        call.on_host = target.device.memory == "host"
    making.compiles += compiled.compiles
    if compiled.close is not None:
        making.closers.append(compiled.close)
    if compiled.memory is not None:
        compiled.memory.budget = making.request.budget
        making.devices.append(compiled.memory)
        if len(compiled.calls) == 1 and _behind(target, making.request):
            call = compiled.calls[0]
            call.fn = Standby(call.fn, part, partial(_plan_behind, target, part, making))
    return compiled.calls


def _behind(target: Target, request: Request) -> Sequence[Target]:
    """The targets that a session lists behind one, and that work on the same arrays."""
    targets = request.targets
    after = targets[targets.index(target) + 1 :] if target in targets else ()
    return [t for t in after if t.device.memory == target.device.memory]


def _taken_over(target: Target, part: Part, request: Request, error: RonnError) -> Target:
    """The first target behind one that takes all nodes of a part, now theirs. Raises ``error`` where there is none."""
    for other in _behind(target, request):
        if all(isinstance(ask(other, node), Yes) for node in part.nodes):
            tell_takeover(request, target.name, other.name, part, error)
            for node in part.nodes:
                node.provider, node.reason = other.name, f"{target.name} failed: {error.message}"
            return other
    raise error


def _plan_behind(target: Target, part: Part, making: Making, error: RonnError) -> Plan:
    """A plan of a part that its device failed to run."""
    other = _taken_over(target, part, making.request, error)
    own = Making(making.targets, making.request)
    plan = Plan(calls_of(other, part, own), part.inputs, part.outputs, budget=making.request.budget)
    plan.closers, plan.devices = own.closers, own.devices
    making.inner.append(plan)
    return plan


def _cannot_compile(target: Target, part: Part, error: Exception) -> ProviderError:
    text = f"provider {target.name!r} claimed this and cannot compile it: {type(error).__name__}: {error}"
    emit("ProviderFailed", provider=target.name, reason=f"cannot compile {part.nodes[0].label!r}: {error}")
    hint = "do the shapes of its inputs fit the operator? if they do, this is a fault of the provider"
    return ProviderError(text, node=part.nodes[0], hint=hint)


def copy_call(node: Node, targets: Mapping[str, Target]) -> Call:
    allocator = targets[node.attributes["via"]].device.allocator
    if allocator is None:
        raise ProviderError(f"device of {node.attributes['via']!r} has its own memory but no allocator", node=node)
    home = node.attributes["to"] == "host"
    move = allocator.to_host if home else allocator.to_device
    return Call(move, node.inputs, node.outputs, (node,), on_host=home)
