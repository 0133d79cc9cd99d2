"""Shape rules: printed results in symbols, random nodes against onnx's reference, contradictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from ronn.errors import ModelError
from ronn.frontend.proto import model_to_proto
from ronn.ir.dims import substitute, sym
from ronn.ir.graph import Graph, IRModel, Metadata, Node, Value
from ronn.ir.text import parse
from ronn.ir.types import DType, TensorType
from ronn.ops.infer import infer_types


def infer(text: str, opset: int = 18) -> Graph:
    graph = parse(f'opset {{"": {opset}, "ai.onnx.ml": 3, "strange": 1}}\ngraph g{text}')
    infer_types(graph)
    return graph


SYMBOLIC = [
    ("(%x: f32[N,3], %y: f32[1,3]) { %z = Add(%x, %y) return %z }", "f32[N,3]"),
    ("(%x: f32[N,1], %y: f32[M]) { %z = Add(%x, %y) return %z }", "f32[N,M]"),
    ("(%x: f32[N], %y: f32[M]) { %z = Mul(%x, %y) return %z }", "f32[?]"),
    ("(%x: f32[N], %y: f32[7]) { %z = Mul(%x, %y) return %z }", "f32[7]"),
    ("(%x: f32[?], %y: f32[7]) { %z = Less(%x, %y) return %z }", "bool[7]"),
    ("(%x: f32[*], %y: f32[7]) { %z = Mul(%x, %y) return %z }", "f32[*]"),
    ("(%c: bool[N,1], %x: f32[1,M], %y: f32[]) { %z = Where(%c, %x, %y) return %z }", "f32[N,M]"),
    ("(%x: f32[N]) { %z = Cast(%x) {to=7} return %z }", "i64[N]"),
    ("(%x: f32[N,4]) { %z = MatMul(%x, %x2) return %z }".replace("%x2", "%x"), None),
    ("(%x: f32[B,N,4], %w: f32[4,M]) { %z = MatMul(%x, %w) return %z }", "f32[B,N,M]"),
    ("(%x: f32[4], %w: f32[B,4,M]) { %z = MatMul(%x, %w) return %z }", "f32[B,M]"),
    ("(%x: f32[K,N], %w: f32[M,K]) { %z = Gemm(%x, %w) {transA=1, transB=1} return %z }", "f32[N,M]"),
    (
        "(%x: f32[N,3,H,W], %w: f32[8,3,3,3]) { %z = Conv(%x, %w) {pads=[1,1,1,1], strides=[2,2]} return %z }",
        "f32[N,8,((H+1)//2),((W+1)//2)]",
    ),
    ("(%x: f32[N,3,H,W], %w: f32[8,3,3,3]) { %z = Conv(%x, %w) return %z }", "f32[N,8,H-2,W-2]"),
    (
        '(%x: f32[N,3,H,9], %w: f32[8,3,3,3]) { %z = Conv(%x, %w) {auto_pad="SAME_UPPER", strides=[2,2]} return %z }',
        "f32[N,8,((H+1)//2),5]",
    ),
    (
        "(%x: f32[N,3,H,W], %w: f32[3,8,2,2]) { %z = ConvTranspose(%x, %w) {strides=[2,2]} return %z }",
        "f32[N,8,2*H,2*W]",
    ),
    (
        "(%x: f32[N,3,H,9]) { %z = MaxPool(%x) {kernel_shape=[3,3], strides=[2,2], ceil_mode=1} return %z }",
        "f32[N,3,((H)//2),4]".replace("((H)//2)", "(H//2)"),
    ),
    ("(%x: f32[N,C,H,W]) { %z = GlobalAveragePool(%x) return %z }", "f32[N,C,1,1]"),
    ("(%x: f32[N,C,H]) { %z = ReduceMean(%x) {axes=[1], keepdims=0} return %z }", "f32[N,H]"),
    ("(%x: f32[N,C,H]) { %a = const i64[1]{-1} %z = ReduceSum(%x, %a) return %z }", "f32[N,C,1]"),
    ("(%x: f32[N,C], %a: i64[1]) { %z = ReduceSum(%x, %a) return %z }", "f32[?,?]"),
    ("(%x: f32[N,C]) { %z = ReduceSum(%x) {keepdims=0} return %z }", "f32[]"),
    ("(%x: f32[N,C,H]) { %z = ArgMax(%x) {axis=1, keepdims=0} return %z }", "i64[N,H]"),
    ("(%x: f32[N,C,H]) { %s = const i64[2]{0, -1} %z = Reshape(%x, %s) return %z }", "f32[N,C*H]"),
    ("(%x: f32[N,12,H]) { %s = const i64[4]{0, 3, -1, 0} %z = Reshape(%x, %s) return %z }", None),
    ("(%x: f32[?,12]) { %s = const i64[3]{-1, 3, 4} %z = Reshape(%x, %s) return %z }", "f32[?,3,4]"),
    ("(%x: f32[N,M,12]) { %s = const i64[3]{0, 0, -1} %z = Reshape(%x, %s) return %z }", "f32[N,M,12]"),
    ("(%x: f32[N,3,H,W]) { %z = Transpose(%x) {perm=[0,2,3,1]} return %z }", "f32[N,H,W,3]"),
    ("(%x: f32[N,1,H]) { %a = const i64[1]{1} %z = Squeeze(%x, %a) return %z }", "f32[N,H]"),
    ("(%x: f32[N,1]) { %z = Squeeze(%x) return %z }", "f32[*]"),
    ("(%x: f32[N]) { %a = const i64[2]{0, -1} %z = Unsqueeze(%x, %a) return %z }", "f32[1,N,1]"),
    ("(%x: f32[N,C,H,W]) { %z = Flatten(%x) return %z }", "f32[N,C*H*W]"),
    ("(%x: f32[N,3], %y: f32[M,3]) { %z = Concat(%x, %y, %x) {axis=0} return %z }", "f32[M+2*N,3]"),
    ("(%x: f32[N,4]) { %z = Split(%x) {axis=0, num_outputs=1} return %z }", "f32[N,4]"),
    ("(%x: f32[N,4], %i: i64[M,2]) { %z = Gather(%x, %i) {axis=1} return %z }", "f32[N,M,2]"),
    ("(%x: f32[N,4,5], %i: i64[M,2]) { %z = GatherND(%x, %i) return %z }", "f32[M,5]"),
    ("(%x: f32[N,C]) { %p = const i64[4]{0,1,0,2} %z = Pad(%x, %p) return %z }", "f32[N,C+3]"),
    ("(%x: f32[N,C]) { %r = const i64[2]{2,1} %z = Tile(%x, %r) return %z }", "f32[2*N,C]"),
    ("(%x: f32[N,4]) { %s = Shape(%x) %z = ConstantOfShape(%s) return %z }", "f32[N,4]"),
    ("(%x: f32[N,4], %y: f32[1,4]) { %s = Shape(%x) %z = Expand(%y, %s) return %z }", "f32[N,4]"),
    ("(%x: f32[N,C,4,H]) { %s = const f32[4]{1,1,2,2} %z = Resize(%x, _, %s) return %z }", "f32[N,C,8,2*H]"),
    ("(%x: f32[N,C,H,4]) { %s = const f32[4]{1,1,0.5,0.5} %z = Resize(%x, _, %s) return %z }", "f32[N,C,(H//2),2]"),
    ("(%x: f32[N,4]) { %k = const i64[1]{2} %z, %i = TopK(%x, %k) return %z }", "f32[N,2]"),
    ("(%x: f32[N,4]) { %z = NonZero(%x) return %z }", "i64[2,?]"),
    ('(%a: f32[B,N,K], %b: f32[B,K,M]) { %z = Einsum(%a, %b) {equation="bnk,bkm->bmn"} return %z }', "f32[B,M,N]"),
    ("(%x: f32[N,8,H,W]) { %z = DepthToSpace(%x) {blocksize=2} return %z }", "f32[N,2,2*H,2*W]"),
    ("(%x: f32[T,B,4], %w: f32[2,32,4], %r: f32[2,32,8]) "
     '{ %z = LSTM(%x, %w, %r) {direction="bidirectional"} return %z }', "f32[T,2,B,8]"),
    ("(%x: f32[N], %s: f32[]) { %z = QuantizeLinear(%x, %s) return %z }", "u8[N]"),
    ("(%n: i64[]) { %s = const i64[]{0} %d = const i64[]{1} %z = Range(%s, %n, %d) return %z }", "i64[?]"),
    ("(%x: f32[N]) { %s = const i64[]{0} %d = const i64[]{2} %n = Size(%x) %z = Range(%s, %n, %d) return %z }",
     "i64[((N+1)//2)]"),
    ("(%i: i64[N]) { %d = const i64[]{5} %v = const f32[2]{0,1} %z = OneHot(%i, %d, %v) return %z }", "f32[N,5]"),
    ("(%x: f32[N,4]) { %z = ai.onnx.ml::Scaler(%x) {offset=[0.0], scale=[1.0]} return %z }", "f32[N,4]"),
    ("(%x: f32[N,4]) { %z = strange::Thing(%x) return %z }", "None"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [c for c in SYMBOLIC if c[1] is not None])
def test_symbolic_results(text: str, expected: str) -> None:
    assert str(infer(text).outputs[0].type) == expected


SHAPE_ARITHMETIC = [
    # what a PyTorch exporter writes for x.view(x.size(0), -1)
    ("(%x: f32[N,C,H,W]) { %i = const i64[]{0} %a = const i64[1]{0} %m = const i64[1]{-1} %s = Shape(%x) "
     "%g = Gather(%s, %i) %u = Unsqueeze(%g, %a) %c = Concat(%u, %m) {axis=0} %z = Reshape(%x, %c) return %z }",
     "f32[N,C*H*W]"),
    ("(%x: f32[N,C], %y: f32[*]) { %a = const i64[1]{0} %b = const i64[1]{1} %s = Shape(%x) %p = Slice(%s, %a, %b) "
     "%q = ReduceProd(%s) %c = Concat(%p, %q) {axis=0} %z = Expand(%y, %c) return %z }", "f32[*]"),
    ("(%x: f32[N,4]) { %t = const i64[]{2} %i = const i64[]{0} %s = Shape(%x) %g = Gather(%s, %i) %h = Div(%g, %t) "
     "%k = Mul(%h, %t) %m = Sub(%g, %k) %a = const i64[1]{0} %u = Unsqueeze(%m, %a) %z = ConstantOfShape(%u) "
     "return %z }", "f32[N-2*(N//2)]"),
    ("(%x: f32[N,4]) { %s = Shape(%x) {start=0, end=1} %c = Cast(%s) {to=6} %d = Cast(%c) {to=7} "
     "%z = ConstantOfShape(%d) return %z }", "f32[N]"),
    ("(%x: f32[N,4]) { %s = Shape(%x) %m = const i64[2]{-1,-1} %e = Equal(%s, %m) %o = const i64[2]{1,1} "
     "%w = Where(%e, %o, %s) %z = ConstantOfShape(%w) return %z }", "f32[N,4]"),
    ("(%x: f32[N,4]) { %s = Shape(%x) %a, %b = Split(%s) {num_outputs=2} %z = ConstantOfShape(%b) return %z }",
     "f32[4]"),
    ("(%x: f32[N,4]) { %s = Shape(%x) %k = const i64[1]{3} %m = Max(%s, %k) %z = ConstantOfShape(%m) return %z }",
     "f32[max(3,N),4]"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), SHAPE_ARITHMETIC)
def test_shape_arithmetic_stays_symbolic(text: str, expected: str) -> None:
    assert str(infer(text).outputs[0].type) == expected


CONTRADICTIONS = [
    ("(%x: f32[2], %y: f32[3]) { %z = Add(%x, %y) return %z }", "do not broadcast: 2 against 3"),
    ("(%x: f32[2,3], %y: f32[4,5]) { %z = MatMul(%x, %y) return %z }", "inner dims of the product differ: 3 against 4"),
    ("(%x: f32[1,3,8,8], %w: f32[4,5,3,3]) { %z = Conv(%x, %w) return %z }", "the input has 3 channels"),
    ("(%x: f32[1,3,2,2], %w: f32[4,3,3,3]) { %z = Conv(%x, %w) return %z }", "larger than the padded input"),
    ("(%x: f32[1,3,8], %w: f32[4,3,3,3]) { %z = Conv(%x, %w) return %z }", "rank 3 and weights of rank 4"),
    ("(%x: f32[6]) { %s = const i64[2]{4,2} %z = Reshape(%x, %s) return %z }", "6 elements do not fit into 8"),
    ("(%x: f32[6]) { %s = const i64[2]{4,-1} %z = Reshape(%x, %s) return %z }", "over a multiple of 4"),
    ("(%x: f32[6]) { %s = const i64[2]{-1,-1} %z = Reshape(%x, %s) return %z }", "two -1"),
    ("(%x: f32[6]) { %z = Softmax(%x) %y = ReduceMax(%z) {axes=[3]} return %y }", "axis 3 lies outside of rank 1"),
    ("(%x: f32[2,3], %y: f32[3,2]) { %z = Concat(%x, %y) {axis=0} return %z }", "sizes along axis 1 differ"),
    ("(%x: f32[2,3]) { %z = Transpose(%x) {perm=[0,0]} return %z }", "given twice"),
    ("(%x: f32[2,3]) { %a = const i64[1]{1} %z = Squeeze(%x, %a) return %z }", "size 3 and cannot be squeezed"),
    ("(%x: f32[2,3]) { %i = const i64[]{5} %s = Shape(%x) %z = Gather(%s, %i) return %z }", "index 5 lies outside"),
    ("(%x: f32[2]) { %z = Cast(%x) {to=99} return %z }", "99 is no element type"),
    ("(%x: f32[2,3]) { %z = MaxPool(%x) {kernel_shape=[2,2]} return %z }", "kernel of 2 dims"),
    ("(%x: f32[2,3]) { %z = Transpose(%x) {perm=7} return %z }", "makes no sense here"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), CONTRADICTIONS)
def test_contradictions_are_model_errors(text: str, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        infer(text)
    assert message in caught.value.message
    assert caught.value.op is not None


def test_declared_output_shapes_do_not_win() -> None:
    graph = parse("opset 18 graph g(%x: f32[N,4]) { %s: f32[1,7] = NonZero(%x) %z: f32[9,9] = Relu(%x) return %s, %z }")
    infer_types(graph)
    assert [str(v.type) for v in graph.outputs] == ["i64[2,?]", "f32[N,4]"]


def test_declared_inner_shapes_fill_what_rules_cannot_know() -> None:
    graph = parse("opset 18 graph g(%x: f32[N,4]) { %n: i64[2,K] = NonZero(%x) %z = Neg(%n) return %z }")
    infer_types(graph)
    assert str(graph.outputs[0].type) == "i64[2,K]"


# --- against the reference implementation


Run = Callable[["onnx.ModelProto", dict[str, np.ndarray]], list[Any]]


def check(
    op: str, arrays: list[np.ndarray | None], attributes: dict[str, Any], consts: set[int], outputs: int = 1,
    opset: int = 18, run: Run | None = None,
) -> None:  # fmt: skip
    """Runs one node; what inference says, in numbers and in symbols, must agree with the result."""
    for symbols in (False, True):
        graph = Graph("g")
        inputs: list[Value | None] = []
        feeds: dict[str, np.ndarray] = {}
        binding: dict[str, int] = {}
        for i, array in enumerate(arrays):
            if array is None:
                inputs.append(None)
            elif i in consts:
                inputs.append(graph.constant(array, f"c{i}"))
            else:
                binding.update({f"d{n}": n for n in array.shape})
                shape = tuple(sym(f"d{n}") if symbols else n for n in array.shape)
                inputs.append(graph.add_input(f"x{i}", TensorType(DType.of(array.dtype), shape)))
                feeds[f"x{i}"] = array
        node = graph.append(Node(op, inputs, [Value(f"y{i}") for i in range(outputs)], attributes, version=opset))
        for value in node.outputs:
            graph.add_output(value)
        infer_types(graph)
        found = [v.tensor for v in node.outputs]
        for value in node.outputs:
            value.type = TensorType(value.dtype, None)
        model = model_to_proto(IRModel(graph, {"": opset}, metadata=Metadata(ir_version=9)))
        real = (by_reference if run is None else run)(model, feeds)
        for t, array in zip(found, real, strict=True):
            assert t.dtype is DType.of(array.dtype)
            assert t.shape is not None and len(t.shape) == array.ndim, (str(t), array.shape)
            bound = [substitute(d, binding) for d in t.shape]
            assert all(d is None or d == n for d, n in zip(bound, array.shape, strict=True)), (str(t), array.shape)
            assert symbols or None not in bound, str(t)


def by_reference(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[Any]:
    return ReferenceEvaluator(model).run(None, feeds)


def by_onnxruntime(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[Any]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def i64(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_pools(data: st.DataObject) -> None:
    kernel = data.draw(st.integers(1, 4))
    dilation = data.draw(st.integers(1, 2))
    attributes: dict[str, Any] = {
        "kernel_shape": [kernel], "strides": [data.draw(st.integers(1, 3))], "dilations": [dilation],
        "ceil_mode": data.draw(st.integers(0, 1)),
    }  # fmt: skip
    attributes["pads"] = [data.draw(st.integers(0, (kernel - 1) // 2)), data.draw(st.integers(0, (kernel - 1) // 2))]
    size = data.draw(st.integers((kernel - 1) * dilation + 1, 20))
    check("MaxPool", [zeros(1, 2, size)], attributes, set(), run=by_onnxruntime)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_convolutions(data: st.DataObject) -> None:
    kernel, dilation, group = (data.draw(st.integers(1, n)) for n in (3, 2, 2))
    attributes: dict[str, Any] = {
        "strides": [data.draw(st.integers(1, 3))], "dilations": [dilation], "group": group,
        "pads": [data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))],
    }  # fmt: skip
    size = data.draw(st.integers((kernel - 1) * dilation + 1, 15))
    check("Conv", [zeros(1, 2 * group, size), zeros(3 * group, 2, kernel)], attributes, {1})


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_slices(data: st.DataObject) -> None:
    size = data.draw(st.integers(0, 8))
    big = 2**63 - 1
    start = data.draw(st.integers(-10, 10) | st.sampled_from([big, -big]))
    end = data.draw(st.integers(-10, 10) | st.sampled_from([big, -big]))
    step = data.draw(st.sampled_from([1, 2, 3, -1, -2]))
    arrays = [zeros(2, size), i64(start), i64(end), i64(data.draw(st.sampled_from([1, -1]))), i64(step)]
    check("Slice", list(arrays), {}, {1, 2, 3, 4})


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 4), max_size=3), st.data())
def test_broadcasting(shape: list[int], data: st.DataObject) -> None:
    other = [data.draw(st.sampled_from([d, 1])) for d in shape[data.draw(st.integers(0, len(shape))) :]]
    check("Sub", [zeros(*shape), zeros(*other)], {}, set())
    check("Sub", [zeros(*other), zeros(*shape)], {}, set())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_reshapes(shape: list[int], data: st.DataObject) -> None:
    size = int(np.prod(shape))
    target = data.draw(st.permutations(shape))
    if data.draw(st.booleans()):
        target = [size]
    spots = [i for i, d in enumerate(target) if i < len(shape) and d == shape[i]]
    target = [0 if i in spots and data.draw(st.booleans()) else d for i, d in enumerate(target)]
    if data.draw(st.booleans()):
        target[data.draw(st.integers(0, len(target) - 1))] = -1
    check("Reshape", [zeros(*shape), i64(*target)], {}, {1})


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_moves(shape: list[int], data: st.DataObject) -> None:
    rank = len(shape)
    axis = data.draw(st.integers(-rank, rank - 1))
    x = zeros(*shape)
    check("Transpose", [x], {"perm": data.draw(st.permutations(range(rank)))}, set())
    check("Flatten", [x], {"axis": axis}, set())
    check("Concat", [x, x, x], {"axis": axis}, set())
    check("ReduceMax", [x, i64(axis)], {"keepdims": data.draw(st.integers(0, 1))}, {1})
    check("ArgMin", [x], {"axis": axis, "keepdims": data.draw(st.integers(0, 1))}, set())
    check("Unsqueeze", [x, i64(axis)], {}, {1})
    check("Gather", [x, np.zeros((2, 3), np.int64)], {"axis": axis}, set())
    check("Tile", [x, i64(*data.draw(st.lists(st.integers(0, 3), min_size=rank, max_size=rank)))], {}, {1})
    check("Pad", [x, i64(*data.draw(st.lists(st.integers(0, 3), min_size=2 * rank, max_size=2 * rank)))], {}, {1})
    ends = st.integers(-rank, 6)  # the reference is wrong about ends before the first axis
    check("Shape", [x], {"start": data.draw(st.integers(-6, 6)), "end": data.draw(ends)}, set())
    parts = data.draw(st.integers(1, shape[axis]))
    if -(-shape[axis] // parts) * (parts - 1) < shape[axis]:
        check("Split", [x], {"axis": axis, "num_outputs": parts}, set(), parts)


numbers = st.integers(-20, 20)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["Add", "Sub", "Mul", "Div", "Mod", "Max", "Min", "Equal", "Less", "GreaterOrEqual"]),
       st.lists(numbers, min_size=1, max_size=4), st.data())  # fmt: skip
def test_followed_integers_agree_with_the_reference(op: str, a: list[int], data: st.DataObject) -> None:
    b = data.draw(st.lists(numbers.filter(bool), min_size=len(a), max_size=len(a)) | st.just([3]))
    graph = Graph("g")
    node = graph.append(
        Node(op, [graph.constant(i64(*a), "a"), graph.constant(i64(*b), "b")], [Value("y")], version=18)
    )
    graph.add_output(node.output)
    infer_types(graph)
    found = node.output.shape_data
    if op == "Div":
        expected = np.trunc(np.array(a) / np.array(b)).astype(np.int64)  # ONNX Runtime's; NumPy's // rounds down
    else:
        [expected] = ReferenceEvaluator(model_to_proto(IRModel(graph, {"": 18}, metadata=Metadata(ir_version=9)))).run(
            None, {}
        )
    assert found is not None
    assert list(found) == [int(n) for n in expected]
