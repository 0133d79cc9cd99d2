"""print_graph and parse are exact inverses; broken text is a ModelError with line and column."""

from __future__ import annotations

import string
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ronn.errors import ModelError
from ronn.ir.dims import Dim, floordiv, sym
from ronn.ir.graph import AttrRef, Graph, Node, Value
from ronn.ir.literals import content_hash
from ronn.ir.text import graph_constants, parse, print_graph, print_node
from ronn.ir.types import DType, MapType, OptionalType, SequenceType, SparseTensorType, TensorType

EXAMPLE = """\
opset {"": 18, "com.microsoft": 1}
graph main(%x: f32[N,20], %"a/b:0": seq(?), %c: bool[]) {
  %w: f32[20,10] = const #WWWW
  %b: f32[3] = const {0.1, -0.0, 0x0100c07f}
  %h: f32[N,10] = Gemm(%x, %w, _) {alpha=1e-05, s="q\\"", l=[1, 2], t=i4[2]{1, -8}, r=&k}  @cpu  # name="fc" tags=["a"]
  %a: f32[2], _ = com.microsoft::Split:13(%h)
  %g = com.microsoft::FastGelu(%a)
  %k = com.microsoft::FastGelu(%g)
  %y = If(%c) {
    then_branch=graph then() {
      %h: f32[((N+1)//2),'q w',?] = Relu(%h)
      %q = Add(%h, %^h)
      return %q
    },
    else_branch=graph () {
      return %a as "z"
    }
  }
  return %a as "logits", %y
}
"""


def test_example_reads_and_prints_back() -> None:
    w = np.arange(200, dtype=np.float32).reshape(20, 10)
    text = EXAMPLE.replace("WWWW", content_hash(w))
    graph = parse(text, {content_hash(w): w})
    assert print_graph(graph) == text
    gemm, split, _, _, branch = graph.nodes
    assert gemm.attributes["t"].dtype == ml_dtypes.int4
    assert gemm.attributes["r"] == AttrRef("k")
    assert (gemm.provider, gemm.name, gemm.tags) == ("cpu", "fc", ("a",))
    assert gemm.inputs == (graph.inputs[0], graph.initializers["w"], None)
    assert (split.domain, split.version, branch.version) == ("com.microsoft", 13, 18)
    then = branch.attributes["then_branch"]
    assert [v.name for v in then.captures()] == ["h"]
    assert then.nodes[1].inputs == (then.nodes[0].output, gemm.output)
    assert branch.attributes["else_branch"].outputs == [split.output]
    assert graph.output_names == ["logits", "y"]


# --- round trips of random graphs

_text = st.text(max_size=8)
_words = st.text(string.ascii_letters + string.digits + "_./:-%^\"' é\n", min_size=1, max_size=6)
_syms: st.SearchStrategy[Dim] = st.recursive(
    st.integers(-3, 20) | st.sampled_from(["N", "H", "for", "a b", "é", "min", "None"]).map(sym),
    lambda inner: (
        st.builds(lambda a, b: a + b, inner, inner)
        | st.builds(lambda a, b: a * b, inner, inner)
        | st.builds(floordiv, inner, st.integers(1, 4))
    ),
    max_leaves=5,
)
_dtypes = st.sampled_from(list(DType))
_shapes = st.none() | st.lists(st.none() | _syms, max_size=3).map(tuple)
_tensors = st.builds(TensorType, st.none() | _dtypes, _shapes)
_types: st.SearchStrategy[Any] = st.recursive(
    _tensors | st.builds(SparseTensorType, st.none() | _dtypes, _shapes),
    lambda inner: (
        st.builds(SequenceType, st.none() | inner)
        | st.builds(OptionalType, st.none() | inner)
        | st.builds(MapType, st.sampled_from([DType.INT64, DType.STRING]), st.none() | inner)
    ),
    max_leaves=3,
)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    dtype = draw(_dtypes)
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    size = int(np.prod(shape))
    if dtype is DType.STRING:
        array = np.empty(size, dtype=object)
        array[:] = draw(st.lists(_text, min_size=size, max_size=size))
    elif dtype is DType.BOOL:
        array = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)), dtype=bool)
    elif dtype.bits < 8:
        number = st.integers(0, (1 << dtype.bits) - 1)
        codes = np.array(draw(st.lists(number, min_size=size, max_size=size)), np.uint8)
        array = codes.view(dtype.numpy) if dtype.is_float else codes.astype(np.int8).astype(dtype.numpy)
    else:
        raw = draw(st.binary(min_size=size * dtype.numpy.itemsize, max_size=size * dtype.numpy.itemsize))
        array = np.frombuffer(raw, dtype.numpy)
    return array.reshape(shape)


_scalars = (
    st.integers(-(2**63), 2**64) | st.floats() | _text | st.binary(max_size=6) | arrays() | _types
    | _words.map(AttrRef)
)  # fmt: skip


@st.composite
def graphs(draw: st.DrawFn, outer: tuple[Value, ...] = (), depth: int = 0) -> Graph:
    graph = Graph(draw(_words | st.just("")))
    seen: set[str] = set()

    def name() -> str:
        return draw(_words.filter(lambda n: n not in seen and not seen.add(n)))  # type: ignore[func-returns-value]

    known = list(outer)
    for _ in range(draw(st.integers(0, 2))):
        known.append(graph.add_input(name(), draw(st.none() | _types)))
    for _ in range(draw(st.integers(0, 2))):
        array = draw(arrays())
        value = graph.constant(array, name())
        value.type = draw(st.just(value.type) | st.none() | _types)
        known.append(value)
    for _ in range(draw(st.integers(0, 3))):
        attributes = draw(st.dictionaries(_words, _scalars | st.lists(_scalars, max_size=2), max_size=3))
        if depth < 2 and draw(st.integers(0, 3)) == 0:
            inner = draw(graphs(tuple(known), depth + 1))
            attributes["body"] = draw(st.sampled_from([inner, [inner]]))
        outputs = [Value(name(), draw(st.none() | _types)) for _ in range(draw(st.integers(0, 2)))]
        if draw(st.booleans()):
            outputs.append(Value(""))
        inputs = draw(st.lists(st.none() | st.sampled_from(known), max_size=3)) if known else []
        node = Node(
            draw(_words), inputs, outputs, attributes, domain=draw(st.sampled_from(["", "com.microsoft", "a b"])),
            version=draw(st.integers(1, 3)), name=draw(_text), overload=draw(_text),
        )  # fmt: skip
        node.provider = draw(st.none() | _words)
        node.reason = draw(_text)
        node.tags = tuple(draw(st.lists(_text, max_size=2)))
        graph.append(node)
        known += [v for v in outputs if v.name]
    for value in draw(st.lists(st.sampled_from(known), max_size=3)) if known else []:
        graph.add_output(value, draw(st.just(value.name) | _text))
    return graph


def same_value(a: Value | None, b: Value | None, pairs: dict[Value, Value]) -> bool:
    return (a is None and b is None) or (a is not None and pairs.get(a) is b)


def same_attr(a: Any, b: Any, pairs: dict[Value, Value]) -> bool:
    if isinstance(a, Graph):
        return isinstance(b, Graph) and same_graph(a, b, pairs)
    if isinstance(a, list):
        return (
            isinstance(b, list) and len(a) == len(b) and all(same_attr(x, y, pairs) for x, y in zip(a, b, strict=True))
        )
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and same_array(a, b)
    return type(a) is type(b) and repr(a) == repr(b) and (a == b or a != a)


def same_array(a: np.ndarray, b: np.ndarray) -> bool:
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    return a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes()


def pair(a: Value, b: Value, pairs: dict[Value, Value]) -> bool:
    pairs[a] = b
    data = (a.data is None and b.data is None) or (
        a.data is not None and b.data is not None and same_array(a.data, b.data)
    )
    return data and (a.name, a.type) == (b.name, b.type)


def same_graph(a: Graph, b: Graph, pairs: dict[Value, Value]) -> bool:
    if a.name != b.name or len(a) != len(b) or len(a.inputs) != len(b.inputs):
        return False
    if not all(pair(x, y, pairs) for x, y in zip(a.inputs, b.inputs, strict=True)):
        return False
    if list(a.initializers) != list(b.initializers):
        return False
    if not all(pair(v, b.initializers[n], pairs) for n, v in a.initializers.items()):
        return False
    for m, n in zip(a, b, strict=True):
        fields = ("op", "domain", "version", "name", "overload", "provider", "reason", "tags")
        if any(getattr(m, f) != getattr(n, f) for f in fields) or list(m.attributes) != list(n.attributes):
            return False
        if len(m.inputs) != len(n.inputs) or len(m.outputs) != len(n.outputs):
            return False
        if not all(same_value(x, y, pairs) for x, y in zip(m.inputs, n.inputs, strict=True)):
            return False
        if not all(same_attr(m.attributes[k], n.attributes[k], pairs) for k in m.attributes):
            return False
        if not all(pair(x, y, pairs) for x, y in zip(m.outputs, n.outputs, strict=True)):
            return False
    return (
        a.output_names == b.output_names
        and len(a.outputs) == len(b.outputs)
        and all(same_value(x, y, pairs) for x, y in zip(a.outputs, b.outputs, strict=True))
    )


@settings(max_examples=250, deadline=None)
@given(graphs())
def test_any_graph_round_trips(graph: Graph) -> None:
    text = print_graph(graph)
    back = parse(text, graph_constants(graph))
    assert same_graph(graph, back, {}), text
    assert print_graph(back) == text


@settings(max_examples=200, deadline=None)
@given(arrays())
def test_small_constants_read_back_bit_for_bit(array: np.ndarray) -> None:
    graph = Graph("g")
    graph.constant(array, "c")
    back = parse(print_graph(graph), graph_constants(graph))
    found = back.initializers["c"].data
    assert found is not None and same_array(array, found)


def test_a_subgraph_alone_lists_what_it_captures() -> None:
    graph = parse(EXAMPLE.replace("#WWWW", "{" + ", ".join(["1.0"] * 200) + "}"))
    then = graph.nodes[4].attributes["then_branch"]
    text = print_graph(then)
    assert "captures (%h: f32[N,10])" in text
    back = parse(text)
    assert [v.name for v in back.captures()] == ["h"]
    assert print_graph(back) == text


def test_an_input_with_a_default_stays_one_value() -> None:
    text = "graph g(%w: f32[1]) {\n  %w: f32[1] = const {2.0}\n  return %w\n}\n"
    graph = parse(text)
    assert graph.inputs[0] is graph.initializers["w"] and graph.inputs[0].data is not None
    assert print_graph(graph) == text


def test_opset_line_may_be_one_number_and_comments_are_skipped() -> None:
    graph = parse("opset 18 // the domain of ONNX itself\ngraph g(%x: f32[2]) { %y = Relu(%x) return %y }")
    assert graph.nodes[0].version == 18


def test_print_node_shortens_subgraphs() -> None:
    graph = parse("opset 18 graph g(%c: bool[]) { %y = If(%c) {then_branch=graph t() {return}} return %y }")
    assert print_node(graph.nodes[0]) == "%y = If(%c) {then_branch=graph t(...)}"


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("opset 18 graph g() {\n  %y = Relu(%x)\n  return %y\n}", "line 2, column 13", "%x is not defined here"),
        ("opset 18\ngraph g(%x) {\n  %x = Relu(%x)\n  return\n}", "line 3, column 3", "%x is declared twice"),
        ("graph g(%x) { %y = Relu(%x) return }", "line 1, column 20", "no opset version"),
        ("graph g(%x: f99[2]) { return }", "line 1, column 13", "no dtype 'f99'"),
        ("graph g(%x: f32[N+]) { return }", "line 1, column 17", "not a dim"),
        ("graph g() { %c = const f32[2]{1.0} return }", "line 1, column 30", "has 2 elements, not 1"),
        ("graph g() { %c = const u8[1]{256} return }", "line 1, column 30", "does not fit u8"),
        ("graph g() { %c = const f32[9]#0123456789abcdef return }", "line 1", "was not given"),
        ("graph g() { return", "line 1, column 19", "expected"),
        ('graph g() { return %"x }', "line 1", "bad string"),
        ("graph g() { return } more", "line 1, column 22", "expected the end"),
        ("", "line 1, column 1", "expected 'graph'"),
        ("opset 1 graph g() {" + " %a = F() {b=graph () {" * 100, "line 1", "nested too deeply"),
    ],
)
def test_errors_say_where(text: str, where: str, what: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse(text)
    assert where in caught.value.message
    assert what in caught.value.message


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_broken_text_is_a_model_error(data: st.DataObject) -> None:
    text = EXAMPLE
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 5)))
        text = text[:start] + data.draw(st.text('{}()[],%#"=^ 0aN+/\n', max_size=4)) + text[end:]
    try:
        parse(text, {"WWWW": np.zeros(1)})
    except ModelError:
        return


def test_a_constant_takes_the_type_of_its_elements() -> None:
    graph = parse("opset 18 graph g() { %a = const i64[2]{1, 2} %b: ? = const i64[]{3} return %a }")
    assert graph.initializers["a"].type == TensorType(DType.INT64, (2,))
    assert graph.initializers["b"].type is None
    assert print_graph(parse(print_graph(graph))) == print_graph(graph)
