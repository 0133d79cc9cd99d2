"""What tests of lowerings share: one-node models, and which nodes a session runs natively."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

import ronn
from ronn.plan.tail import Tail


def latest_plan(session: ronn.Session) -> Any:
    """The plan that the session's last run used."""
    return next(reversed(session._base._plans.values()))


def calls(session: ronn.Session) -> list[Any]:
    """The calls of the last run's plan; in place of a tail those of its plans."""
    found = latest_plan(session).all_plans()
    return [call for plan in found for call in plan.calls if not isinstance(call.fn, Tail)]


def native_nodes(session: ronn.Session) -> list[str]:
    """Operators of the nodes that the last run computed natively."""
    return [n.op for call in calls(session) if call.native is not None for n in call.nodes]


def numpy_nodes(session: ronn.Session) -> list[str]:
    """Operators of the nodes that the last run computed with NumPy kernels."""
    return [n.op for call in calls(session) if call.native is None for n in call.nodes]


def one_node(
    op: str,
    inputs: Mapping[str, np.ndarray],
    *,
    constants: Mapping[str, np.ndarray] | None = None,
    order: Sequence[str] | None = None,
    outputs: int = 1,
    opset: int = 21,
    domain: str = "",
    domains: Mapping[str, int] | None = None,
    **attributes: Any,
) -> bytes:
    """A model of one node. ``inputs`` are fed, ``constants`` are initializers; ``order`` lists the node's inputs by
    name ("" for an omitted one), by default all inputs, then all constants."""
    fixed = {} if constants is None else constants
    names = [*inputs, *fixed] if order is None else list(order)
    made = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names, made, domain=domain, **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in inputs.items()
        ],
        [helper.make_empty_tensor_value_info(n) for n in made],
        [numpy_helper.from_array(np.asarray(a, order="C"), n) for n, a in fixed.items()],
    )
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid(d, v) for d, v in ({} if domains is None else domains).items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString()


def run_one(model: bytes, inputs: Mapping[str, np.ndarray], **options: Any) -> tuple[list[np.ndarray], ronn.Session]:
    """The outputs of the model on the CPU provider, without passes that would change it, and the session."""
    session = ronn.Session(model, providers=["cpu"], options={"optimization": "none", **options})
    return list(session.run(dict(inputs))), session


__all__ = ["latest_plan", "native_nodes", "numpy_nodes", "one_node", "run_one"]
