"""Numerics: generated cases, and ONNX's own node tests in other dtypes and layouts, against the reference provider."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from hypothesis import given

from ronn_testkit.checks import probe
from ronn_testkit.checks.claims import run
from ronn_testkit.models import Case, reference
from ronn_testkit.recipes import Recipe
from ronn_testkit.subject import CheckFailed, Subject
from ronn_testkit.tolerance import explain_difference
from ronn_testkit.values import LAYOUTS, numpy_dtype, with_layout


def compare(case: Case, got: list[Any], want: list[Any]) -> None:
    """CheckFailed with the first output that differs more than the case's level allows."""
    if len(got) != len(want):
        raise CheckFailed(f"{case!r} returned {len(got)} outputs instead of {len(want)}")
    for index, (g, w) in enumerate(zip(got, want, strict=True)):
        difference = explain_difference(g, w, case.level)
        if difference:
            raise CheckFailed(f"{case!r}, output {index}: {difference}")


def equals_reference(subject: Subject) -> None:
    """Every claimed operator and dtype equals the reference on drawn shapes and values."""
    with subject.registered():
        for recipe, dtype in probe.claimed(subject):
            _compare_drawn(subject, recipe, dtype)


def _compare_drawn(subject: Subject, recipe: Recipe, dtype: str) -> None:
    @probe.quiet(subject.examples if dtype in ("float32", "int64", "bool") else max(2, subject.examples // 2))
    @given(recipe.cases(dtype))
    def check(case: Case) -> None:
        got = run(subject, case)
        if got is not None:
            compare(case, got, reference(case))

    check()


def layouts_do_not_matter(subject: Subject) -> None:
    """Strided, reversed, transposed and read-only inputs give what contiguous ones give."""
    with subject.registered():
        for case in probe.sample(subject, 24):
            want = run(subject, case)
            if want is None:
                continue
            for layout in LAYOUTS[1:]:
                other = case.with_fed([with_layout(a, layout) for a in case.fed])
                got = run(subject, other)
                for g, w in zip(got or (), want, strict=True):
                    difference = explain_difference(g, w, case.level)
                    if difference:
                        raise CheckFailed(f"{case!r} with {layout} inputs: {difference}")


OTHER_DTYPES = {
    "float32": ("float16", "float64"),
    "int32": ("int64",),
    "int64": ("int32",),
    "uint8": ("int8",),
}

# Operators whose answer is not a function of their inputs, or whose result a change of dtype makes meaningless.
_LEFT_OUT = frozenset({
    "Adagrad", "Adam", "Bernoulli", "BitCast", "Dropout", "Gradient", "If", "ImageDecoder", "Loop", "Momentum",
    "Multinomial", "Optional", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Scan",
    "SequenceMap", "StringNormalizer", "TfIdfVectorizer",
})  # fmt: skip


def onnx_cases_in_other_dtypes(subject: Subject) -> None:
    """ONNX's one-node tests, with their inputs in another dtype that the operator allows and the provider claims."""
    with subject.registered():
        failures = []
        for case in _onnx_cases():
            if not probe.takes(subject, case):
                continue
            try:
                want = reference(case)
            except Exception:  # the reference has no such dtype for this operator: nothing to compare with
                continue
            try:
                got = run(subject, case)
                if got is not None:
                    compare(case, got, want)
            except CheckFailed as e:
                failures.append(str(e).splitlines()[0])
        if failures:
            raise CheckFailed(f"{len(failures)} cases differ from the reference:\n  " + "\n  ".join(failures[:20]))


def _onnx_cases() -> Iterator[Case]:
    """For each (operator, opset, dtype pair) the first test of ONNX whose floats or integers can be changed."""
    import onnx
    from onnx.backend.test.loader import load_model_tests

    seen = set()
    for test in load_model_tests(kind="node"):
        if test.model is None or len(test.model.graph.node) != 1 or not test.data_sets:
            continue
        node = test.model.graph.node[0]
        if node.op_type in _LEFT_OUT or node.domain not in ("", "ai.onnx.ml"):
            continue
        arrays = [_array(a) for a in test.data_sets[0][0]]
        if not arrays or any(not isinstance(a, np.ndarray) for a in arrays) or "" in node.input:
            continue
        version = next((o.version for o in test.model.opset_import if o.domain == node.domain), 0)
        if test.model.graph.initializer or len(arrays) != len(node.input) or "" in node.output:
            continue
        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if any(isinstance(v, (onnx.GraphProto, onnx.TensorProto)) for v in given.values()):
            continue
        source = arrays[0].dtype.name
        for target in OTHER_DTYPES.get(source, ()):
            key = (node.domain, node.op_type, version, source, target)
            if key in seen or not _allowed(node, version, target):
                continue
            seen.add(key)
            moved = tuple(a.astype(numpy_dtype(target)) if a.dtype.name == source and _varies(node, i, version) else a
                          for i, a in enumerate(arrays))  # fmt: skip
            yield Case(
                node.op_type, moved, given, len(node.output), opset=version, domain=node.domain, level="single",
            )  # fmt: skip


def _array(value: Any) -> Any:
    import onnx

    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def _varies(node: Any, index: int, version: int) -> bool:
    """Whether an input has the type variable of the first input."""
    from ronn.ops.schema import find_schema

    schema = find_schema(node.domain, node.op_type, version)
    first, here = (None, None) if schema is None else (schema.formal_input(0), schema.formal_input(index))
    return first is not None and here is not None and first.type == here.type


def _allowed(node: Any, version: int, target: str) -> bool:
    from ronn.ir.types import DType
    from ronn.ops.schema import find_schema

    schema = find_schema(node.domain, node.op_type, version)
    if schema is None or schema.formal_input(0) is None:
        return False
    variable = schema.inputs[0].type
    return f"tensor({DType.from_name(target).onnx_name})" in schema.types.get(variable, ())
