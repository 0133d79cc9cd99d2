"""inline-functions: attributes, nesting, overloads, subgraphs, recursion."""

from __future__ import annotations

from typing import Any

import pytest

from ronn.errors import ModelError
from ronn.ir.graph import Function
from ronn.ir.text import parse
from ronn.passes.inline_functions import inline_functions
from ronn.passes.manager import PassContext, PassManager

Key = tuple[str, str, str]


def functions(**bodies: tuple[str, dict[str, Any]]) -> dict[Key, Function]:
    made = {}
    for name, (body, attributes) in bodies.items():
        op, _, overload = name.partition("__")
        graph = parse(f'opset {{"": 18, "me": 1}}\n{body}')
        made[("me", op, overload)] = Function("me", op, overload, graph, attributes, {"": 18})
    return made


def model(body: str) -> str:
    return f'opset {{"": 18, "me": 1}}\ngraph g(%x: f32[2,3]) {{\n{body}  return %y\n}}\n'


LEAKY = "graph leaky(%p) {\n  %t = LeakyRelu(%p) {alpha=&slope}\n  %q = Neg(%t)\n  return %q\n}\n"


def run(text: str, made: dict[Key, Function], apply: Any) -> Any:
    # The calls cannot be run before; what comes out is compared with a plain spelling by the tests themselves.
    return apply(inline_functions, text, functions=made, compare=False)


def test_attribute_of_the_call_and_default(apply: Any) -> None:
    made = functions(Leaky=(LEAKY, {"slope": 0.25}))
    done = run(model("  %a = me::Leaky(%x)\n  %y = me::Leaky(%a) {slope=0.5}\n"), made, apply)
    assert done.ops == ["LeakyRelu", "Neg", "LeakyRelu", "Neg"]
    assert [n.attributes for n in done.graph][::2] == [{"alpha": 0.25}, {"alpha": 0.5}]
    assert done.graph.nodes[0].tags == ("inline-functions",)
    assert done.graph.outputs[0].name == "y"
    names = [v.name for v in done.graph.values()]
    assert len(set(names)) == len(names)


def test_missing_attribute_is_dropped(apply: Any) -> None:
    done = run(model("  %y = me::Leaky(%x)\n"), functions(Leaky=(LEAKY, {"slope": None})), apply)
    assert done.graph.nodes[0].attributes == {}


def test_nested_calls_and_constants(apply: Any) -> None:
    inner = "graph inner(%p) {\n  %c: f32[] = const {2.0}\n  %q = Mul(%p, %c)\n  return %q\n}\n"
    outer = "graph outer(%p) {\n  %a = me::Inner(%p)\n  %q = me::Inner(%a)\n  return %q\n}\n"
    done = run(model("  %y = me::Outer(%x)\n"), functions(Inner=(inner, {}), Outer=(outer, {})), apply)
    assert done.ops == ["Mul", "Mul"]
    assert len(done.graph.initializers) == 2


def test_overloads_are_told_apart(apply: Any) -> None:
    made = functions(
        F=("graph f(%p) {\n  %q = Abs(%p)\n  return %q\n}\n", {}),
        F__neg=("graph f(%p) {\n  %q = Neg(%p)\n  return %q\n}\n", {}),
    )
    graph = parse(model("  %a = me::F(%x)\n  %y = me::F(%a)\n"))
    graph.nodes[1].overload = "neg"
    done = apply(inline_functions, graph, functions=made, compare=False)
    assert done.ops == ["Abs", "Neg"]


def test_omitted_input_stays_omitted(apply: Any) -> None:
    clip = "graph f(%p, %low, %high) {\n  %q = Clip(%p, %low, %high)\n  return %q\n}\n"
    done = run(model("  %c: f32[] = const {1.0}\n  %y = me::F(%x, _, %c)\n"), functions(F=(clip, {})), apply)
    (node,) = done.graph
    assert node.inputs[1] is None and node.inputs[2] is not None


def test_function_that_hands_its_input_on(apply: Any) -> None:
    done = run(model("  %y = me::F(%x)\n"), functions(F=("graph f(%p) {\n  return %p\n}\n", {})), apply)
    assert done.ops == ["Identity"]


def test_attribute_inside_a_branch_of_the_body(apply: Any) -> None:
    body = """graph f(%p) {
  %c: bool[] = const {true}
  %q = If(%c) {
    then_branch=graph () {
      %t = LeakyRelu(%p) {alpha=&slope}
      return %t
    },
    else_branch=graph () {
      return %p
    }
  }
  return %q
}
"""
    done = run(model("  %y = me::F(%x) {slope=0.5}\n"), functions(F=(body, {"slope": None})), apply)
    (branch,) = done.graph
    (leaky,) = branch.attributes["then_branch"]
    assert leaky.attributes == {"alpha": 0.5}
    assert leaky.inputs == (done.graph.inputs[0],)
    (identity,) = branch.attributes["else_branch"]
    assert identity.op == "Identity" and identity.inputs == (done.graph.inputs[0],)


def test_call_inside_a_branch(apply: Any) -> None:
    text = model(
        """  %c: bool[] = const {true}
  %y = If(%c) {
    then_branch=graph () {
      %t = me::Leaky(%x)
      return %t
    },
    else_branch=graph () {
      %t = Neg(%x)
      return %t
    }
  }
"""
    )
    done = run(text, functions(Leaky=(LEAKY, {"slope": 0.5})), apply)
    assert [n.op for n in done.graph.nodes[0].attributes["then_branch"]] == ["LeakyRelu", "Neg"]


def test_recursion_is_a_model_error() -> None:
    a = "graph a(%p) {\n  %q = me::B(%p)\n  return %q\n}\n"
    b = "graph b(%p) {\n  %q = me::A(%p)\n  return %q\n}\n"
    context = PassContext(functions=functions(A=(a, {}), B=(b, {})))
    with pytest.raises(ModelError, match="circle: me::A -> me::B -> me::A"):
        PassManager([inline_functions]).run(parse(model("  %y = me::A(%x)\n")), context)


def test_too_many_inputs_or_outputs() -> None:
    made = functions(Leaky=(LEAKY, {"slope": 0.5}))
    with pytest.raises(ModelError, match="has 1 inputs, its call 2"):
        PassManager([inline_functions]).run(parse(model("  %y = me::Leaky(%x, %x)\n")), PassContext(functions=made))
    with pytest.raises(ModelError, match="has 1 outputs, its call 2"):
        PassManager([inline_functions]).run(parse(model("  %y, %z = me::Leaky(%x)\n")), PassContext(functions=made))


def test_growth_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(sys.modules[inline_functions.fn.__module__], "MAX_NODES", 3)
    made = functions(Leaky=(LEAKY, {"slope": 0.5}))
    text = model("  %a = me::Leaky(%x)\n  %y = me::Leaky(%a)\n")
    with pytest.raises(ModelError, match="exceed 3 nodes"):
        PassManager([inline_functions]).run(parse(text), PassContext(functions=made))
