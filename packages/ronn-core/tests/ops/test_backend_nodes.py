"""Inference over the node models of ONNX's own backend tests: what it says must agree with the real outputs."""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import onnx
import pytest

from ronn.errors import ModelError
from ronn.frontend.onnx import load
from ronn.ir.dims import substitute, sym
from ronn.ir.graph import Graph, clone
from ronn.ir.types import DType, OptionalType, SequenceType, TensorType, Type
from ronn.ops.infer import infer_types

# Of 1884 node models of onnx 1.23: those whose output types are known to the last dim from types and small constants.
FULLY_KNOWN = 1810
# And those whose types are known in terms of symbols, when equal sizes share one (True) or not (False).
FULLY_SYMBOLIC = {True: 1465, False: 1173}


def agrees(found: Type | None, value: Any) -> bool:
    """Whether all of the type is known. AssertionError where it contradicts the value."""
    if found is None or (value is None and isinstance(found, OptionalType)):
        return False
    if isinstance(found, OptionalType):
        return agrees(found.element, value)
    if isinstance(value, list):
        assert isinstance(found, SequenceType), found
        judged = [agrees(found.element, v) for v in value]  # every one is looked at
        return all(judged)
    array = onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
    assert isinstance(found, TensorType), found
    if found.dtype is not None:
        assert found.dtype is DType.of(array.dtype), f"{found} for {array.dtype}"
    if found.shape is None:
        return False
    assert len(found.shape) == array.ndim, f"{found} for {array.shape}"
    for dim, size in zip(found.shape, array.shape, strict=True):
        assert not isinstance(dim, int) or dim == size, f"{found} for {array.shape}"
    return found.dtype is not None and found.is_static


def forget(graph: Graph) -> Graph:
    """A copy without the types that the model declares."""
    graph = clone(graph)
    for node in graph.all_nodes():
        for out in node.outputs:
            out.type = None
    return graph


def reset(graph: Graph, inputs: list[Any]) -> Graph:
    """The same with inputs of a few numbers as constants."""
    graph = forget(graph)
    for value, given in zip(graph.inputs, inputs, strict=False):
        if isinstance(given, np.ndarray | np.generic):
            array = np.asarray(given)
            if array.dtype.kind in "iubf" and array.ndim <= 1 and array.size <= 64:
                value.data = array
    return graph


def symbolic(graph: Graph, shared: bool) -> tuple[Graph, dict[str, int]]:
    """The same with symbols for the dims of all inputs, and what they stand for.

    ``shared``: equal sizes get one symbol; else each dim has its own.
    """
    graph = forget(graph)
    binding: dict[str, int] = {}
    for i, value in enumerate(graph.inputs):
        if isinstance(value.type, TensorType) and value.type.is_static and not value.is_const:
            dims = []
            for j, size in enumerate(value.type.static_shape):
                name = f"d{size}" if shared else f"d{i}_{j}"
                binding[name] = size
                dims.append(sym(name))
            value.type = TensorType(value.type.dtype, tuple(dims))
    return graph, binding


def bound(found: Type | None, binding: dict[str, int]) -> Type | None:
    if isinstance(found, TensorType):
        shape = None if found.shape is None else tuple(substitute(d, binding) for d in found.shape)
        return TensorType(found.dtype, shape)
    if isinstance(found, SequenceType):
        return SequenceType(bound(found.element, binding))
    if isinstance(found, OptionalType):
        return OptionalType(bound(found.element, binding))
    return found


@pytest.fixture(scope="module")
def cases() -> list[Any]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [case for case in collect_testcases(None) if case.model is not None]


def test_types_never_contradict_the_outputs(cases: list[Any]) -> None:
    wrong: list[str] = []
    complete = 0
    for case in cases:
        graph = load(case.model).graph
        inputs, outputs = case.data_sets[0]
        for variant in (forget(graph), reset(graph, inputs)):
            try:
                infer_types(variant)
                judged = [agrees(v.type, o) for v, o in zip(variant.outputs, outputs, strict=True)]
            except Exception as e:
                wrong.append(f"{case.name}: {type(e).__name__}: {str(e).splitlines()[0]}")
                break
        else:
            complete += all(judged)
    assert not wrong, "\n".join(wrong)
    assert len(cases) > 1000
    assert complete / len(cases) >= FULLY_KNOWN / 1884, complete


@pytest.mark.parametrize("shared", [True, False])
def test_symbolic_types_agree_with_the_outputs(cases: list[Any], shared: bool) -> None:
    wrong: list[str] = []
    complete = 0
    for case in cases:
        graph, binding = symbolic(load(case.model).graph, shared)
        _, outputs = case.data_sets[0]
        try:
            infer_types(graph)
            judged = [agrees(bound(v.type, binding), o) for v, o in zip(graph.outputs, outputs, strict=True)]
        except Exception as e:
            wrong.append(f"{case.name}: {type(e).__name__}: {str(e).splitlines()[0]}")
        else:
            complete += all(judged)
    assert not wrong, "\n".join(wrong)
    assert complete / len(cases) >= FULLY_SYMBOLIC[shared] / 1884, complete


def damage(graph: Graph, rng: random.Random) -> None:
    """Changes a few attributes and input types to something that may make no sense."""
    nodes = list(graph.all_nodes())
    for _ in range(rng.randint(1, 3)):
        node = rng.choice(nodes)
        if node.attributes and rng.random() < 0.6:
            name = rng.choice(list(node.attributes))
            odd: list[Any] = [
                0,
                -1,
                99,
                2**62,
                -(2**63),
                0.0,
                float("nan"),
                "",
                "x",
                [],
                [0],
                [-1, 5],
                [2**62] * 2,
                ["a"],
                zero,
            ]
            node.attributes[name] = rng.choice(odd)
        elif graph.inputs:
            value = rng.choice(graph.inputs)
            shape = tuple(rng.choice([0, 1, 3, 2**40, None, sym("N")]) for _ in range(rng.randint(0, 5)))
            value.type = rng.choice([None, TensorType(None, None), TensorType(rng.choice(list(DType)), shape)])
            if rng.random() < 0.5 and value.type is not None:
                value.data = rng.choice([zero, np.array([-7, 2**62]), np.zeros((0, 3), np.float32)])
        if rng.random() < 0.2:
            node.set_inputs(node.inputs[:-1])


zero = np.array(0, np.int64)


def test_damaged_nodes_raise_nothing_but_model_errors(cases: list[Any]) -> None:
    rng = random.Random(0)
    refused = 0
    for case in rng.choices(cases, k=3000):
        graph = forget(load(case.model).graph)
        damage(graph, rng)
        try:
            infer_types(graph)
        except ModelError:
            refused += 1
        except Exception as e:
            pytest.fail(f"{type(e).__name__}: {e}\n{graph}")
    assert refused > 200
