"""For every pass a small model on which it rewrites something, and a network of MobileNet's size to stand beside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ronn.ir.graph import Function, Graph, IRModel, Node, Value, clone
from ronn.ir.text import parse
from ronn.ir.types import DType, TensorType
from ronn.model import Model
from ronn.provider import KernelProvider, kernel

ML, MS = "ai.onnx.ml", "com.microsoft"
OPSETS = {"": 18, ML: 3, MS: 1, "ronn": 1}


def model(inputs: str, body: str, outputs: str = "%y", *, onnx: int = 18, test: int = 1) -> Model:
    """A model of text in which ``const ?`` stands for random numbers."""
    rng = np.random.default_rng(0)
    constants: dict[str, np.ndarray] = {}

    def fill(found: re.Match[str]) -> str:
        shape, key = [int(d) for d in found[2].split(",") if d], f"{len(constants):016x}"
        if found[1] == "f32":
            constants[key] = (rng.standard_normal(shape) * 0.5).astype(np.float32)
        else:
            constants[key] = rng.integers(1, 100, shape).astype({"i8": np.int8, "u8": np.uint8}[found[1]])
        return f"{found[1]}[{found[2]}] = const #{key}"

    text = re.sub(r"(f32|i8|u8)\[([\d,]*)\] = const \?", fill, body)
    versions = {**OPSETS, "": onnx, "test": test}
    head = ", ".join(f'"{d}": {v}' for d, v in versions.items())
    graph = parse(f"opset {{{head}}}\ngraph g({inputs}) {{\n{text}\nreturn {outputs}\n}}\n", constants)
    return Model(IRModel(graph, versions, source="planted"))


def with_function() -> Model:
    made = model("%x: f32[2,3]", "%h = test::Twice(%x)\n%y = Neg(%h)")
    body = parse('opset {"": 18}\ngraph f(%p) {\n%q = Add(%p, %p)\nreturn %q\n}\n')
    made.ir.functions[("test", "Twice", "")] = Function("test", "Twice", "", body, {}, {"": 18})
    return made


GELU = """%half: f32[] = const {0.5}
%one: f32[1] = const {1.0}
%r: f32[] = const {1.4142135}
%d = Div(%x, %r)
%e = Erf(%d)
%a = Add(%e, %one)
%m = Mul(%x, %a)
%y = Mul(%m, %half)"""
NORM = """%eps: f32[] = const {1e-05}
%g: f32[4] = const {1.0, 2.0, 3.0, 4.0}
%b: f32[4] = const {5.0, 6.0, 7.0, 8.0}
%mean = ReduceMean:17(%x) {axes=[-1]}
%d = Sub(%x, %mean)
%s = Mul(%d, %d)
%var = ReduceMean:17(%s) {axes=[-1]}
%v = Add(%var, %eps)
%r = Sqrt(%v)
%n = Div(%d, %r)
%m = Mul(%n, %g)
%y = Add(%b, %m)"""
ATTENTION = """%c: f32[] = const {0.35355338}
%t = Transpose(%k) {perm=[0, 1, 3, 2]}
%m = MatMul(%q, %t)
%s = Mul(%m, %c)
%p = Softmax(%s) {axis=-1}
%y = MatMul(%p, %v)"""
BATCH_NORM = """%w: f32[4,3,3,3] = const ?
%g: f32[4] = const {1.0, 2.0, 3.0, 4.0}
%b: f32[4] = const {0.5, 0.25, 1.0, 2.0}
%m: f32[4] = const {0.1, 0.2, 0.3, 0.4}
%v: f32[4] = const {1.0, 1.5, 2.0, 2.5}
%c = Conv(%x, %w)
%y = BatchNormalization(%c, %g, %b, %m, %v)"""
TABLE = """%t: i8[4096,256] = const ?
%row: f32[4096,1] = const ?
%f = Cast(%t) {to=1}
%s = Mul(%f, %row)
%g = Gather(%s, %i)
%y = Mul(%g, %z)"""
QDQ = """%s: f32[] = const {0.05}
%o: u8[] = const {128}
%w: i8[4,4] = const ?
%ws: f32[] = const {0.01}
%wo: i8[] = const {0}
%q = QuantizeLinear(%x, %s, %o)
%d = DequantizeLinear(%q, %s, %o)
%wd = DequantizeLinear(%w, %ws, %wo)
%m = MatMul(%d, %wd)
%mq = QuantizeLinear(%m, %s, %o)
%y = DequantizeLinear(%mq, %s, %o)"""
DYNAMIC = """%w: i8[4,8] = const ?
%ws: f32[] = const {0.02}
%q, %s, %z = DynamicQuantizeLinear(%x)
%i = MatMulInteger(%q, %w, %z)
%f = Cast(%i) {to=1}
%k = Mul(%s, %ws)
%y = Mul(%f, %k)"""
SCAN = """%points: f32[20,6] = const ?
%last, %y = Scan(%x, %points) {
  body=graph (%state: f32[5,6], %point: f32[6]) {
    %axis: i64[1] = const {1}
    %out = Identity(%state)
    %d = Sub(%state, %point)
    %s = ReduceSumSquare(%d, %axis) {keepdims=0}
    return %out, %s
  },
  num_scan_inputs=1
}"""
GRAMS = """%flat = Reshape(%x, %shape)
%normal = StringNormalizer(%flat) {case_change_action="LOWER", locale="C"}
%tokens = com.microsoft::Tokenizer(%normal) {tokenexp="[a-z]+", mark=0, mincharnum=1, pad_value="#"}
%rows = Flatten(%tokens)
%n = TfIdfVectorizer(%rows) {pool_strings=["some", "text", "onnx", "ronn"], ngram_counts=[0],
  ngram_indexes=[0, 1, 2, 3], mode="TF", min_gram_length=1, max_gram_length=1, max_skip_count=0}
%y = Neg(%n)"""
CHAIN = "%w: f32[16,16,1,1] = const ?\n%v: f32[16,16,3,3] = const ?\n%a = Conv(%x, %w)\n"
CHAIN += "%b = Conv(%a, %v) {pads=[1, 1, 1, 1]}\n"

MODELS: dict[str, Callable[[], Model]] = {
    "inline-functions": with_function,
    "lift-constants": lambda: model("%x: f32[3]", "%c = Constant() {value=f32[3]{1.0, 2.0, 3.0}}\n%y = Mul(%x, %c)"),
    "keep-bytes": lambda: model(
        "%x: f32[3,128]",
        "%w: i8[128,160] = const ?\n%s: f32[160] = const ?\n%f = Cast(%w) {to=1}\n"
        "%r = Mul(%f, %s)\n%y = MatMul(%x, %r)",
    ),
    "common-subexpr": lambda: model("%x: f32[4]", "%a = Exp(%x)\n%b = Exp(%x)\n%y = Mul(%a, %b)"),
    "fold-constants": lambda: model("%x: f32[3]", "%c: f32[3] = const {1.0, 2.0, 3.0}\n%e = Exp(%c)\n%y = Mul(%x, %e)"),
    "simplify-shapes": lambda: model(
        "%x: f32[2,4,6]",
        "%s = Shape(%x)\n%i: i64[] = const {1}\n%d = Gather(%s, %i)\n%f = Cast(%d) {to=1}\n%y = Mul(%x, %f)",
    ),
    "eliminate-identity": lambda: model("%x: f32[4]", "%a = Exp(%x)\n%i = Identity(%a)\n%y = Neg(%i)"),
    "simplify-algebra": lambda: model("%x: f32[4]", "%a = Exp(%x)\n%b = Neg(%a)\n%c = Neg(%b)\n%y = Sin(%c)"),
    "eliminate-dead": lambda: model("%x: f32[4]", "%a = Exp(%x)\n%b = Neg(%a)\n%y = Sin(%a)"),
    "fuse-layer-norm": lambda: model("%x: f32[2,3,4]", NORM),
    "fuse-gelu": lambda: model("%x: f32[2,8]", GELU),
    "fuse-silu": lambda: model("%x: f32[2,8]", "%s = Sigmoid(%x)\n%y = Mul(%x, %s)"),
    "fuse-attention": lambda: model("%q: f32[1,2,4,8], %k: f32[1,2,5,8], %v: f32[1,2,5,6]", ATTENTION),
    "push-transposes": lambda: model(
        "%x: f32[1,4,5,6]",
        "%a = Transpose(%x) {perm=[0, 2, 3, 1]}\n%m = Relu(%a)\n%b = Transpose(%m) {perm=[0, 3, 1, 2]}\n%y = Neg(%b)",
    ),
    "fuse-conv-bn": lambda: model("%x: f32[1,3,8,8]", BATCH_NORM),
    "narrow-gather": lambda: model("%i: i64[2,2], %z: f32[1,1]", TABLE),
    "expand-functions": lambda: model("%x: f32[4]", "%a = HardSwish(%x)\n%y = Mul(%a, %x)"),
    "fuse-bias-activation": lambda: model(
        "%x: f32[1,3,8,8]", "%w: f32[4,3,3,3] = const ?\n%c = Conv(%x, %w)\n%y = Relu(%c)"
    ),
    "lower-fused": lambda: model(
        "%x: f32[1,3,8,8]", '%w: f32[4,3,3,3] = const ?\n%y = ronn::FusedConv(%x, %w) {activation="Relu"}'
    ),
    "fuse-qdq": lambda: model("%x: f32[2,4]", QDQ),
    "fuse-integer-products": lambda: model("%x: f32[2,4]", DYNAMIC),
    "spread-scales": lambda: model(
        "%x: f32[2,6]",
        "%i = Cast(%x) {to=2}\n%s: f32[2,2] = const ?\n%y = DequantizeLinear(%i, %s) {axis=1, block_size=3}",
        onnx=21,
    ),
    "fuse-columns": lambda: model(
        "%p: str[2,1], %q: str[2,1]",
        '%a = ai.onnx.ml::OneHotEncoder(%p) {cats_strings=["RONN", "42"], zeros=1}\n'
        '%b = ai.onnx.ml::OneHotEncoder(%q) {cats_strings=["onnx", "42"], zeros=1}\n'
        "%c = Concat(%a, %b) {axis=-1}\n%y = Exp(%c)",
    ),
    "fuse-text": lambda: model("%x: str[3,1]", "%shape: i64[1] = const {-1}\n" + GRAMS),
    "fuse-distances": lambda: model("%x: f32[5,6]", SCAN),
    "split-labels": lambda: model(
        "%x: f32[3,4]",
        "%l, %s = ai.onnx.ml::LinearClassifier(%x) {coefficients=[0.1, 0.2, 0.3, 0.4, -0.1, -0.2, -0.3,"
        ' 0.5, 1.0, 0.2, -0.7, 0.1], intercepts=[0.0, 0.1, 0.2], classlabels_strings=["a", "b", "c"]}',
        "%l, %s",
    ),
    "expand-lp-pools": lambda: model("%x: f32[1,2,6,6]", "%y = LpPool(%x) {kernel_shape=[2, 2], p=2}"),
    "expand-spectra": lambda: model("%x: f32[1,8,1]", "%y = DFT:17(%x) {axis=1}"),
    "expand-einsum": lambda: model("%x: f32[2,3], %z: f32[3,4]", '%y = Einsum(%x, %z, %z) {equation="ij,jk,jl->ikl"}'),
    "widen-half": lambda: model("%x: f16[2,4]", "%a = Exp(%x)\n%b = Sigmoid(%a)\n%y = Mul(%b, %a)"),
    "byte-weights": lambda: model(
        "%x: f32[1,128]",
        "%w: i8[128,160] = const ?\n%s: f32[160] = const ?\n%f = DequantizeLinear(%w, %s) {axis=1}\n"
        "%y = MatMul(%x, %f)",
    ),
    "fold-dequantised": lambda: model(
        "%x: f32[4]", "%w: i8[4] = const ?\n%s: f32[] = const {0.1}\n%f = DequantizeLinear(%w, %s)\n%y = Mul(%x, %f)"
    ),
    "block-layout": lambda: model("%x: f32[1,16,14,14]", CHAIN + "%y = Relu(%b)"),
    "fuse-residual": lambda: model("%x: f32[1,16,14,14]", CHAIN + "%s = Add(%a, %b)\n%y = Relu(%s)"),
    "split-reductions": lambda: model("%x: f32[1024,1024]", "%y = ReduceMean:17(%x)"),
}


class NoHardSwish(KernelProvider):
    """Takes what HardSwish is made of, but not HardSwish."""

    name = "no-hard-swish"

    @kernel("Mul")
    def multiply(self, context: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(a * b)

    @kernel("HardSigmoid")
    def hard_sigmoid(self, context: Any, x: np.ndarray, *, alpha: float, beta: float) -> np.ndarray:
        return np.clip(alpha * x + beta, 0, 1).astype(x.dtype)


PROVIDERS = {"lower-fused": ["reference"], "expand-functions": ["no-hard-swish"]}


def beside_mobilenet(small: Model) -> Model:
    """A model of both, unconnected: MobileNet v2 for 224 x 224 with random weights (152 nodes), and ``small``."""
    version = small.ir.opset_imports[""]
    graph = clone(small.graph)
    other = _Mobilenet(graph, version)
    graph.add_output(other.output, "mobilenet")
    return Model(IRModel(graph, dict(small.ir.opset_imports), dict(small.ir.functions), source="mobilenet and more"))


class _Mobilenet:
    """MobileNet v2 in a graph, behind the nodes that are there."""

    # expansion, channels, blocks, stride
    BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

    def __init__(self, graph: Graph, version: int) -> None:
        self.graph, self.version, self.count = graph, version, 0
        self.rng = np.random.default_rng(1)
        self.low, self.high = (self._constant(np.array(v, np.float32)) for v in (0, 6))
        x = graph.add_input("mobilenet/image", TensorType(DType.FLOAT32, (1, 3, 224, 224)))
        x, channels = self._conv(x, 3, 32, 3, 2), 32
        for expansion, wide, blocks, stride in self.BLOCKS:
            for i in range(blocks):
                x, channels = self._block(x, channels, wide, expansion, stride if i == 0 else 1), wide
        x = self._conv(x, channels, 1280, 1)
        x = self._node("GlobalAveragePool", [x])
        x = self._node("Flatten", [x])
        weights = self._constant((self.rng.standard_normal((1280, 1000)) / 36).astype(np.float32))
        self.output = self._node("Gemm", [x, weights, self._constant(np.zeros(1000, np.float32))])

    def _block(self, x: Value, channels: int, wide: int, expansion: int, stride: int) -> Value:
        inner = channels * expansion
        y = self._conv(x, channels, inner, 1) if expansion > 1 else x
        y = self._conv(y, inner, inner, 3, stride, groups=inner)
        y = self._conv(y, inner, wide, 1, clip=False)
        return self._node("Add", [x, y]) if stride == 1 and channels == wide else y

    def _conv(
        self, x: Value, channels: int, wide: int, kernel: int, stride: int = 1, groups: int = 1, clip: bool = True
    ) -> Value:
        fan_in = channels // groups * kernel * kernel
        weights = self.rng.standard_normal((wide, channels // groups, kernel, kernel)) * np.sqrt(2 / fan_in)
        pad = kernel // 2
        attributes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4, "group": groups}
        y = self._node("Conv", [x, self._constant(weights.astype(np.float32))], **attributes)
        ones, zeros = np.ones(wide, np.float32), np.zeros(wide, np.float32)
        y = self._node("BatchNormalization", [y, *(self._constant(v) for v in (ones * 0.9, zeros, zeros, ones))])
        return self._node("Clip", [y, self.low, self.high]) if clip else y

    def _constant(self, array: np.ndarray) -> Value:
        self.count += 1
        return self.graph.constant(array, f"mobilenet/c{self.count}")

    def _node(self, op: str, inputs: Sequence[Value], **attributes: Any) -> Value:
        self.count += 1
        name = f"mobilenet/{op}{self.count}"
        return self.graph.append(
            Node(op, inputs, [Value(f"{name}.out")], attributes, version=self.version, name=name)
        ).output
