"""Texts to counts of n-grams at once, against the operators one by one and against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_support import numpy_nodes
from onnx import TensorProto, helper, numpy_helper

import ronn
from ronn.provider.kernels import KernelContext
from ronn_provider_cpu.kernels._word_bytes import word_bytes

MS = "com.microsoft"
POOL = [*["cat", "é", "dog", "a1"], *["big", "cat"], *["cat", "sat"], *["cat", "cat"], *["big", "big", "dog"]]
GRAMS: dict[str, Any] = {
    "pool_strings": POOL, "ngram_counts": [0, 4, 10], "ngram_indexes": [0, 2, 1, 3, 6, 5, 4, 7],
    "weights": [1.5, 2.0, 0.5, 3.0, 0.25, 1.0, 4.0, 2.5], "mode": "TF", "min_gram_length": 1, "max_gram_length": 3,
    "max_skip_count": 0,
}  # fmt: skip
TEXTS = ["The Big cat", "Cat SAT; cat cat", "", "  é-É big,big dog a1", "big big dog", "É'cat"]
CUTS: list[dict[str, Any]] = [
    {"tokenexp": "[a-z]+"}, {"tokenexp": r"[a-zé0-9]+"}, {"tokenexp": r"\w+"}, {"tokenexp": r"\b\w\w+\b"},
    {"tokenexp": "[a-z0-9]{2,}"}, {"tokenexp": r"[^\s,;'-]+"}, {"tokenexp": "[^ ,;]+", "mincharnum": 3},
    {"tokenexp": "[a-z]"}, {"tokenexp": "."}, {"separators": [" "]}, {"separators": [" ", ",", ";", r"\-"]},
    {"separators": [""]}, {"tokenexp": "[a-z]+t|é"}, {"separators": ["; ", " "]}, {"tokenexp": "(b)(i)g|cat"},
]  # fmt: skip


def chain(cut: dict[str, Any], case: str | None, flatten: bool = True, normalizer: Any = None, **grams: Any) -> bytes:
    """Texts [N, 1] through Reshape, StringNormalizer (unless ``case`` is None), Tokenizer and TfIdfVectorizer."""
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["flat"])]
    last = "flat"
    if case is not None:
        extra = {"locale": "C", **({} if normalizer is None else normalizer)}
        nodes.append(helper.make_node("StringNormalizer", ["flat"], ["normal"], case_change_action=case, **extra))
        last = "normal"
    cut = {"mark": 0, "mincharnum": 1, "pad_value": "#", **cut}
    nodes.append(helper.make_node("Tokenizer", [last], ["tokens"], domain=MS, **cut))
    last = "tokens"
    if flatten:
        nodes.append(helper.make_node("Flatten", ["tokens"], ["rows"]))
        last = "rows"
    nodes.append(helper.make_node("TfIdfVectorizer", [last], ["y"], **{**GRAMS, **grams}))
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.STRING, ["n", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([-1], np.int64), "shape")],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(MS, 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9).SerializeToString()


def texts(*rows: str) -> np.ndarray:
    return np.array(rows, object).reshape(-1, 1)


def one_by_one(model: bytes, x: np.ndarray) -> np.ndarray:
    return ronn.Session(model, providers=["cpu"], options={"optimization": "none"}).run([x])[0]


@pytest.mark.parametrize("cut", CUTS, ids=str)
@pytest.mark.parametrize("case", [None, "LOWER", "UPPER", "NONE"])
def test_cuts(cut: dict[str, Any], case: str | None) -> None:
    model, x = chain(cut, case, flatten=case is not None), texts(*TEXTS)
    session = ronn.Session(model, providers=["cpu"])
    got = session.run([x])[0]
    assert numpy_nodes(session) == ["TextCounts"]
    np.testing.assert_array_equal(got, one_by_one(model, x))
    plain = ronn.Session(model, providers=[("cpu", {"kernels": "numpy"}), "reference"])
    np.testing.assert_array_equal(got, plain.run([x])[0])
    np.testing.assert_array_equal(session.run([x[:1]])[0], got[:1])


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize(("shortest", "longest"), [(1, 1), (1, 2), (2, 2), (1, 3), (3, 3), (2, 3)])
def test_against_onnxruntime(mode: str, shortest: int, longest: int) -> None:
    model = chain({"tokenexp": "[a-z0-9]+"}, "LOWER", mode=mode, min_gram_length=shortest, max_gram_length=longest)
    x = texts("The Big cat", "cat sat cat cat cat", "big big dog a1 dog", "none of all")
    session = ronn.Session(model, providers=["cpu"])
    expected = ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    np.testing.assert_allclose(session.run([x])[0], expected, rtol=1e-6)
    assert numpy_nodes(session) == ["TextCounts"]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.text("catsbigdo é\0,ßİΣ\ud800K1#", max_size=12), max_size=6), cut=st.sampled_from(CUTS),
    case=st.sampled_from([None, "LOWER", "UPPER"]), mode=st.sampled_from(["TF", "IDF", "TFIDF"]),
)  # fmt: skip
def test_any_text(rows: list[str], cut: dict[str, Any], case: str | None, mode: str) -> None:
    model, x = chain(cut, case, mode=mode), texts(*rows)
    session = ronn.Session(model, providers=["cpu"])
    np.testing.assert_array_equal(session.run([x])[0], one_by_one(model, x))


@pytest.mark.parametrize(
    ("cut", "grams", "normalizer"),
    [
        ({"mark": 1}, {}, {}), ({"pad_value": "cat"}, {}, {}), ({}, {}, {"stopwords": ["big"]}),
    ],
)  # fmt: skip
def test_what_stays(cut: dict[str, Any], grams: dict[str, Any], normalizer: dict[str, Any]) -> None:
    model, x = chain({"tokenexp": "[a-z]+", **cut}, "LOWER", normalizer=normalizer, **grams), texts(*TEXTS)
    session = ronn.Session(model, providers=["cpu"])
    np.testing.assert_array_equal(session.run([x])[0], one_by_one(model, x))
    assert "TextCounts" not in numpy_nodes(session)


def test_skipped_words() -> None:
    model, x = chain({"tokenexp": "[a-z]+"}, "LOWER", max_skip_count=2), texts(*TEXTS, "big a cat b c sat")
    session = ronn.Session(model, providers=["cpu"])
    np.testing.assert_array_equal(session.run([x])[0], one_by_one(model, x))
    assert numpy_nodes(session) == ["TextCounts"]


class Attributes(KernelContext):
    """A context that only knows attributes."""

    def __init__(self, **given: Any) -> None:
        self.given = given

    def attr(self, name: str, default: Any = None) -> Any:
        return self.given.get(name, default)


def test_expressions_for_one_character_at_a_time_are_refused_where_bytes_do_not_tell() -> None:
    for expression in ("[a-z]+[0-9]", "a|b", "(?i)[a-z]+", r"\b[a-z]+\b", r"\b\w\b", "[a-z][a-z]", "[a-z]*", "ab+"):
        assert word_bytes(Attributes(tokenexp=expression)) is None, expression
    for separator in ("ab", "a+", "$", "|", ""):
        assert word_bytes(Attributes(separators=[" ", separator])) is None, separator
    found = word_bytes(Attributes(tokenexp=r"\w{3,}"))
    assert found is not None and found.ascii and found.fewest == 3 and not found.alone
    assert found.inside.sum() == 63
    found = word_bytes(Attributes(tokenexp="[^a]", mincharnum=1))
    assert found is not None and found.alone and not found.ascii and found.inside.sum() == 254
