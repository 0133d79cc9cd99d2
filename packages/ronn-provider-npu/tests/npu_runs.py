"""What tests of operators share: models of one node, run on an OpenCL device and on the CPU provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

import ronn

ALONE = {"optimization": "none"}


def one_node(
    op: str, inputs: Sequence[np.ndarray | None], *, fixed: Sequence[int] = (), outputs: int = 1, opset: int = 21,
    domain: str = "", **attributes: Any,
) -> tuple[bytes, dict[str, np.ndarray]]:  # fmt: skip
    """A model of one node and what it is fed. Inputs whose numbers are in ``fixed`` are constants of the model; None is
    an omitted one."""
    names = ["" if v is None else f"x{i}" for i, v in enumerate(inputs)]
    given = {n: v for n, v in zip(names, inputs, strict=True) if v is not None}
    constants = [numpy_helper.from_array(given.pop(f"x{i}"), f"x{i}") for i in fixed]
    made = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names, made, domain=domain, **attributes)
    known = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in given.items()
    ]
    graph = helper.make_graph([node], "one", known, [helper.make_empty_tensor_value_info(n) for n in made], constants)
    imports = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString(), given


def on_device(model: bytes, given: Mapping[str, np.ndarray], **options: Any) -> list[np.ndarray]:
    """The outputs on the device alone."""
    return list(ronn.Session(model, providers=["npu"], options={**ALONE, **options}).run(dict(given)))


def same(op: str, inputs: Sequence[np.ndarray | None], *, within: float = 0.0, **how: Any) -> list[np.ndarray]:
    """The outputs of an operator on the device, equal to the CPU provider's up to ``within``, relative and absolute."""
    model, given = one_node(op, inputs, **how)
    got = on_device(model, given)
    want = list(ronn.Session(model, providers=["cpu"], options=ALONE).run(given))
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        assert g.dtype == w.dtype and g.shape == w.shape
        if g.dtype.kind == "V":  # a type that NumPy knows no NaN of
            g, w = g.astype(np.float32), w.astype(np.float32)
        np.testing.assert_allclose(g, w, rtol=within, atol=within, equal_nan=True)
    return got
