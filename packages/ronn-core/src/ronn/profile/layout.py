"""Where the nodes of a graph go on a page: in layers by depth, edges as smooth lines between them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ronn.records import dataclass

WIDTH, HEIGHT = 172.0, 34.0
"""Of a node, in units of the page."""
_GAP_X, _GAP_Y = 22.0, 30.0
_LANE = 14.0  # the width that a passing edge takes
_SWEEPS = 6

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Layout:
    """Centres of the nodes, points that each edge (source, target) passes, and the size of it all."""

    nodes: list[Point]
    edges: list[tuple[int, int, list[Point]]]
    width: float
    height: float


def layered(inputs: Sequence[Sequence[int]]) -> Layout:
    """Lays out nodes whose predecessors are ``inputs``; predecessors come before the nodes that follow them."""
    depth: list[int] = []
    for before in inputs:
        depth.append(1 + max((depth[i] for i in before), default=-1))
    _sink(inputs, depth)
    layers: list[list[int]] = [[] for _ in range(max(depth, default=-1) + 1)]
    for node, d in enumerate(depth):
        layers[d].append(node)
    up: dict[int, list[int]] = {n: [] for n in range(len(inputs))}
    down: dict[int, list[int]] = {n: [] for n in range(len(inputs))}
    routes = []
    lanes = len(inputs)  # numbers from here on are places where an edge passes a layer
    for target, before in enumerate(inputs):
        for source in before:
            path = [source]
            for d in range(depth[source] + 1, depth[target]):
                layers[d].append(lanes)
                up[lanes], down[lanes] = [], []
                path.append(lanes)
                lanes += 1
            path.append(target)
            for a, b in itertools.pairwise(path):
                down[a].append(b)
                up[b].append(a)
            routes.append((source, target, path))
    x = _place(layers, up, down, len(inputs))
    y = {n: d * (HEIGHT + _GAP_Y) for d, layer in enumerate(layers) for n in layer}
    left = min((x[n] for n in x), default=0.0) - WIDTH / 2
    points = {n: (round(x[n] - left, 1), round(y[n] + HEIGHT / 2, 1)) for n in x}
    edges = [(s, t, [points[n] for n in path]) for s, t, path in routes]
    nodes = [points[n] for n in range(len(inputs))]
    width = max((p[0] for p in points.values()), default=0.0) + WIDTH / 2
    return Layout(nodes, edges, width, len(layers) * (HEIGHT + _GAP_Y))


def _sink(inputs: Sequence[Sequence[int]], depth: list[int]) -> None:
    """Moves nodes without predecessors down to just above their first user."""
    users: dict[int, list[int]] = {}
    for target, before in enumerate(inputs):
        for source in before:
            users.setdefault(source, []).append(target)
    for node, before in enumerate(inputs):
        if not before and node in users:
            depth[node] = min(depth[u] for u in users[node]) - 1


def _place(
    layers: list[list[int]], up: dict[int, list[int]], down: dict[int, list[int]], real: int
) -> dict[int, float]:
    """Horizontal centres: layers are ordered by the mean place of neighbours, and kept as near to it as widths let."""
    x: dict[int, float] = {}
    for layer in layers:
        _spread(layer, x, {n: float(i) * (WIDTH + _GAP_X) for i, n in enumerate(layer)}, real)
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        for layer in layers if forward else reversed(layers):
            near = up if forward else down
            wanted = {n: sum(x[m] for m in near[n]) / len(near[n]) if near[n] else x[n] for n in layer}
            layer.sort(key=lambda n: wanted[n])
            _spread(layer, x, wanted, real)
    return x


def _spread(layer: list[int], x: dict[int, float], wanted: dict[int, float], real: int) -> None:
    """Gives the nodes of a layer, in order, places that do not overlap, near the wanted ones."""
    half = [WIDTH / 2 if n < real else _LANE / 2 for n in layer]
    gap = [_GAP_X if n < real else _LANE / 2 for n in layer]
    # Blocks of nodes that touch: merged until none overlap, each at the mean of what its members want.
    blocks: list[tuple[float, int, float, list[int]]] = []  # sum of wanted starts, count, width, members
    for i, n in enumerate(layer):
        block = (wanted[n] - half[i], 1, 2 * half[i] + gap[i], [i])
        while blocks and blocks[-1][0] / blocks[-1][1] + blocks[-1][2] > block[0] / block[1]:
            total, count, width, members = blocks.pop()
            block = (total + block[0] - width * block[1], count + block[1], width + block[2], members + block[3])
        blocks.append(block)
    for total, count, _, members in blocks:
        start = total / count
        for i in members:
            x[layer[i]] = start + half[i]
            start += 2 * half[i] + gap[i]
