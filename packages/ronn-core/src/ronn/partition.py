"""Bids, assignment, partitions: which provider runs which node, and why; copies made explicit."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ronn.errors import PlacementError, ProviderError, RonnError
from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import TensorType
from ronn.ops import custom
from ronn.plugins import registry
from ronn.provider import Device, No, Part, Provider, Support, Yes
from ronn.records import dataclass, replace

CONTROL = "ronn"
"""The name that placements give to the plan itself, which runs control flow and copies."""

LATER = "later"
"""What stands there for nodes that are placed when a run has found out the types of their inputs."""

DOMAIN, COPY = "ronn", "Copy"
CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
_TYPELESS = frozenset({"reference", "python"})
"""Providers that run nodes on values of any type as they come."""
_KNOWN_DOMAINS = frozenset(("", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training", "com.microsoft", "ronn"))
_MAX_NAMED = 10


@dataclass(frozen=True, slots=True)
class Target:
    """A provider that a session lists: one of its devices, and its options. ``implied``: nobody listed it."""

    provider: Provider
    device: Device
    options: Mapping[str, Any]
    implied: bool = False

    @property
    def name(self) -> str:
        return self.provider.name


@dataclass(frozen=True, slots=True)
class Bid:
    """What one target said about one node."""

    target: Target
    support: Support

    @property
    def refusal(self) -> str:
        """Why it said no; empty where it said yes, or has nothing to do with such nodes."""
        return self.support.reason if isinstance(self.support, No) else ""


def is_control_flow(node: Node) -> bool:
    return node.domain == "" and node.op in CONTROL_FLOW


def collect_bids(graph: Graph, targets: Sequence[Target], *, everybody: bool = True) -> dict[Node, list[Bid]]:
    """Asks the targets about every node, those of subgraphs too; control flow belongs to the plan.

    Without ``everybody``, those behind the first one that takes a node, not as a last resort, are not asked.
    """
    nodes = (n for n in graph.all_nodes() if not is_control_flow(n) and not is_copy(n))
    if everybody:
        return {node: [Bid(t, ask(t, node)) for t in targets] for node in nodes}
    return {node: _until_taken(node, targets) for node in nodes}


def _until_taken(node: Node, targets: Sequence[Target]) -> list[Bid]:
    bids = []
    for target in targets:
        bids.append(Bid(target, ask(target, node)))
        if _score(bids[-1]) > 0:
            break
    return bids


def ask(target: Target, node: Node) -> Support:
    """What a target says about a node. ProviderError when it raises, or says neither Yes nor No."""
    if custom.table and target.name not in _TYPELESS:
        open_ = next((v for v in node.inputs if v is not None and _is_untyped(v)), None)
        if open_ is not None:
            return No(f"the type of %{open_.name} is not known before the model runs (shape= of ronn.op tells it)")
    try:
        support = target.provider.supports(node, target.device)
    except RonnError:
        raise
    except Exception as e:
        raise ProviderError(f"provider {target.name!r} failed in supports(): {type(e).__name__}: {e}", node=node) from e
    if not isinstance(support, (Yes, No)):
        raise ProviderError(f"supports() of provider {target.name!r} returned {support!r}, not Yes or No", node=node)
    return support


def preferred(node: Node, targets: Sequence[Target]) -> Target | None:
    """The target that gets ``node`` when no plugin chooses otherwise; None when nobody takes it."""
    willing = [b for b in _until_taken(node, targets) if isinstance(b.support, Yes)]
    return min(willing, key=lambda b: _score(b) <= 0).target if willing else None


@dataclass(frozen=True, slots=True)
class Fallback:
    """Nodes that ``provider`` refused and ``to``, listed behind it, took. reason: of the first of them."""

    provider: str
    to: str
    nodes: int
    reason: str


def assign(graph: Graph, targets: Sequence[Target]) -> list[Fallback]:
    """Gives every node its provider and the reason, and tells which of them came to a provider that is not the first.

    PlacementError when nobody listed takes a node.

    Of the bidders, one that does not call itself a last resort (score 0) comes first, then the order in which the
    session lists them; a ``ronn_choose`` plugin may choose otherwise among those that bid.
    """
    choose = registry().manager.hook.ronn_choose
    first = targets[0] if targets else None
    unsettled: set[Node] = set()
    bids = collect_bids(graph, targets, everybody=bool(choose.get_hookimpls()))
    chosen = choose(graph=graph, bids=bids) or {}
    orphans: list[tuple[Node, list[Bid]]] = []
    refusals: list[tuple[Node, str, str, str]] = []
    for node in graph.all_nodes():
        if node not in bids:
            node.provider, node.reason = CONTROL, "control flow: the plan runs its subgraphs"
            continue
        willing = [b for b in bids[node] if isinstance(b.support, Yes)]
        if not willing:
            orphans.append((node, bids[node]))
            unsettled.add(node)
            continue
        best = min(willing, key=lambda b: (b.target.name != chosen.get(node), _score(b) <= 0, targets.index(b.target)))
        node.provider = best.target.name
        refused = _refusals(best, bids[node])
        node.reason = _reason(best, refused, chosen.get(node) == best.target.name)
        refusals += [(node, name, best.target.name, reason) for name, reason in refused.items()]
        if best.target is not first and (not best.target.implied or refused):
            unsettled.add(node)
    if unsettled and any(t.implied for t in targets) and all(t.device.memory == "host" for t in targets):
        waiting = _put_off(graph, unsettled)
        orphans = [(n, b) for n, b in orphans if n not in waiting]
        refusals = [r for r in refusals if r[0] not in waiting]
    put_off = {n for n, found in orphans if any(isinstance(b.support, No) and b.support.later for b in found)}
    if put_off and all(t.device.memory == "host" for t in targets):
        waiting = _until_sized(graph, put_off)
        orphans = [(n, b) for n, b in orphans if n not in waiting]
    if orphans:
        raise _placement_error(orphans, targets)
    return _fallbacks(refusals)


def _fallbacks(refusals: Sequence[tuple[Node, str, str, str]]) -> list[Fallback]:
    """The refusals (node, who, who took it instead, why) by who and instead of whom, with the first reason."""
    found: dict[tuple[str, str], Fallback] = {}
    for node, name, taker, reason in refusals:
        known = found.get((name, taker))
        if known is None:
            found[name, taker] = Fallback(name, taker, 1, f"{node.op_id} {node.label!r}: {reason}")
        else:
            found[name, taker] = replace(known, nodes=known.nodes + 1)
    return list(found.values())


def _put_off(graph: Graph, unsettled: set[Node]) -> set[Node]:
    """Leaves nodes that a better provider may take once types are known (``unsettled``) for later, where functions of
    ``ronn.op`` without a shape rule stand before them. Gives them and the nodes inside of them."""
    waiting: set[Node] = set()
    for node in graph:
        inside = [node, *(n for sub in node.subgraphs() for n in sub.all_nodes())]
        open_ = next((v for v in needs(node) if v.producer is not None and _is_untyped(v)), None)
        if open_ is not None and any(n in unsettled for n in inside):
            node.provider = LATER
            node.reason = f"placed when the model runs: the type of %{open_.name} is not known before"
            waiting.update(inside)
    return waiting


def _until_sized(graph: Graph, orphans: set[Node]) -> set[Node]:
    """Leaves nodes that nobody takes yet for when the values are known on which their sizes hang. Gives them and the
    nodes inside of them."""
    from ronn.split import behind_values

    waiting: set[Node] = set()
    for node in behind_values(graph):
        inside = [node, *(n for sub in node.subgraphs() for n in sub.all_nodes())]
        if any(n in orphans for n in inside):
            node.provider = LATER
            node.reason = "placed when the model runs: its sizes hang on values that are not known before"
            waiting.update(inside)
    return waiting


def settler(assigned: Graph) -> Callable[[Graph], None]:
    """Tells nodes that were left for later who took them, each time when a tail has been assigned."""
    waiting = {n.outputs[0].name: n for n in assigned if n.provider == LATER}

    def settle(tail: Graph) -> None:
        for node in tail:
            for out in node.outputs:
                known = waiting.get(out.name)
                if known is not None and node.provider != LATER:
                    known.provider, known.reason = node.provider, node.reason

    return settle


def _is_untyped(value: Value) -> bool:
    return value.type is None or (isinstance(value.type, TensorType) and value.type.dtype is None)


def needs(node: Node) -> list[Value]:
    """The values that a node takes, those that its subgraphs take from outside among them."""
    found = [v for v in node.inputs if v is not None]
    for sub in node.subgraphs():
        found += sub.captures()
    return found


def _score(bid: Bid) -> float:
    return bid.support.score if isinstance(bid.support, Yes) else 0.0


def _refusals(best: Bid, bids: Sequence[Bid]) -> dict[str, str]:
    """Why those asked before the one that was chosen said no."""
    before = bids[: bids.index(best)]
    if best.target.implied:  # that nobody else has an operator of one's own goes without saying
        before = [b for b in before if not b.refusal.startswith("no kernel")]
    return {b.target.name: b.refusal for b in before if b.refusal}


def _reason(best: Bid, refused: Mapping[str, str], by_plugin: bool) -> str:
    refusals = [f"{name}: {reason}" for name, reason in refused.items()]
    note = best.support.note if isinstance(best.support, Yes) else ""
    words = [w for w in (note, "; ".join(refusals), "chosen by a plugin" if by_plugin else "") if w]
    return "; ".join(words) or "first in the list that takes it"


def _placement_error(orphans: Sequence[tuple[Node, list[Bid]]], targets: Sequence[Target]) -> PlacementError:
    lines = []
    for node, bids in orphans[:_MAX_NAMED]:
        why = "; ".join(f"{b.target.name}: {b.refusal}" for b in bids if b.refusal)
        lines.append(f"  {node.op_id} {node.label!r} (opset {node.version}): {why or 'no provider listed'}")
    if len(orphans) > _MAX_NAMED:
        lines.append(f"  ... and {len(orphans) - _MAX_NAMED} more")
    listed = [t.name for t in targets if not t.implied]
    domain, op = orphans[0][0].domain, orphans[0][0].op
    hint = (
        f"@ronn.op({domain!r}, {op!r}, 1) on a NumPy function makes it run, as does a provider that has it"
        if domain not in _KNOWN_DOMAINS
        else
        "list a fallback, for instance providers=" + repr([*listed, "reference"])
        if "reference" not in listed
        else "no installed provider listed here implements it; `ronn check MODEL` lists all such nodes"
    )
    return PlacementError(
        f"{len(orphans)} node(s) cannot run on the providers asked for ({', '.join(listed)})",
        node=orphans[0][0],
        detail="\n".join(lines),
        hint=hint,
    )


# --- copies


def is_copy(node: Node) -> bool:
    return node.domain == DOMAIN and node.op == COPY


def insert_copies(graph: Graph, targets: Sequence[Target]) -> None:
    """Puts a ``ronn::Copy`` wherever a value is used in another memory than it lives in; subgraphs too.

    Graph inputs, outputs and what control flow uses live on the host; constants are read by providers at compile time.
    """
    device = {t.name: t.device for t in targets}
    if all(d.memory == "host" for d in device.values()):
        return
    _insert_copies(graph, {name: d.memory for name, d in device.items()}, {d.memory: n for n, d in device.items()})


def _insert_copies(graph: Graph, memory: Mapping[str, str], owner: Mapping[str, str]) -> None:
    home: dict[Value, str] = dict.fromkeys(graph.inputs, "host")
    copies: dict[tuple[Value, str], Value] = {}

    def moved(value: Value, to: str, before: Node | None) -> Value:
        source = home.get(value, "host")
        if source == to or value.is_const:
            return value
        if (value, to) in copies:
            return copies[value, to]
        if "host" not in (source, to):
            value, source = moved(value, "host", before), "host"
        made = Value(graph.fresh_name(f"{value.name}.{to}"), value.type)
        made.shape_data = value.shape_data
        mover = owner[to if to != "host" else source]
        node = Node(COPY, [value], [made], {"to": to, "via": mover}, domain=DOMAIN, version=1)
        node.provider, node.reason = CONTROL, f"copy from {source} to {to}"
        graph.append(node) if before is None else graph.insert_before(before, node)
        copies[value, to] = made
        home[made] = to
        return made

    for node in graph.nodes:
        where = memory.get(node.provider or "", "host")
        for out in node.outputs:
            home[out] = where
        for i, value in enumerate(node.inputs):
            if value is not None:
                node.set_input(i, moved(value, where, node))
        for sub in node.subgraphs():
            for value in sub.captures():
                local = moved(value, "host", node)
                if local is not value:
                    for inner in sub.all_nodes():
                        inner.set_inputs([local if v is value else v for v in inner.inputs])
                    sub.outputs = [local if v is value else v for v in sub.outputs]
            _insert_copies(sub, memory, owner)
    graph.outputs = [moved(value, "host", None) for value in graph.outputs]


# --- parts


def partition(graph: Graph) -> list[Part]:
    """Groups the nodes of one graph (not of subgraphs) into parts of one provider each, in an order that can run.

    Of the nodes that are ready, those of the provider at hand go first, so that a provider gets few and large parts.
    """
    order = _cluster(graph)
    groups: list[list[Node]] = []
    for node in order:
        if groups and groups[-1][0].provider == node.provider and node.provider != CONTROL:
            groups[-1].append(node)
        else:
            groups.append([node])
    return [_part(graph, group) for group in groups]


def _cluster(graph: Graph) -> list[Node]:
    position = {node: i for i, node in enumerate(graph)}
    if len({node.provider for node in position}) <= 1:
        return list(position)
    users: dict[Node, list[Node]] = {node: [] for node in position}
    missing = dict.fromkeys(position, 0)
    for node in position:
        needed = [v for v in node.inputs if v is not None]
        for sub in node.subgraphs():
            needed += sub.captures()
        for maker in {v.producer for v in needed if v.producer is not None and v.producer in position}:
            users[maker].append(node)
            missing[node] += 1
    ready: dict[str, list[tuple[int, Node]]] = {}
    for node, n in missing.items():
        if n == 0:
            heapq.heappush(ready.setdefault(node.provider or "", []), (position[node], node))
    order: list[Node] = []
    current = ""
    while ready:
        if current not in ready:
            current = min(ready, key=lambda p: ready[p][0][0])
        _, node = heapq.heappop(ready[current])
        if not ready[current]:
            del ready[current]
        order.append(node)
        for user in users[node]:
            missing[user] -= 1
            if missing[user] == 0:
                heapq.heappush(ready.setdefault(user.provider or "", []), (position[user], user))
    return order


def _part(graph: Graph, nodes: Sequence[Node]) -> Part:
    inside = set(nodes)
    made = [v for node in nodes for v in node.outputs if v.name]
    inputs: dict[Value, None] = {}
    for node in nodes:
        for v in node.inputs:
            if v is not None and not v.is_const and v.producer not in inside:
                inputs[v] = None
    final = set(graph.outputs)
    outputs = tuple(v for v in made if v in final or any(user not in inside for user in v.consumers))
    return Part(tuple(nodes), tuple(inputs), outputs)
