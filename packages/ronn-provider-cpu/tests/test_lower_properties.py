"""Operators with few free choices on native kernels, for drawn shapes and attributes, against their NumPy kernels; and
that every lowering has a property test somewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from native_support import numpy_nodes, one_node, run_one

import ronn
from ronn_provider_cpu.lowering import TABLE

MS, PREVIEW = "com.microsoft", "ai.onnx.preview"
Draw = Callable[[Any], Any]
Drawn = tuple[list[np.ndarray | None], dict[str, Any]]


def numbers(draw: Draw, *shape: int) -> np.ndarray:
    seed = draw(st.integers(0, 2**16))
    return np.asarray(np.random.default_rng(seed).standard_normal(shape) * 2, np.float32)


def size(draw: Draw, most: int = 40) -> int:
    return int(draw(st.integers(1, most)))


def shape(draw: Draw, least: int = 1, most: int = 4) -> tuple[int, ...]:
    return tuple(size(draw, 19) for _ in range(draw(st.integers(least, most))))


def row_norm(inputs: int) -> Callable[[Draw], Drawn]:
    """``inputs`` tensors of one shape, then a scale of the last dim."""

    def make(draw: Draw) -> Drawn:
        dims = shape(draw, 2, 3)
        return [*(numbers(draw, *dims) for _ in range(inputs)), numbers(draw, dims[-1])], {}

    return make


def skip_norm(draw: Draw) -> Drawn:
    dims = (size(draw, 5), size(draw, 9), size(draw))
    some = [numbers(draw, dims[-1]) if draw(st.booleans()) else None for _ in range(2)]
    return [numbers(draw, *dims), numbers(draw, *dims), numbers(draw, dims[-1]), *some], {}


def channel_norm(op: str) -> Callable[[Draw], Drawn]:
    def make(draw: Draw) -> Drawn:
        groups = size(draw, 4)
        channels = groups * size(draw, 9)
        dims = (size(draw, 3), channels, *shape(draw, 1, 2))
        given: dict[str, Any] = {"epsilon": 1e-3}
        if op == "GroupNormalization":
            given["num_groups"] = groups
        return [numbers(draw, *dims), numbers(draw, channels), numbers(draw, channels)], given

    return make


def whole_norm(draw: Draw) -> Drawn:
    axes = draw(st.sampled_from([[0, 2, 3], [1], [2, 3], [0, 1, 2, 3], [3]]))
    return [numbers(draw, *(size(draw, 9) for _ in range(4)))], {"axes": axes}


def along_axis(draw: Draw) -> Drawn:
    dims = shape(draw)
    return [numbers(draw, *dims)], {"axis": draw(st.integers(-len(dims), len(dims) - 1))}


def lp_norm(draw: Draw) -> Drawn:
    inputs, attributes = along_axis(draw)
    return inputs, attributes | {"p": draw(st.sampled_from([1, 2]))}


def lrn(draw: Draw) -> Drawn:
    given = {"size": size(draw, 9), "alpha": 0.3, "beta": draw(st.sampled_from([0.5, 0.75, 1.3])), "bias": 1.5}
    return [numbers(draw, size(draw, 3), size(draw, 35), *shape(draw, 1, 2))], given


def loss(draw: Draw) -> Drawn:
    n, classes, rest = size(draw, 9), size(draw, 35), shape(draw, 0, 2)
    target = np.random.default_rng(n).integers(0, classes, (n, *rest))
    weight = np.abs(numbers(draw, classes)) + 0.1 if draw(st.booleans()) else None
    return [numbers(draw, n, classes, *rest), target, weight], {"reduction": draw(st.sampled_from(["none", "sum"]))}


def rotary(draw: Draw) -> Drawn:
    b, heads, steps, half = size(draw, 3), size(draw, 3), size(draw, 9), size(draw)
    angles = [numbers(draw, b, steps, half) for _ in range(2)]
    return [numbers(draw, b, heads, steps, 2 * half), *angles], {"interleaved": draw(st.integers(0, 1))}


def rotary_ms(draw: Draw) -> Drawn:
    b, heads, steps, half = size(draw, 3), size(draw, 3), size(draw, 9), size(draw)
    positions = np.random.default_rng(half).integers(0, 11, (b, steps))
    angles = [numbers(draw, 11, half) for _ in range(2)]
    return [numbers(draw, b, heads, steps, 2 * half), positions, *angles], {"interleaved": draw(st.integers(0, 1))}


def scatter(draw: Draw) -> Drawn:
    """Indices of a row differ, so that order has no say."""
    dims, axis = shape(draw, 1, 3), 0
    count = draw(st.integers(1, dims[0]))
    rng = np.random.default_rng(count)
    indices = np.argsort(rng.random(dims), axis=0)[:count]
    return [numbers(draw, *dims), indices, numbers(draw, *indices.shape)], {"axis": axis}


def cast_like(draw: Draw) -> Drawn:
    kind = draw(st.sampled_from([np.float32, np.int32, np.int8, np.uint8, np.bool_, np.float64, np.float16]))
    x = np.random.default_rng(size(draw)).integers(0, 100, shape(draw))
    given = draw(st.sampled_from([np.float32, np.int64, np.int8, np.float16]))
    return [x.astype(given), np.zeros(1, kind)], {}


def flex_attention(draw: Draw) -> Drawn:
    b, groups, kv = size(draw, 2), size(draw, 3), size(draw, 2)
    q, k, d, v = size(draw), size(draw), size(draw), size(draw)
    return [numbers(draw, b, groups * kv, q, d), numbers(draw, b, kv, k, d), numbers(draw, b, kv, k, v)], {}


def distances(draw: Draw) -> Drawn:
    width = size(draw)
    metric = draw(st.sampled_from(["euclidean", "sqeuclidean"]))
    return [numbers(draw, size(draw), width), numbers(draw, size(draw), width)], {"metric": metric}


def bias_add(draw: Draw) -> Drawn:
    dims = (size(draw, 3), size(draw, 9), size(draw))
    return [numbers(draw, *dims), numbers(draw, dims[-1]), numbers(draw, *dims)], {}


def of(op: str, make: Callable[[Draw], Drawn], opset: int = 21, domain: str = "") -> Any:
    return pytest.param(op, make, opset, domain, id=f"{domain}.{op}" if domain else op)


CASES = [
    of("CastLike", cast_like), of("Hardmax", along_axis), of("LpNormalization", lp_norm), of("LRN", lrn),
    of("MeanVarianceNormalization", whole_norm), of("GroupNormalization", channel_norm("GroupNormalization")),
    of("InstanceNormalization", channel_norm("InstanceNormalization")), of("RMSNormalization", row_norm(1), 23),
    of("SimplifiedLayerNormalization", row_norm(1), domain=""), of("Scatter", scatter, 10),
    of("NegativeLogLikelihoodLoss", loss), of("SoftmaxCrossEntropyLoss", loss), of("RotaryEmbedding", rotary, 23),
    of("RotaryEmbedding", rotary_ms, domain=MS), of("SkipLayerNormalization", skip_norm, domain=MS),
    of("SkipSimplifiedLayerNormalization", row_norm(2), domain=MS), of("CDist", distances, domain=MS),
    of("FlexAttention", flex_attention, 26, PREVIEW), of("BiasAdd", bias_add, domain=MS),
]  # fmt: skip


@pytest.mark.parametrize(("op", "make", "opset", "domain"), CASES)
@given(data=st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_as_the_numpy_kernel(
    op: str, make: Callable[[Draw], Drawn], opset: int, domain: str, data: st.DataObject
) -> None:
    inputs, attributes = make(data.draw)
    names = ["" if v is None else f"x{i}" for i, v in enumerate(inputs)]
    feeds = {n: v for n, v in zip(names, inputs, strict=True) if v is not None}
    fixed = {"x1": feeds.pop("x1")} if op == "CDist" else {}
    domains = {domain: 1} if domain else None
    model = one_node(op, feeds, constants=fixed, order=names, opset=opset, domain=domain, domains=domains, **attributes)
    got, session = run_one(model, feeds)
    assert numpy_nodes(session) == []
    oracle = ronn.Session(model, providers=[("cpu", {"kernels": "numpy"})], options={"optimization": "none"})
    for g, w in zip(got, oracle.run(feeds), strict=True):
        assert g.dtype == w.dtype and g.shape == w.shape
        np.testing.assert_allclose(g.astype(np.float64), w.astype(np.float64), rtol=2e-5, atol=2e-5)


def test_every_lowering_has_a_property_test() -> None:
    """Operators are named, in quotes, in a file whose tests draw their cases."""
    texts = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py")]
    drawn = "".join(text for text in texts if "@given" in text)
    assert [key for key in sorted(TABLE.all()) if f'"{key[1]}"' not in drawn] == []
