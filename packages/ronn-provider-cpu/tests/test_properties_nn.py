"""Windows, products, softmax and normalisations against ``onnx.reference`` on odd shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from node_cases import run_model
from onnx import helper
from onnx.reference import ReferenceEvaluator

SETTINGS = settings(max_examples=60, deadline=None)
pytestmark = pytest.mark.filterwarnings("ignore")


def model_of(op: str, inputs: list[Any], outputs: int = 1, opset: int = 22, **attributes: Any) -> onnx.ModelProto:
    """A model of one node whose inputs have the shapes and dtypes of the arrays given (None: omitted)."""
    names = ["" if v is None else f"x{i}" for i, v in enumerate(inputs)]
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for n, v in zip(names, inputs, strict=True)
        if n
    ]
    node = helper.make_node(op, names, [f"y{i}" for i in range(outputs)], **attributes)
    graph = helper.make_graph([node], "g", infos, [onnx.ValueInfoProto(name=f"y{i}") for i in range(outputs)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def check(op: str, inputs: list[Any], outputs: int = 1, tol: float = 1e-4, **kw: Any) -> None:
    """The kernel and ``onnx.reference`` agree."""
    model = model_of(op, inputs, outputs, **kw)
    feeds = {f"x{i}": v for i, v in enumerate(inputs) if v is not None}
    expected = ReferenceEvaluator(model).run(None, feeds)
    for got, want in zip(run_model(model, feeds), expected, strict=True):
        assert got.shape == want.shape
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=tol, atol=tol)


def floats(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@st.composite
def windows(draw: st.DrawFn) -> dict[str, Any]:
    """Sizes, kernel, strides, dilations and pads of 1 to 3 spatial axes, with at least one whole window."""
    rank = draw(st.integers(1, 3))
    axes = []
    for _ in range(rank):
        size, k = draw(st.integers(1, 7)), draw(st.integers(1, 4))
        stride, dilation = draw(st.integers(1, 5)), draw(st.integers(1, 3))
        begin, end = draw(st.integers(0, 3)), draw(st.integers(0, 3))
        assume(size + begin + end >= (k - 1) * dilation + 1)
        axes.append((size, k, stride, dilation, begin, end))
    size, k, stride, dilation, begin, end = (list(v) for v in zip(*axes, strict=True))
    return {"sizes": size, "kernel": k, "strides": stride, "dilations": dilation, "pads": [*begin, *end]}


@SETTINGS
@given(w=windows(), n=st.integers(1, 2), group=st.integers(1, 3), cin=st.integers(1, 2), cout=st.integers(1, 3),
       bias=st.booleans(), seed=st.integers(0, 99))  # fmt: skip
def test_conv(w: dict[str, Any], n: int, group: int, cin: int, cout: int, bias: bool, seed: int) -> None:
    """Grouped, depthwise, dilated, strided convolution, kernels larger than the input included."""
    x = floats(seed, n, cin * group, *w["sizes"])
    weight = floats(seed + 1, cout * group, cin, *w["kernel"])
    b = floats(seed + 2, cout * group) if bias else None
    got = run_model(
        model_of("Conv", [x, weight, b], strides=w["strides"], dilations=w["dilations"], pads=w["pads"], group=group),
        [v for v in (x, weight, b) if v is not None],
    )[0]
    np.testing.assert_allclose(got, _conv(x, weight, b, group, w), rtol=1e-4, atol=1e-4)


def _conv(x: np.ndarray, weight: np.ndarray, b: np.ndarray | None, group: int, w: dict[str, Any]) -> np.ndarray:
    """Convolution as its definition says it: one dot product an output element."""
    rank = len(w["sizes"])
    padded = np.pad(x, [(0, 0), (0, 0), *((w["pads"][i], w["pads"][rank + i]) for i in range(rank))])
    out = [
        (padded.shape[2 + i] - (w["kernel"][i] - 1) * w["dilations"][i] - 1) // w["strides"][i] + 1 for i in range(rank)
    ]
    y = np.zeros((x.shape[0], weight.shape[0], *out))
    per, each = weight.shape[1], weight.shape[0] // group
    for at in np.ndindex(*y.shape):
        start = at[1] // each * per
        cut = tuple(
            slice(p * s, p * s + (k - 1) * d + 1, d)
            for p, s, k, d in zip(at[2:], w["strides"], w["kernel"], w["dilations"], strict=True)
        )
        part = padded[(at[0], slice(start, start + per), *cut)]
        y[at] = (part.astype(np.float64) * weight[at[1]]).sum() + (0 if b is None else b[at[1]])
    return y


@SETTINGS
@given(w=windows(), ceil=st.booleans(), include=st.booleans(), seed=st.integers(0, 99))
def test_pools(w: dict[str, Any], ceil: bool, include: bool, seed: int) -> None:
    """AveragePool and MaxPool by definition, windows that hang over the end included."""
    rank = len(w["sizes"])
    pads = [min(p, k - 1) for p, k in zip(w["pads"], w["kernel"] * 2, strict=True)]
    x = floats(seed, 2, 3, *w["sizes"])
    reach = [(k - 1) * d + 1 for k, d in zip(w["kernel"], w["dilations"], strict=True)]
    assume(all(n + pads[i] + pads[rank + i] >= reach[i] for i, n in enumerate(w["sizes"])))
    common = {"kernel_shape": w["kernel"], "strides": w["strides"], "dilations": w["dilations"], "pads": pads}
    (largest,) = run_model(model_of("MaxPool", [x], ceil_mode=int(ceil), **common), [x])
    (mean,) = run_model(
        model_of("AveragePool", [x], ceil_mode=int(ceil), count_include_pad=int(include), **common), [x]
    )
    out = []
    for i, n in enumerate(w["sizes"]):
        free = n + pads[i] + pads[rank + i] - reach[i]
        count = (-(-free // w["strides"][i]) if ceil else free // w["strides"][i]) + 1
        out.append(count - 1 if ceil and (count - 1) * w["strides"][i] >= n + pads[i] else count)
    assert largest.shape == mean.shape == (2, 3, *out)
    for at in np.ndindex(*out):
        index, inside = [], 1
        for i, n in enumerate(w["sizes"]):
            first = at[i] * w["strides"][i] - pads[i]
            every = [first + t * w["dilations"][i] for t in range(w["kernel"][i])]
            index.append([p for p in every if 0 <= p < n])
            inside *= sum(-pads[i] <= p < n + pads[rank + i] for p in every)
        part = x[np.ix_(range(2), range(3), *index)].reshape(2, 3, -1)
        if part.shape[2] == 0:
            continue
        np.testing.assert_array_equal(largest[(..., *at)], part.max(axis=2))
        divisor = inside if include else part.shape[2]
        np.testing.assert_allclose(mean[(..., *at)], part.sum(axis=2) / divisor, rtol=1e-5, atol=1e-5)


@SETTINGS
@given(w=windows(), group=st.integers(1, 2), cin=st.integers(1, 2), cout=st.integers(1, 2), seed=st.integers(0, 99))
def test_conv_transpose(w: dict[str, Any], group: int, cin: int, cout: int, seed: int) -> None:
    """ConvTranspose is the transpose of Conv: <conv(x), y> = <x, conv_transpose(y)>."""
    rank = len(w["sizes"])
    weight = floats(seed, cin * group, cout, *w["kernel"])
    y = floats(seed + 1, 1, cin * group, *w["sizes"])
    natural = [
        s * (n - 1) + (k - 1) * d + 1
        for n, k, s, d in zip(w["sizes"], w["kernel"], w["strides"], w["dilations"], strict=True)
    ]
    assume(all(f - w["pads"][i] - w["pads"][rank + i] > 0 for i, f in enumerate(natural)))
    common = {k: w[k] for k in ("strides", "dilations", "pads")}
    (back,) = run_model(model_of("ConvTranspose", [y, weight], group=group, **common), [y, weight])
    x = floats(seed + 2, *back.shape)
    (forward,) = run_model(model_of("Conv", [x, weight], group=group, **common), [x, weight])
    assert forward.shape == y.shape
    np.testing.assert_allclose((forward * y).sum(), (x * back).sum(), rtol=1e-3, atol=1e-2)


SHAPES = st.lists(st.integers(0, 4), min_size=0, max_size=4).map(tuple)


@SETTINGS
@given(
    batch_a=st.lists(st.integers(1, 3), max_size=2), m=st.integers(0, 4), k=st.integers(0, 4), n=st.integers(0, 4),
    flat=st.sampled_from(["", "a", "b", "ab"]), shared=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_matmul(batch_a: list[int], m: int, k: int, n: int, flat: str, shared: bool, seed: int) -> None:
    """Vectors, batches that broadcast, and empty axes."""
    a = floats(seed, k) if "a" in flat else floats(seed, *batch_a, m, k)
    b = floats(seed, k) if "b" in flat else floats(seed, *([] if shared else batch_a), k, n)
    (got,) = run_model(model_of("MatMul", [a, b]), [a, b])
    np.testing.assert_allclose(got, np.matmul(a.astype(np.float64), b), rtol=1e-5, atol=1e-5)


@SETTINGS
@given(
    m=st.integers(1, 4), k=st.integers(1, 4), n=st.integers(1, 4), ta=st.booleans(), tb=st.booleans(),
    alpha=st.sampled_from([1.0, 0.5, 0.0]), beta=st.sampled_from([1.0, 2.0, 0.0]),
    c=st.sampled_from(["none", "scalar", "row", "column", "full"]), seed=st.integers(0, 99),
)  # fmt: skip
def test_gemm(m: int, k: int, n: int, ta: bool, tb: bool, alpha: float, beta: float, c: str, seed: int) -> None:
    """All transposes, and C in every shape that broadcasts."""
    a, b = floats(seed, *((k, m) if ta else (m, k))), floats(seed, *((n, k) if tb else (k, n)))
    third = {"none": None, "scalar": (), "row": (n,), "column": (m, 1), "full": (m, n)}[c]
    inputs = [a, b] if third is None else [a, b, np.asarray(floats(seed, *third), np.float32)]
    check("Gemm", inputs, transA=int(ta), transB=int(tb), alpha=alpha, beta=beta)


@SETTINGS
@given(shape=SHAPES.filter(lambda s: len(s) > 0), axis=st.integers(-4, 3), opset=st.sampled_from([11, 13]),
       op=st.sampled_from(["Softmax", "LogSoftmax"]), seed=st.integers(0, 99))  # fmt: skip
def test_softmax(shape: tuple[int, ...], axis: int, opset: int, op: str, seed: int) -> None:
    """Rows sum to one over the axis (or, before opset 13, over all axes from it on); empty shapes stay empty."""
    assume(-len(shape) <= axis < len(shape))
    assume(opset >= 13 or axis >= 0)
    x = floats(seed, *shape) * 30
    (y,) = run_model(model_of(op, [x], opset=opset, axis=axis), [x])
    assert y.shape == x.shape
    if x.size:
        over = axis if opset >= 13 else tuple(range(axis, x.ndim))
        values = np.exp(y.astype(np.float64)) if op == "LogSoftmax" else y
        np.testing.assert_allclose(values.sum(axis=over), 1, rtol=1e-4)


@SETTINGS
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple), axis=st.integers(-4, 3),
       seed=st.integers(0, 99), bias=st.booleans())  # fmt: skip
def test_layer_normalization(shape: tuple[int, ...], axis: int, seed: int, bias: bool) -> None:
    """All three outputs over any trailing axes."""
    assume(-len(shape) <= axis < len(shape))
    tail = shape[axis % len(shape) :]
    inputs = [floats(seed, *shape), floats(seed + 1, *tail)] + ([floats(seed + 2, *tail)] if bias else [])
    check("LayerNormalization", inputs, outputs=3, axis=axis, tol=2e-3)


def test_nan_spreads_only_where_it_should() -> None:
    """A NaN reaches the windows and rows that hold it, and no others."""
    x = floats(0, 1, 1, 4, 4)
    x[0, 0, 0, 0] = np.nan
    (y,) = run_model(model_of("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2]), [x])
    assert np.isnan(y).tolist() == [[[[True, False], [False, False]]]]
    (y,) = run_model(model_of("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2]), [x])
    assert np.isnan(y).tolist() == [[[[True, False], [False, False]]]]
    (y,) = run_model(model_of("Softmax", [x], axis=-1), [x])
    assert np.isnan(y[0, 0, 0]).all()
    assert not np.isnan(y[0, 0, 1:]).any()


def test_inputs_need_not_be_contiguous() -> None:
    """Strided and transposed views give what their copies give."""
    x = floats(0, 2, 8, 12, 6).transpose(0, 2, 3, 1)[:, ::2, ::-1]
    assert not x.flags.c_contiguous
    weight = floats(1, 3, 3, 2, 6).transpose(3, 2, 0, 1)
    for op, inputs, kw in (
        ("Conv", [x, weight[:, :, :, :1]], {"group": 3}),
        ("ConvTranspose", [x, floats(2, 2, 3, 6, 2).transpose(2, 0, 1, 3)], {}),
        ("MaxPool", [x], {"kernel_shape": [2, 2]}),
        ("BatchNormalization", [x, *(np.abs(floats(s, 12))[::2] for s in range(4))], {}),
        ("Resize", [x, None, np.array([1, 1, 2, 0.5], np.float32)], {"mode": "linear"}),
        ("DepthToSpace", [np.concatenate([x, x], axis=1)[:, :4]], {"blocksize": 2}),
    ):
        model = model_of(op, inputs, **kw)
        given = {f"x{i}": v for i, v in enumerate(inputs) if v is not None}
        copies = {k: np.ascontiguousarray(v) for k, v in given.items()}
        np.testing.assert_array_equal(run_model(model, given)[0], run_model(model, copies)[0])


@pytest.mark.parametrize("op", ["Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "BatchNormalization"])
def test_empty_batch(op: str) -> None:
    """A batch of zero gives a batch of zero."""
    x = floats(0, 0, 3, 5, 5)
    more: dict[str, list[np.ndarray]] = {
        "Conv": [floats(1, 4, 3, 3, 3)],
        "BatchNormalization": [np.abs(floats(s, 3)) for s in range(4)],
    }
    kw = {"kernel_shape": [3, 3]} if op in ("MaxPool", "AveragePool") else {}
    inputs = [x, *more.get(op, [])]
    (y,) = run_model(model_of(op, inputs, **kw), inputs)
    assert y.shape[0] == 0
    assert y.size == 0


def test_negative_pads_crop() -> None:
    """Negative pads cut the input, as ORT and PyTorch exporters use them."""
    x, weight = floats(0, 1, 2, 6, 6), floats(1, 3, 2, 2, 2)
    (got,) = run_model(model_of("Conv", [x, weight], pads=[-1, -2, -1, 0]), [x, weight])
    cut = np.ascontiguousarray(x[:, :, 1:-1, 2:])
    (want,) = run_model(model_of("Conv", [cut, weight]), [cut, weight])
    np.testing.assert_array_equal(got, want)
