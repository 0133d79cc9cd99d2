"""What one kernel, or a view, costs by a profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ronn.ir.types import TensorType
from ronn.plan.lifetime import nbytes
from ronn.profile.work import flops_of_node
from ronn.records import dataclass
from ronn_provider_npu.estimate.products import products_of, traffic
from ronn_provider_npu.profiles.claims import operands_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ronn.ir.graph import Node, Value
    from ronn_provider_npu.profiles import DeviceProfile, Rates

BOUNDS = ("compute", "memory", "transfer", "launch")


@dataclass(frozen=True)
class Cost:
    """An estimate for the nodes that are one or a few kernels, or for one that stays on the host.

    node, op: of the last of them, and of all. where: ``device`` or ``host``, with the reason. macs: multiply-adds of
    products. operations: two for each of these, one for each element of all else. utilisation: the share of the matrix
    unit's work that is not zeros filled in (None: no product). memory_bytes: between the chip and the memory behind it.
    kept_bytes: what stays on the chip between kernels. transfer_bytes: from and to the host. Times are in seconds,
    energy in joules; what stays on the host has none.
    """

    node: str
    op: str
    where: str = "device"
    reason: str = ""
    dtype: str = ""
    kernels: int = 0
    macs: int = 0
    operations: int = 0
    utilisation: float | None = None
    memory_bytes: int = 0
    kept_bytes: int = 0
    transfer_bytes: int = 0
    reuse: str = ""
    compute_s: float = 0.0
    memory_s: float = 0.0
    transfer_s: float = 0.0
    launch_s: float = 0.0
    latency_s: float = 0.0
    energy_j: float = 0.0

    @property
    def bound(self) -> str:
        """What takes longest: ``compute``, ``memory``, ``transfer`` or ``launch``; empty where nothing takes time."""
        times = (self.compute_s, self.memory_s, self.transfer_s, self.launch_s)
        return BOUNDS[times.index(max(times))] if max(times) > 0 else ""


@dataclass(frozen=True)
class Flow:
    """The values that the nodes of a row take and give. read, written: through the memory. kept: on the chip.
    received, sent: from and to the host."""

    read: Sequence[Value]
    written: Sequence[Value]
    kept: Sequence[Value]
    received: Sequence[Value]
    sent: Sequence[Value]


def cost_of(nodes: Sequence[Node], kernels: int, told: int, flow: Flow, profile: DeviceProfile) -> Cost:
    """The cost of nodes that run as so many kernels, which tell of ``told`` operations (0: they do not tell). Without a
    kernel they are a view: only what crosses counts."""
    macs = operations = padded = again = 0
    compute = energy = 0.0
    reuse: list[str] = []
    power = profile.power
    whole = list(flow.read)
    for node in nodes if kernels else ():
        products, dtype = products_of(node), _dtype(node)
        done = 2 * sum(p.macs for p in products) if products else max(flops_of_node(node), told // len(nodes))
        filled = 2 * sum(p.padded(profile.unit) for p in products) if products else done
        macs, operations, padded = macs + sum(p.macs for p in products), operations + done, padded + filled
        compute += filled / _rate(profile.products if products else profile.vector.peak, dtype, node)
        energy += done * (power.operation_j.of(dtype) or 0.0)
        padded -= 0 if products else filled
        if len(products) == 1:
            operands = operands_of(node)[:2]
            if len(operands) == 2 and all(v in whole for v in operands):
                sizes = _bytes(operands[0]), _bytes(operands[1])
                a, b, words = traffic(products[0], sizes, profile)
                again += a + b - sum(sizes)
                reuse.append(words)
    moved = sum(map(_bytes, (*flow.read, *flow.written))) + again if kernels else 0
    crossed = sum(map(_bytes, (*flow.received, *flow.sent)))
    launch = kernels * profile.launch_s
    memory = moved / profile.memory.bandwidth
    transfer = crossed / profile.transfer.bandwidth
    waits = len((*flow.received, *flow.sent)) * profile.transfer.latency_s
    latency = _latency(compute, memory, transfer, crossed, profile) + waits + launch
    energy += moved * power.byte_j + power.idle_w * latency
    if not len(power.operation_j):
        energy = max(power.tdp_w, power.idle_w) * latency
    return Cost(
        nodes[-1].label,
        " + ".join(n.op_id for n in nodes),
        dtype=_dtype(nodes[0]),
        kernels=kernels,
        macs=macs,
        operations=operations,
        utilisation=2 * macs / padded if macs else None,
        memory_bytes=moved,
        kept_bytes=sum(map(_bytes, flow.kept)),
        transfer_bytes=crossed,
        reuse="; ".join(dict.fromkeys(reuse)),
        compute_s=compute,
        memory_s=memory,
        transfer_s=transfer + waits,
        launch_s=launch,
        latency_s=latency,
        energy_j=energy,
    )


def _latency(compute: float, memory: float, transfer: float, crossed: int, profile: DeviceProfile) -> float:
    """Where one piece moves while another is worked on, all but the first piece of a transfer lies behind the work."""
    if not profile.transfer.double_buffering:
        return max(compute, memory) + transfer
    first = min(crossed, profile.transfer.chunk) / profile.transfer.bandwidth
    return max(compute, memory, transfer - first) + first


def _rate(rates: Rates, dtype: str, node: Node) -> float:
    """Operations a second; of a dtype that a unit has for single operators only (quantising), those of what the node
    takes or makes besides."""
    found = rates.of(dtype)
    if found is None:
        flowing = [v for v in (*node.inputs, *node.outputs) if v is not None and not v.is_const]
        known = [rate for v in flowing if (rate := rates.of(_name(v))) is not None]
        found = min(known if known else [rate for _, rate in rates.pairs])
    return found


def _bytes(value: Value) -> int:
    size = nbytes(value)
    return 0 if size is None else size


def _dtype(node: Node) -> str:
    """The dtype that a node's work is done in: of what it multiplies, else of its first tensor that is no constant."""
    values = [*operands_of(node), *(v for v in node.inputs if v is not None and not v.is_const), *node.outputs]
    return next(filter(None, map(_name, values)), "")


def _name(value: Value) -> str:
    t = value.type
    return t.dtype.numpy_name if isinstance(t, TensorType) and t.dtype is not None else ""
