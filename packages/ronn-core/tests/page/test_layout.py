"""The layout of graphs, run in a JavaScript engine without a browser."""

from __future__ import annotations

from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py_mini_racer import MiniRacer

WIDTH, HEIGHT = 172, 34


@pytest.fixture(scope="module")
def layered():
    engine = MiniRacer()
    engine.eval(files("ronn.page").joinpath("layout.js").read_text(encoding="utf-8"))
    return lambda inputs: engine.call("layered", inputs)


@st.composite
def graphs(draw: st.DrawFn) -> list[list[int]]:
    """For each node the nodes before it that it follows."""
    count = draw(st.integers(0, 40))
    return [
        draw(st.lists(st.integers(max(0, n - 9), n - 1), max_size=3, unique=True)) if n else [] for n in range(count)
    ]


@settings(max_examples=60, deadline=None)
@given(inputs=graphs())
def test_nodes_do_not_overlap_and_edges_go_down(layered, inputs):
    laid = layered(inputs)
    x, y, count = laid["x"], laid["y"], laid["count"]
    assert count == len(inputs)
    for i in range(count):
        assert x[i] + 0.1 >= WIDTH / 2 and x[i] + WIDTH / 2 <= laid["width"] + 0.1
        assert HEIGHT / 2 <= y[i] <= laid["height"] - HEIGHT / 2
        for j in range(i):
            assert abs(x[i] - x[j]) >= WIDTH - 0.1 or abs(y[i] - y[j]) >= HEIGHT - 0.1
    assert all(y[b] > y[a] for a, b, _ in laid["segments"])


@settings(max_examples=60, deadline=None)
@given(inputs=graphs())
def test_every_edge_is_there_once(layered, inputs):
    laid = layered(inputs)
    after: dict[tuple[int, int], list[int]] = {}
    for a, b, source in laid["segments"]:
        after.setdefault((source, a), []).append(b)
    edges = set()
    for source in range(len(inputs)):
        todo = [source]
        while todo:
            for target in after.get((source, todo.pop()), []):
                if target < laid["count"]:
                    assert (source, target) not in edges
                    edges.add((source, target))
                else:
                    todo.append(target)
    assert edges == {(s, t) for t, before in enumerate(inputs) for s in before}


def test_large_graphs_with_long_edges_keep_their_lanes_within_bounds(layered):
    inputs = [[]] + [sorted({n - 1, (n * 7919) % n}) for n in range(1, 3000)]
    laid = layered(inputs)
    assert len(laid["x"]) < 70_000 and len(laid["segments"]) < 80_000
    assert {t for _, t, _ in laid["segments"] if t < 3000} == set(range(1, 3000))
