"""``estimate``: a model through all stages of a session up to the kernels, each of which a profile gives a cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ronn.compile import Request, Signature, to_assigned, to_portable, to_specialised
from ronn.errors import OptionError
from ronn.ir.types import TensorType
from ronn.model import Model
from ronn.options import SessionOptions
from ronn.partition import Target, partition
from ronn.profile.work import flops_of_node
from ronn.records import dataclass
from ronn.targets import resolve_targets
from ronn_codegen.lowering import group_interface
from ronn_provider_npu.estimate.cost import BOUNDS, Cost, Flow, cost_of
from ronn_provider_npu.estimate.paper import PaperProvider
from ronn_provider_npu.estimate.products import products_of
from ronn_provider_npu.estimate.report import NOT_MEASURED, explained
from ronn_provider_npu.profiles import DeviceProfile

if TYPE_CHECKING:
    from ronn.ir.graph import Node, Value
    from ronn.provider.contract import Part
    from ronn_codegen.lowering import Lowering


@dataclass(frozen=True)
class Estimate:
    """What a run of a model may take on an accelerator, by its profile. ``rows`` are in the order of the run; those on
    the host count for no time and no energy. ``guessed``: sizes that neither the model nor the caller gave."""

    model: str
    profile: DeviceProfile
    inputs: str
    rows: tuple[Cost, ...]
    guessed: Mapping[str, int]

    @property
    def on_device(self) -> list[Cost]:
        return [r for r in self.rows if r.where == "device"]

    @property
    def on_host(self) -> list[Cost]:
        return [r for r in self.rows if r.where == "host"]

    @property
    def latency_s(self) -> float:
        return sum(r.latency_s for r in self.rows)

    @property
    def energy_j(self) -> float:
        return sum(r.energy_j for r in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-adds on the device."""
        return sum(r.macs for r in self.on_device)

    @property
    def operations(self) -> int:
        """Operations on the device."""
        return sum(r.operations for r in self.on_device)

    @property
    def share(self) -> float:
        """The share of all operations that is on the device."""
        whole = sum(r.operations for r in self.rows)
        return self.operations / whole if whole else 0.0

    @property
    def utilisation(self) -> float | None:
        """The share of the matrix unit's work that is not zeros filled in; None without products."""
        filled = sum(r.macs / r.utilisation for r in self.rows if r.utilisation)
        return self.macs / filled if filled else None

    def shares(self) -> dict[str, float]:
        """The share of the latency that goes to rows bound by each of ``compute``, ``memory``, ``transfer`` and
        ``launch``."""
        spent: Counter[str] = Counter()
        for row in self.rows:
            spent[row.bound] += row.latency_s  # type: ignore[assignment]
        total = self.latency_s
        return {name: spent[name] / total if total else 0.0 for name in BOUNDS}

    @property
    def bottleneck(self) -> str:
        """What most of the latency is bound by; empty where nothing runs on the device."""
        shares = self.shares()
        return max(shares, key=lambda name: shares[name]) if self.latency_s else ""

    def as_data(self) -> dict[str, Any]:
        """All of it as plain data, for JSON; times in seconds, energy in joules."""
        rows = [{**{n: getattr(r, n) for n in _fields()}, "bound": r.bound} for r in self.rows]
        return {
            "kind": "estimate",
            "note": NOT_MEASURED,
            "model": self.model,
            "profile": self.profile.name,
            "inputs": self.inputs,
            "guessed": dict(self.guessed),
            "latency_s": self.latency_s,
            "energy_j": self.energy_j,
            "macs": self.macs,
            "operations": self.operations,
            "share": self.share,
            "utilisation": self.utilisation,
            "bottleneck": self.bottleneck,
            "shares": self.shares(),
            "nodes": rows,
        }

    def __str__(self) -> str:
        return explained(self)


def _fields() -> list[str]:
    from dataclasses import fields

    return [f.name for f in fields(Cost)]


def estimate(
    model: Model | str | Path | Any,
    profile: DeviceProfile | str,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    dimensions: Mapping[str, int] | None = None,
) -> Estimate:
    """Estimates latency and energy of one run on an accelerator. No device is needed.

    The model goes through a session's passes, claims and fusions for that profile; what the profile does not take is
    listed, and counts for nothing. Weights lie in the accelerator's memory already.

    model: a ``Model``, or what ``ronn.load`` takes. profile: one, or the name or path of one. input_shapes: of inputs
    by name; dimensions: sizes of symbolic dims. Sizes that are given nowhere are guessed, and the result says so.

    Raises OptionError for a profile, an input or a shape that there is not; ModelError as a session does.
    """
    loaded = model if isinstance(model, Model) else Model.load(model)
    held = profile if isinstance(profile, DeviceProfile) else DeviceProfile.of(profile)
    signature, guessed = _signature(loaded, input_shapes or {}, dimensions or {})
    paper = PaperProvider()
    device = paper.held_to(held)
    target = Target(paper, device, paper.check_options({}))
    request = Request(loaded.ir, (target, *resolve_targets(["reference"])), SessionOptions())
    graph = to_assigned(to_specialised(to_portable(request), signature, request), request)
    rows = [row for part in partition(graph) for row in _rows(part, paper, device, held)]
    inputs = ", ".join(f"{i.name}: {t}" for i, t in zip(loaded.inputs, signature, strict=True))
    return Estimate(str(loaded.ir.source), held, inputs, tuple(rows), guessed)


def _signature(
    model: Model, shapes: Mapping[str, Sequence[int]], dimensions: Mapping[str, int]
) -> tuple[Signature, dict[str, int]]:
    from ronn.inspection.inspect import input_types

    known = {i.name: i for i in model.inputs}
    sizes = dict(dimensions)
    for name, shape in shapes.items():
        info = known.get(name)
        if info is None:
            raise OptionError(f"the model has no input {name!r}", hint=f"inputs: {', '.join(known)}")
        declared = info.shape
        fits = declared is None or (
            len(declared) == len(shape)
            and all(not isinstance(d, int) or d == s for d, s in zip(declared, shape, strict=True))
        )
        if not fits or any(isinstance(d, bool) or not isinstance(d, int) or d < 0 for d in shape):
            raise OptionError(f"input {name!r} is {info}, and its shape cannot be {list(shape)}")
        for d, s in zip(declared or (), shape, strict=False):
            if isinstance(d, str):
                sizes[d] = s
    types, guessed = input_types(model, sizes)
    found = []
    for info, t in zip(model.inputs, types, strict=True):
        given = shapes.get(info.name)
        found.append(TensorType(t.dtype, tuple(given)) if given is not None and isinstance(t, TensorType) else t)
        if given is not None:
            guessed = {n: s for n, s in guessed.items() if not n.startswith(f"{info.name}[")}
    return tuple(found), guessed


def _rows(part: Part, paper: PaperProvider, device: Any, profile: DeviceProfile) -> Iterator[Cost]:
    """The rows of a part: those of the device by kernels, those of the host by nodes."""
    if part.nodes[0].provider != paper.name:
        yield from (_on_host(n, paper.name) for n in part.nodes)
        return
    made = paper.lowered(part, device)
    needed = set(part.outputs)
    faces = [_face(c, needed) for c in made]
    roots = _roots(made)
    uses: dict[Value, list[int]] = {}
    for i, (inputs, _) in enumerate(faces):
        if made[i].pending:
            for value in inputs:
                uses.setdefault(roots.get(value, value), []).append(i)
    leaving = {roots.get(v, v) for v in part.outputs}
    given = set(part.inputs)
    kept: set[Value] = set()
    received: set[Value] = set()
    for i, (c, (inputs, outputs)) in enumerate(zip(made, faces, strict=True)):
        arriving = [v for v in inputs if v in given and v not in received and not v.is_const]
        received.update(arriving)
        stays = [v for v in outputs if _stays(v, i, made, uses, leaving, profile)] if c.pending else []
        flow = Flow(
            read=[v for v in inputs if roots.get(v, v) not in kept],
            written=[v for v in outputs if v not in stays],
            kept=stays,
            received=arriving,
            sent=[v for v in outputs if v in needed],
        )
        kept.update(stays)
        yield cost_of(c.nodes, len(c.pending), sum(p.flops for p in c.pending), flow, profile)


def _on_host(node: Node, name: str) -> Cost:
    """The row of a node that stays on the host: its work, and of the reasons of its placement that of provider
    ``name``."""
    _, found, reason = node.reason.partition(f"{name}: ")
    products = products_of(node)
    macs = sum(p.macs for p in products)
    done = 2 * macs if products else flops_of_node(node)
    return Cost(node.label, node.op_id, "host", reason if found else node.reason, macs=macs, operations=done)


def _face(c: Lowering, needed: set[Value]) -> tuple[list[Value], list[Value]]:
    if len(c.nodes) > 1:
        inputs, outputs = group_interface(c.nodes, needed)
        return [v for v in inputs if v is not None], list(outputs)
    return list(dict.fromkeys(v for v in c.node.inputs if v is not None)), [v for v in c.node.outputs if v.name]


def _roots(made: Sequence[Lowering]) -> dict[Value, Value]:
    """Views by what they are views of."""
    found: dict[Value, Value] = {}
    for c in made:
        for out, (source, _) in c.aliases.items():
            of = c.node.inputs[source]
            if of is not None:
                found[c.node.outputs[out]] = found.get(of, of)
    return found


def _stays(
    value: Value,
    made_by: int,
    made: Sequence[Lowering],
    uses: Mapping[Value, Sequence[int]],
    leaving: set[Value],
    profile: DeviceProfile,
) -> bool:
    """Whether a result stays on the chip: only the next kernel reads it, and half of what lies near holds it."""
    from ronn.plan.lifetime import nbytes

    following = next((i for i in range(made_by + 1, len(made)) if made[i].pending), None)
    size = nbytes(value)
    return (
        value not in leaving
        and size is not None
        and size <= profile.near_bytes // 2
        and uses.get(value, []) == [following]
    )
