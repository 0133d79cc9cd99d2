"""Bids, assignment, parts and copies."""

import numpy as np
import pytest

from ronn.errors import PlacementError, ProviderError
from ronn.ir.graph import Graph, Node, Value
from ronn.ir.text import parse
from ronn.ir.types import DType, TensorType
from ronn.ops.infer import infer_types
from ronn.partition import CONTROL, LATER, Target, assign, insert_copies, is_copy, partition
from ronn.provider import Allocator, Device, No, Provider, Yes
from ronn.split import split

F32 = TensorType(DType.FLOAT32, (2,))


class Only(Provider):
    """Takes the operators given."""

    def __init__(self, name, ops, score=1.0, memory="host"):
        self.name = name
        self.ops = ops
        self.score = score
        self.memory = memory

    def supports(self, node, device):
        return Yes(self.score) if node.op in self.ops else No(f"{self.name} has no {node.op}")


def target(name, ops, score=1.0, memory="host"):
    device = Device(name, memory=memory, allocator=None if memory == "host" else Allocator())
    return Target(Only(name, ops, score), device, {})


def chain(*ops):
    g = Graph("g")
    v = g.add_input("x", F32)
    for i, op in enumerate(ops):
        v = g.append(Node(op, [v], [Value(f"v{i}", F32)], version=18)).output
    g.add_output(v)
    return g


def providers(graph):
    return [n.provider for n in graph]


def test_listed_order_decides_and_reasons_are_kept():
    g = chain("Relu", "Abs")
    assign(g, [target("a", {"Relu"}), target("b", {"Relu", "Abs"})])
    assert providers(g) == ["a", "b"]
    assert g.nodes[1].reason == "a: a has no Abs"


def test_a_last_resort_comes_last_whatever_the_order():
    g = chain("Relu")
    assign(g, [target("slow", {"Relu"}, score=0.0), target("b", {"Relu"})])
    assert providers(g) == ["b"]


def test_nobody_takes_it_is_an_error_with_every_reason():
    g = chain("Relu", "Abs")
    with pytest.raises(PlacementError) as e:
        assign(g, [target("a", {"Relu"})])
    assert "Abs" in str(e.value) and "a has no Abs" in str(e.value) and "'reference'" in str(e.value)


def test_parts_are_few_convex_and_in_a_runnable_order():
    g = Graph("g")
    x = g.add_input("x", F32)
    made = {}
    for name, op, of in [("a", "A", x), ("b", "B", x), ("c", "A", "a"), ("d", "B", "b"), ("e", "A", "d")]:
        source = of if isinstance(of, Value) else made[of]
        made[name] = g.append(Node(op, [source], [Value(name, F32)], version=1)).output
    g.add_output(made["c"])
    g.add_output(made["e"])
    assign(g, [target("pa", {"A"}), target("pb", {"B"})])
    parts = partition(g)
    assert [[n.output.name for n in p.nodes] for p in parts] == [["a", "c"], ["b", "d"], ["e"]]
    assert [v.name for v in parts[2].inputs] == ["d"] and [v.name for v in parts[2].outputs] == ["e"]
    seen = {x}
    for p in parts:
        assert set(p.inputs) <= seen
        seen.update(p.outputs)


def test_copies_stand_where_memory_changes_once_per_value():
    g = Graph("g")
    x = g.add_input("x", F32)
    a = g.append(Node("A", [x], [Value("a", F32)], version=1)).output
    b = g.append(Node("A", [a], [Value("b", F32)], version=1)).output
    c = g.append(Node("B", [a, b], [Value("c", F32)], version=1)).output
    d = g.append(Node("B", [a], [Value("d", F32)], version=1)).output
    for v in (c, d):
        g.add_output(v)
    targets = [target("gpu", {"A"}, memory="gpu"), target("cpu", {"B"})]
    assign(g, targets)
    insert_copies(g, targets)
    copies = [(n.inputs[0].name, n.attributes["to"]) for n in g if is_copy(n)]
    assert copies == [("x", "gpu"), ("a", "host"), ("b", "host")]
    assert all(n.provider == CONTROL for n in g if is_copy(n))


def test_constants_are_not_copied_and_outputs_come_home():
    g = Graph("g")
    c = g.constant(np.zeros(2, np.float32))
    y = g.append(Node("A", [c], [Value("y", F32)], version=1)).output
    g.add_output(y)
    targets = [target("gpu", {"A"}, memory="gpu")]
    assign(g, targets)
    insert_copies(g, targets)
    assert [n.op for n in g] == ["A", "Copy"]
    assert g.outputs[0].producer.attributes["to"] == "host" and g.output_names == ["y"]


def test_two_device_memories_meet_on_the_host():
    g = chain("A", "B")
    targets = [target("g1", {"A"}, memory="m1"), target("g2", {"B"}, memory="m2")]
    assign(g, targets)
    insert_copies(g, targets)
    assert [n.attributes.get("to", n.op) for n in g] == ["m1", "A", "host", "m2", "B", "host"]
    assert [n.attributes["via"] for n in g if is_copy(n)] == ["g1", "g1", "g2", "g2"]


@pytest.mark.parametrize("answer", [ZeroDivisionError("oops"), None, True])
def test_a_provider_that_answers_badly_is_named(answer):
    class Bad(Only):
        def supports(self, node, device):
            if isinstance(answer, Exception):
                raise answer
            return answer

    with pytest.raises(ProviderError, match="supports\\(\\)") as e:
        assign(chain("Relu"), [Target(Bad("bad", set()), Device("bad"), {})])
    assert "bad" in str(e.value) and "Relu" in str(e.value)


class Sized(Only):
    """Takes all nodes whose sizes are known."""

    wants_sizes = True

    def supports(self, node, device):
        known = all(v.tensor.is_static for v in node.outputs)
        return Yes() if known else No("sizes are open", later=node.op in self.ops)


def reductions():
    body = "  %y = Abs(%x)\n  %z = ReduceSum(%y, %axes)\n  %w = Neg(%z)"
    g = parse(f'opset {{"": 18}}\ngraph g(%x: f32[4,6], %axes: i64[1]) {{\n{body}\n  return %w\n}}\n')
    infer_types(g)
    return g


def test_nodes_whose_sizes_hang_on_values_wait_for_them():
    g = reductions()
    assign(g, [Target(Sized("s", {"ReduceSum", "Neg"}), Device("s"), {})])
    assert providers(g) == ["s", LATER, LATER]
    assert g.nodes[1].reason == "placed when the model runs: its sizes hang on values that are not known before"
    halves = split(g, forced=True)
    assert [n.op for n in halves.head] == ["Abs"] and [n.op for n in halves.tail] == ["ReduceSum", "Neg"]
    assert [halves.crossing[i].name for i in halves.by_value] == ["axes"]


def test_nodes_that_no_size_helps_do_not_wait():
    with pytest.raises(PlacementError, match="sizes are open"):
        assign(reductions(), [Target(Sized("s", {"ReduceSum"}), Device("s"), {})])
    device = Device("s", memory="s", allocator=Allocator())
    with pytest.raises(PlacementError):
        assign(reductions(), [Target(Sized("s", {"ReduceSum", "Neg"}), device, {})])


def test_nothing_is_put_off_a_second_time_where_no_value_came():
    g = reductions()
    assign(g, [Target(Sized("s", {"ReduceSum", "Neg"}), Device("s"), {})])
    tail = split(g, forced=True).tail
    assign(tail, [Target(Sized("s", {"ReduceSum", "Neg"}), Device("s"), {})])
    assert split(tail, given=False, forced=True) is None
