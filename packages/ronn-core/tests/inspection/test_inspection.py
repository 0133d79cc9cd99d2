"""What an inspection finds: stages, changes, placement, constants, memory."""

from __future__ import annotations

from itertools import combinations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

import ronn
from ronn.errors import ModelError
from ronn.inspection import inspect_model
from ronn.inspection.constants import statistics
from ronn.inspection.memory import memory_map
from ronn.ir.types import TensorType


def model(nodes, inputs, outputs, constants=(), opset=17):
    graph = h.make_graph(
        nodes,
        "g",
        [h.make_tensor_value_info(n, t, s) for n, t, s in inputs],
        [h.make_tensor_value_info(n, t, s) for n, t, s in outputs],
        [numpy_helper.from_array(a, n) for n, a in constants],
    )
    return h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=9)


def convolution():
    """Conv, BatchNormalization, Relu, Identity on float ``x`` [N, 3, 8, 8]."""
    rng = np.random.default_rng(0)
    nodes = [
        h.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        h.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"], "norm"),
        h.make_node("Relu", ["n"], ["r"], "relu"),
        h.make_node("Identity", ["r"], ["y"], "same"),
    ]
    constants = [("w", rng.standard_normal((4, 3, 3, 3)).astype(np.float32))]
    constants += [(n, np.ones(4, np.float32)) for n in "sbmv"]
    return model(nodes, [("x", T.FLOAT, ["N", 3, 8, 8])], [("y", T.FLOAT, ["N", 4, 8, 8])], constants)


def inspected(proto, **options):
    return inspect_model(ronn.load(proto), providers=["reference"], **options)


def nodes_of(data, graph):
    return [i for start, length in data["graphs"][graph]["nodes"] for i in range(start, start + length)]


def ops(data, snapshot):
    return [data["nodes"][n]["op"] for n in nodes_of(data, snapshot["graph"])]


def at(data, title):
    return next(s for s in data["snapshots"] if s["title"] == title)


def test_each_stage_and_each_pass_that_changed_something_is_there():
    data = inspected(convolution(), sizes={"N": 2}).as_data()
    titles = [s["title"] for s in data["snapshots"]]
    assert titles[0] == "imported" and titles[-1] == "assigned"
    assert [t for t in titles if t in ("imported", "portable", "specialised", "assigned")] == [
        "imported", "portable", "specialised", "assigned",
    ]  # fmt: skip
    assert ops(data, at(data, "imported")) == ["Conv", "BatchNormalization", "Relu", "Identity"]
    assert "BatchNormalization" not in ops(data, at(data, "fuse-conv-bn"))
    fused = at(data, "fuse-conv-bn")
    assert fused["rewrites"] == 1 and fused["stage"] == "portable" and fused["seconds"] >= 0
    made = [data["nodes"][n] for n in nodes_of(data, fused["graph"]) if "tags" in data["nodes"][n]]
    assert any("fuse-conv-bn" in tag for node in made for tag in node["tags"])


def test_types_are_those_of_the_stage():
    data = inspected(convolution(), sizes={"N": 2}).as_data()
    known: dict[str, str] = {}
    seen = {}
    for snapshot in data["snapshots"]:
        known |= {data["values"][v]: data["types"][t] for v, t in snapshot["types"]}
        seen[snapshot["title"]] = dict(known)
    assert seen["imported"]["c"] == "f32[N,4,8,8]"
    assert seen["assigned"]["x"] == "f32[2,3,8,8]"


def test_guessed_sizes_are_told_and_given_ones_are_not():
    assert "N = 1" in " ".join(inspected(convolution()).notes)
    found = inspected(convolution(), sizes={"N": 3})
    assert found.notes == [] and found.signature == "f32[3,3,8,8]"


def test_guesses_that_do_not_fit_leave_sizes_open():
    nodes = [h.make_node("Reshape", ["x", "shape"], ["y"], "form")]
    given = model(nodes, [("x", T.FLOAT, ["length"])], [("y", T.FLOAT, None)], [("shape", np.array([7, -1], np.int64))])
    found = inspected(given)
    assert "do not fit" in found.notes[0] or "does not fit" in found.notes[0]
    assert "length = " in found.notes[0] and "--dim" in found.notes[0]
    assert found.signature == "f32[length]"
    assert [s["title"] for s in found.as_data()["snapshots"]].count("specialised") == 1
    with pytest.raises(ModelError):
        inspected(given, sizes={"length": 9})


def test_placement_names_providers_and_reasons():
    found = inspected(convolution(), sizes={"N": 1})
    data = found.as_data()
    assert {p for p, _ in data["places"]} == {"reference"}
    assert set(data["placement"]) == set(nodes_of(data, at(data, "assigned")["graph"]))
    assert all(reason for _, reason in data["places"])


def test_what_nobody_runs_becomes_a_note():
    proto = model([h.make_node("Warp", ["x"], ["y"], "odd", domain="org.example")], [("x", T.FLOAT, [2])],
                  [("y", T.FLOAT, [2])])  # fmt: skip
    proto.opset_import.append(h.make_opsetid("org.example", 1))
    found = inspected(proto)
    assert "PlacementError" in found.notes[0] and "odd" in found.notes[0]
    assert found.memory == [] and found.placement == {}
    assert ops(found.as_data(), found.as_data()["snapshots"][0]) == ["org.example::Warp"]


def test_branches_are_graphs_of_their_own_and_may_share_names():
    def branch(op):
        return h.make_graph([h.make_node(op, ["x"], ["r"], op)], op, [], [h.make_tensor_value_info("r", T.FLOAT, [4])])

    node = h.make_node("If", ["c"], ["y"], "choice", then_branch=branch("Exp"), else_branch=branch("Neg"))
    data = inspected(model([node], [("c", T.BOOL, []), ("x", T.FLOAT, [4])], [("y", T.FLOAT, [4])])).as_data()
    top = data["nodes"][nodes_of(data, at(data, "imported")["graph"])[0]]
    inner = {label: data["nodes"][nodes_of(data, g)[0]] for label, g in top["graphs"].items()}
    assert {label: n["op"] for label, n in inner.items()} == {"then_branch": "Exp", "else_branch": "Neg"}
    outs = {n["out"][0] for n in inner.values()}
    assert len(outs) == 2 and {data["values"][v] for v in outs} == {"r"}
    assert {data["values"][n["in"][0]] for n in inner.values()} == {"x"}
    assert len(data["memory"]) == 3  # the model's and one a branch


def test_bodies_of_functions_are_there():
    body = h.make_function(
        "my.domain", "Twice", ["a"], ["b"], [h.make_node("Add", ["a", "a"], ["b"])], [h.make_opsetid("", 17)]
    )
    graph = h.make_graph(
        [h.make_node("Twice", ["x"], ["y"], domain="my.domain")], "g",
        [h.make_tensor_value_info("x", T.FLOAT, [2])], [h.make_tensor_value_info("y", T.FLOAT, [2])],
    )  # fmt: skip
    opsets = [h.make_opsetid("", 17), h.make_opsetid("my.domain", 1)]
    data = inspected(h.make_model(graph, opset_imports=opsets, functions=[body], ir_version=9)).as_data()
    assert [data["nodes"][n]["op"] for n in nodes_of(data, data["functions"]["my.domain::Twice"])] == ["Add"]


def test_constants_come_and_go():
    data = inspected(convolution(), sizes={"N": 1}).as_data()
    held: dict[int, int] = {}
    for snapshot in data["snapshots"]:
        for value, number in snapshot["constants"]:
            if number < 0:
                del held[value]
            else:
                held[value] = number
        if snapshot["title"] == "imported":
            names = {data["values"][v] for v in held}
            assert names == {"w", *"sbmv"}
            shape = next(data["constants"][c] for v, c in held.items() if data["values"][v] == "w")
            assert shape["bytes"] == 4 * 3 * 3 * 3 * 4 and sum(shape["histogram"]) == 108
    assert not {data["values"][v] for v in held} & set("smv")


def test_what_exporters_wrote_beside_nodes_is_found_after_passes(tmp_path):
    proto = convolution()
    for node in proto.graph.node:
        if node.op_type == "Conv":
            node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value='File "model.py", line 7, in forward')
        elif node.op_type == "Relu":
            node.doc_string = "the last one"
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    found = inspect_model(ronn.load(path), providers=["reference"], sizes={"N": 1}, path=path)
    assert found.sources["conv"] == found.sources["%c"] and "line 7" in str(found.sources["conv"])
    data = found.as_data()
    assert data["sources"][data["source_of"]["relu"]] == {"doc_string": "the last one"}
    last = [data["nodes"][n] for n in nodes_of(data, at(data, "assigned")["graph"])]
    assert any(n["name"] in data["source_of"] for n in last)
    assert inspected(convolution()).sources == {}


# --- constants


@settings(max_examples=40)
@given(st.lists(st.floats(width=32), min_size=1, max_size=60))
def test_statistics_hold_for_any_floats(values):
    array = np.array(values, np.float32)
    found = statistics(array)
    finite = array[np.isfinite(array)].astype(np.float64)
    assert found.get("not_finite", 0) == array.size - finite.size
    assert ("values" in found) == (array.size <= 12)
    if finite.size:
        assert found["min"] == finite.min() and found["max"] == finite.max()
        assert found["min"] <= found["mean"] * (1 + 1e-9 * np.sign(found["mean"])) + 1e-300
        if "histogram" in found:
            assert sum(found["histogram"]) == finite.size
    else:
        assert "min" not in found


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 3), np.float32), np.array("text", object), np.array([True, False]), np.ones((), np.int8),
        np.arange(40).astype(ml_dtypes.bfloat16), np.arange(8).astype(ml_dtypes.int4), np.array([1 + 2j]),
        np.full(100, np.nan), np.array([-1e308, 1e308] * 20),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)  # fmt: skip
def test_statistics_of_other_arrays(array):
    found = statistics(array)
    assert found["bytes"] == array.nbytes
    if array.dtype == ml_dtypes.bfloat16:
        assert found["max"] == 39 and found["zeros"] == 1 / 40


def test_large_arrays_are_sampled_and_say_so():
    found = statistics(np.arange(5_000_000, dtype=np.float32))
    assert found["sample"] < 5_000_000 and found["min"] == 0 and found["max"] == 4_999_999
    assert found["mean"] == pytest.approx(2.5e6, rel=0.01)


# --- memory


def plan_of(proto, **inputs):
    session = ronn.Session(proto, providers=["reference"], options={"optimization": "none"})
    variant = session._base
    return variant.plan(tuple(v.type for v in variant.portable.inputs))


def chain(length):
    names = ["x", *(f"v{i}" for i in range(length - 1)), "y"]
    ops_ = ["Relu", "Neg", "Exp", "Tanh"]
    nodes = [h.make_node(ops_[i % 4], [names[i]], [names[i + 1]], f"n{i}") for i in range(length)]
    nodes.append(h.make_node("Add", [names[1], names[-1]], ["z"], "far"))
    shape = [16, 16]
    return model(nodes, [("x", T.FLOAT, shape)], [("z", T.FLOAT, shape)])


@pytest.mark.parametrize("length", [1, 2, 5, 9])
def test_blocks_that_live_together_lie_apart_and_fill_the_arena(length):
    found = inspect_model(ronn.load(chain(length)))
    laid = found.memory[0]
    for a, b in combinations(laid.blocks, 2):
        together = a.first <= b.last and b.first <= a.last
        assert not together or a.offset + a.size <= b.offset or b.offset + b.size <= a.offset
    assert all(b.offset >= 0 and b.offset + b.size <= laid.size for b in laid.blocks)
    for i, step in enumerate(laid.steps):
        assert step.arena == sum(b.size for b in laid.blocks if b.first <= i <= b.last)
    peak = laid.steps[laid.peak]
    assert peak.arena + peak.outside == max(s.arena + s.outside for s in laid.steps)


def test_the_map_is_that_of_the_plan():
    plan = plan_of(chain(6))
    laid = memory_map(plan, "it")
    assert laid.size == plan.arena_size and len(laid.steps) == len(plan.calls)
    assert max(s.outside for s in laid.steps) == plan.heap_size
    inputs, outputs = plan.ends
    assert [v.name for v in inputs] == ["x"] and [v.name for v in outputs] == ["z"]
    assert inputs[0].type == TensorType(ronn.ir.types.DType.FLOAT32, (16, 16))
