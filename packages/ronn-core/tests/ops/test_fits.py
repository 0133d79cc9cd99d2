"""Shapes of inputs that contradict an operator are told before anything is compiled, and never reach a kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h

import ronn
from ronn.errors import ModelError
from ronn.ops.fits import _FITS, _OWN, _RECURRENT, _patterns
from ronn.ops.schema import find_schema, max_opset

KINDS = {
    np.dtype(np.float32): T.FLOAT,
    np.dtype(np.int64): T.INT64,
    np.dtype(np.uint8): T.UINT8,
    np.dtype(np.int32): T.INT32,
}


def f(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def i(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.int64)


def u(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.uint8)


def run(op: str, arrays: list[np.ndarray | None], outputs: int = 1, **attributes: Any) -> Any:
    """Runs one node on arrays, whose shapes the model does not tell."""
    given = {f"x{n}": a for n, a in enumerate(arrays) if a is not None}
    names = [f"x{n}" if a is not None else "" for n, a in enumerate(arrays)]
    graph = h.make_graph(
        [h.make_node(op, names, [f"y{n}" for n in range(outputs)], name="it", **attributes)],
        "g",
        [h.make_tensor_value_info(n, KINDS[a.dtype], None) for n, a in given.items()],
        [onnx.ValueInfoProto(name=f"y{n}") for n in range(outputs)],
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 22)], ir_version=10)
    return ronn.Session(model).run(given)


LSTM = {"hidden_size": 2}
FITTING: dict[str, tuple[list[np.ndarray | None], int, dict[str, Any]]] = {
    "ScatterND": ([f(4, 3), i(2, 1), f(2, 3)], 1, {}),
    "ScatterElements": ([f(4, 3), i(2, 3), f(2, 3)], 1, {}),
    "GatherElements": ([f(4, 3), i(9, 3)], 1, {}),
    "GatherND": ([f(4, 3), i(2, 2)], 1, {}),
    "GridSample": ([f(1, 2, 4, 4), f(1, 3, 3, 2)], 1, {}),
    "ReverseSequence": ([f(4, 3), i(3)], 1, {}),
    "Conv": ([f(1, 2, 4, 4), f(5, 2, 3, 3), f(5)], 1, {"kernel_shape": [3, 3]}),
    "BatchNormalization": ([f(2, 3, 4), f(3), f(3), f(3), f(3)], 1, {}),
    "InstanceNormalization": ([f(2, 3, 4), f(3), f(3)], 1, {}),
    "LSTM": ([f(5, 1, 3), f(1, 8, 3), f(1, 8, 2), f(1, 16), None, f(1, 1, 2), f(1, 1, 2), f(1, 6)], 1, LSTM),
    "GRU": ([f(5, 1, 3), f(1, 6, 3), f(1, 6, 2), f(1, 12)], 1, LSTM),
    "RNN": ([f(5, 1, 3), f(1, 2, 3), f(1, 2, 2), f(1, 4)], 1, LSTM),
    "QuantizeLinear": ([f(2, 3), f(3), u(3)], 1, {"axis": 1}),
    "DequantizeLinear": ([u(2, 3), f(3), u(3)], 1, {"axis": 1}),
    "MaxUnpool": ([f(1, 1, 2, 2), i(1, 1, 2, 2)], 1, {"kernel_shape": [2, 2]}),
    "RoiAlign": ([f(1, 2, 4, 4), f(3, 4), i(3)], 1, {}),
    "NonMaxSuppression": ([f(1, 5, 4), f(1, 2, 5), np.array([3]), f(1), f(1)], 1, {}),
    "Trilu": ([f(3, 3)], 1, {}),
    "TopK": ([f(5), np.array([2])], 2, {}),
}


@pytest.mark.parametrize("op", FITTING)
def test_what_fits_runs(op: str) -> None:
    arrays, outputs, attributes = FITTING[op]
    run(op, arrays, outputs, **attributes)


@pytest.mark.parametrize(
    ("op", "place", "other", "text"),
    [
        ("ScatterND", 1, i(2, 3), "indices of 3 coordinates for data of rank 2"),
        ("ScatterND", 2, f(2, 9), r"updates have shape \[2, 9\], .* ask for \[2, 3\]"),
        ("ScatterND", 2, f(), r"updates have shape \[\]"),
        ("ScatterElements", 2, f(2, 2), r"updates of shape \[2, 2\] for indices of shape \[2, 3\]"),
        ("ScatterElements", 1, i(2, 7), "larger than data"),
        ("GatherElements", 1, i(2), "data of rank 2 and indices of rank 1"),
        ("GatherElements", 1, i(2, 4), r"indices of shape \[2, 4\] are larger than data of shape \[4, 3\] off axis 0"),
        ("GatherND", 1, i(), "has rank 0, and takes 1 or more"),
        ("GridSample", 1, f(2, 3, 3, 2), "has size 2 at axis 0, which does not fit input 0: 1 would"),
        ("GridSample", 1, f(1, 3, 3, 3), "a grid of shape"),
        ("GridSample", 1, f(1, 3, 2), "a grid of shape"),
        ("ReverseSequence", 1, i(4), "4 lengths for 3 sequences"),
        ("Conv", 2, f(4), r"input 2 \(B\) of Conv has size 4 at axis 0, which does not fit input 1: 5 would"),
        ("Conv", 1, f(5, 2, 2, 2), r"kernel_shape \[3, 3\] for weights of shape \[5, 2, 2, 2\]"),
        ("BatchNormalization", 1, f(2), "input 2 .* does not fit input 1: 2 would"),
        ("BatchNormalization", 4, f(4), "does not fit input 1: 3 would"),
        ("InstanceNormalization", 2, f(2), "does not fit input 0: 3 would"),
        ("LSTM", 1, f(1, 7, 3), "has size 7 at axis 1"),
        ("LSTM", 2, f(1, 8, 3), "which does not fit input 1: 2 would"),
        ("LSTM", 3, f(1, 15), "does not fit input 1: 16 would"),
        ("LSTM", 5, f(1, 2, 2), "does not fit input 0: 1 would"),
        ("LSTM", 7, f(1, 5), "does not fit input 1: 6 would"),
        ("GRU", 3, f(1, 6), "12 would"),
        ("RNN", 1, f(2, 2, 3), "does not fit input 1: 2 would"),
        ("QuantizeLinear", 1, f(2), r"zero points of shape \[3\]"),
        ("QuantizeLinear", 2, u(2), "zero points"),
        ("DequantizeLinear", 0, u(2, 4), r"scales of shape \[3\], and the data asks for \[4\]"),
        ("MaxUnpool", 1, i(1, 1, 2, 3), "must have that of input 0"),
        ("RoiAlign", 2, i(2), "does not fit input 1: 3 would"),
        ("RoiAlign", 1, f(3, 5), "has size 5 at axis 1, and takes 4"),
        ("NonMaxSuppression", 1, f(1, 2, 6), "does not fit input 0: 5 would"),
        ("Trilu", 0, f(3), "has rank 1, and takes 2 or more"),
        ("TopK", 1, i(1, 1), "has rank 2, and takes 1 or less"),
    ],
)
def test_what_does_not_fit_is_told(op: str, place: int, other: np.ndarray, text: str) -> None:
    arrays, outputs, attributes = FITTING[op]
    arrays = [other if n == place else a for n, a in enumerate(arrays)]
    with pytest.raises(ModelError, match=text) as e:
        run(op, arrays, outputs, **attributes)
    assert "'it'" in str(e.value) and op in str(e.value)


def test_batch_normalisation_wants_one_scale_a_channel() -> None:
    with pytest.raises(ModelError, match="2 scales for 3 channels"):
        run("BatchNormalization", [f(2, 3, 4), f(2), f(2), f(2), f(2)])


def test_every_operator_of_the_tables_exists_and_has_so_many_inputs() -> None:
    for name, text in _FITS.items():
        domain, _, op = name.rpartition("::")
        domains = [domain] if domain else ["", "ai.onnx.ml"]
        versions = [(d, v) for d in domains for v in (1, 5, 10, max_opset(d))]
        schemas = [s for d, v in versions if (s := find_schema(d, op, v)) is not None]
        assert schemas, name
        assert len(_patterns(text)) <= max(s.max_inputs for s in schemas), name
    assert set(_OWN) | set(_RECURRENT) <= set(FITTING) | {"DeformConv", "Scatter"}
