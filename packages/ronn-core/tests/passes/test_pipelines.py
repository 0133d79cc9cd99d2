"""Named lists: what they hold, that they are whole, and that a composite model comes out right."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from ronn.errors import OptionError
from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import DType, TensorType
from ronn.passes.deferred import DeferredPass
from ronn.passes.manager import Group, PassContext, PassManager
from ronn.passes.pipelines import all_passes, names, pipeline


def flat(name: str, stage: Any) -> list[str]:
    return [p.name for item in pipeline(name, stage) for p in (item.passes if isinstance(item, Group) else (item,))]


def test_names_and_unknown_name() -> None:
    assert names() == ("none", "basic", "full")
    with pytest.raises(OptionError, match="did you mean 'full'"):
        pipeline("ful", "portable")


@pytest.mark.parametrize("name", ["none", "basic", "full"])
def test_every_pipeline_holds_the_required_passes(name: str) -> None:
    required = {n for n, p in all_passes().items() if getattr(p, "required", False)}
    assert required == {"inline-functions", "lift-constants", "expand-functions", "lower-fused"}
    assert required <= {*flat(name, "portable"), *flat(name, "specialised")}


def test_fusions_are_in_full_only() -> None:
    fusions = {n for n in all_passes() if n.startswith("fuse-")}
    assert len(fusions) == 6
    assert fusions <= {*flat("full", "specialised")}
    assert not fusions & {*flat("basic", "specialised"), *flat("basic", "portable"), *flat("none", "specialised")}
    assert "lower-fused" in flat("full", "specialised")[flat("full", "specialised").index("fuse-bias-activation") :]


def test_every_pass_has_a_name_of_its_file_and_a_summary() -> None:
    import importlib

    for name, p in all_passes().items():
        module = importlib.import_module(f"ronn.passes.{name.replace('-', '_')}")
        found = getattr(module, name.replace("-", "_"))
        if isinstance(p, DeferredPass):
            fields = ("name", "requires_types", "required", "keeps_types", "late", "summary")
            assert p.loaded is found
            assert [getattr(p, n) for n in fields] == [getattr(found, n) for n in fields]
        else:
            assert found is p
        assert getattr(p, "summary", "")


def test_passes_about_other_operators_are_not_imported() -> None:
    text = "from ronn.passes import pipelines; import sys; print(*(m for m in sys.modules if 'passes.' in m))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert "ronn.passes.fuse_conv_bn" in done.stdout.split()
    deferred = {p.module for p in all_passes().values() if isinstance(p, DeferredPass)}
    assert len(deferred) == 6
    assert not deferred & set(done.stdout.split())


TEXT = """opset {"": 17}
graph g(%x: f32[N,4,6], %w: f32[6,6]) {
  %two: f32[] = const {2.0}
  %eps: f32[] = const {1e-05}
  %half: f32[] = const {0.5}
  %one: f32[] = const {1.0}
  %root: f32[] = const {1.4142135}
  %scale: f32[6] = const {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}
  %s = Shape(%x)
  %mean = ReduceMean(%x) {axes=[-1]}
  %d = Sub(%x, %mean)
  %sq = Pow(%d, %two)
  %var = ReduceMean(%sq) {axes=[-1]}
  %ve = Add(%var, %eps)
  %sd = Sqrt(%ve)
  %n = Div(%d, %sd)
  %ns = Mul(%n, %scale)
  %nb = Add(%ns, %scale)
  %m = MatMul(%nb, %w)
  %mb = Add(%m, %scale)
  %q = Div(%mb, %root)
  %e = Erf(%q)
  %e1 = Add(%e, %one)
  %g = Mul(%mb, %e1)
  %gh = Mul(%g, %half)
  %i = Identity(%gh)
  %y = Reshape(%i, %s)
  return %y
}
"""


@pytest.mark.parametrize("name", ["none", "basic", "full"])
def test_whole_pipelines_keep_the_numbers(apply: Any, name: str) -> None:
    passes = [*pipeline(name, "portable"), *pipeline(name, "specialised")]
    takes = "LayerNormalization Gelu FusedMatMul"
    done = apply(passes, TEXT, takes=takes, rtol=1e-4, atol=1e-5)
    if name == "full":
        assert done.ops == ["LayerNormalization", "ronn::FusedMatMul"]
        assert done.graph.nodes[1].attributes["activation"] == "Gelu"


def test_without_takers_only_plain_operators_remain(apply: Any) -> None:
    done = apply([*pipeline("full", "portable"), *pipeline("full", "specialised")], TEXT, rtol=1e-4, atol=1e-5)
    assert not {"LayerNormalization", "Gelu", "ronn::FusedMatMul"} & set(done.ops)


def test_equal_nodes_are_computed_once() -> None:
    computed: list[str] = []

    def evaluate(node: Node, arrays: Any) -> list[np.ndarray]:
        computed.append(node.op)
        return [np.full(arrays[0], 0.5, np.float32)]

    graph = Graph("g")
    x = graph.add_input("x", TensorType(DType.FLOAT32, (64, 64)))
    for _ in range(4):
        shape = graph.constant(np.array([64, 64]))
        weight = graph.append(Node("ConstantOfShape", [shape], [Value("")], {"value": np.float32([0.5])}, version=13))
        weight.output.name = graph.fresh_name("w")
        x = graph.append(Node("MatMul", [x, weight.output], [Value(graph.fresh_name("y"))], version=13)).output
    graph.add_output(x, "y")
    PassManager(pipeline("full", "portable")).run(graph, PassContext(evaluate=evaluate))
    assert computed == ["ConstantOfShape"]
    assert len({id(n.inputs[1]) for n in graph}) == 1
