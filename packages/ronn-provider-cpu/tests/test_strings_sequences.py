"""Strings, sequences and optionals."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from op_runs import assert_same, bound, model_of, run_op, strings
from test_movement import i64, same_as_reference

FLOATS = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
MAYBE = helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))


def three() -> list[np.ndarray]:
    return [np.full(i + 1, i, np.float32) for i in range(3)]


def test_sequence_owns_its_elements() -> None:
    """The plan may use the memory of an input again; what a sequence holds must stay."""
    x = np.zeros(3, np.float32)
    (made,) = run_op("SequenceConstruct", [x, x])
    assert [not np.shares_memory(x, m) for m in made] == [True, True]
    (grown,) = run_op("SequenceInsert", [made, x], types={"x0": FLOATS})
    assert len(grown) == 3
    assert not np.shares_memory(grown[2], x)
    (parts,) = run_op("SplitToSequence", [x, np.array(2, np.int64)])
    assert [p.shape for p in parts] == [(2,), (1,)]
    assert not np.shares_memory(parts[0], x)


@pytest.mark.parametrize("at", [None, 0, 1, 3, -1, -3])
def test_insert(at: int | None) -> None:
    new = np.full(7, 9, np.float32)
    position = None if at is None else np.array(at, np.int64)
    (got,) = run_op("SequenceInsert", [three(), new, position], types={"x0": FLOATS})
    want = three()
    want.insert(len(want) if at is None else at, new)
    assert [g.tolist() for g in got] == [w.tolist() for w in want]


@pytest.mark.parametrize("at", [None, 0, 2, -1])
def test_erase_and_at(at: int | None) -> None:
    position = None if at is None else np.array(at, np.int64)
    (got,) = run_op("SequenceErase", [three(), position], types={"x0": FLOATS})
    want = three()
    gone = want.pop(-1 if at is None else at)
    assert [g.tolist() for g in got] == [w.tolist() for w in want]
    if position is not None:
        assert_same(run_op("SequenceAt", [three(), position], types={"x0": FLOATS})[0], gone)
    assert run_op("SequenceLength", [three()], types={"x0": FLOATS})[0] == 3
    assert run_op("SequenceEmpty", []) == [[]]


@pytest.mark.parametrize(
    ("op", "at"), [("SequenceAt", 3), ("SequenceAt", -4), ("SequenceErase", 3), ("SequenceInsert", 4)]
)
def test_positions_are_checked(op: str, at: int) -> None:
    inputs: list[Any] = [three(), np.array(at, np.int64)]
    if op == "SequenceInsert":
        inputs.insert(1, np.zeros(1, np.float32))
    with pytest.raises(IndexError, match="out of range for a sequence of 3"):
        run_op(op, inputs, types={"x0": FLOATS})


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_split_and_concat(keepdims: int, axis: int) -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    (parts,) = run_op("SplitToSequence", [x], axis=axis, keepdims=keepdims)
    assert_same(run_op("ConcatFromSequence", [parts], axis=axis, new_axis=1 - keepdims, types={"x0": FLOATS})[0], x)
    (pieces,) = run_op("SplitToSequence", [x, i64(*((1, 2) if axis == 0 else (1, 3)))], axis=axis)
    assert_same(run_op("ConcatFromSequence", [pieces], axis=axis, types={"x0": FLOATS})[0], x)


def test_optionals() -> None:
    x = np.zeros(2, np.float32)
    assert_same(run_op("OptionalGetElement", [x], types={"x0": MAYBE})[0], x)
    assert run_op("OptionalHasElement", [x], types={"x0": MAYBE})[0].item() is True
    assert run_op("OptionalHasElement", [])[0].item() is False
    assert_same(run_op("Optional", [x])[0], x)
    with pytest.raises(ValueError, match="optional is empty"):
        bound(model_of("OptionalGetElement", [x], types={"x0": MAYBE}))[2](None)


def test_string_concat_broadcasts() -> None:
    (got,) = run_op("StringConcat", [strings("a", "b", shape=(2, 1)), strings("x", "y")])
    assert got.tolist() == [["ax", "ay"], ["bx", "by"]]
    assert run_op("StringConcat", [strings("a", shape=()), strings("b", shape=())])[0].tolist() == "ab"


@pytest.mark.parametrize(
    "how", [{}, {"delimiter": ""}, {"delimiter": ","}, {"delimiter": ",", "maxsplit": 1}, {"maxsplit": 1}]
)
def test_string_split(how: dict[str, Any]) -> None:
    same_as_reference("StringSplit", [strings("a,b,,c", " one  two three ", "x")], outputs=2, **how)


def test_string_split_of_nothing() -> None:
    pieces, counts = run_op("StringSplit", [strings("", "")], outputs=2, delimiter=",")
    assert pieces.shape == (2, 0)
    assert counts.tolist() == [0, 0]


def test_regex_full_match() -> None:
    (got,) = run_op("RegexFullMatch", [strings("a.com", "b@a.com", "a.com2", shape=(3, 1))], pattern=r"\w+\.com")
    assert got.tolist() == [[True], [False], [False]]


@pytest.mark.parametrize("case", ["LOWER", "UPPER", "NONE"])
@pytest.mark.parametrize("sensitive", [0, 1])
def test_string_normalizer(case: str, sensitive: int) -> None:
    x = strings("Monday", "tuesday", "MONDAY", "x")
    (got,) = run_op(
        "StringNormalizer", [x], case_change_action=case, is_case_sensitive=sensitive, stopwords=["monday", "x"]
    )
    kept = ["Monday", "tuesday", "MONDAY"] if sensitive else ["tuesday"]
    change = {"LOWER": str.lower, "UPPER": str.upper, "NONE": str}[case]
    assert got.tolist() == [change(k) for k in kept]
    (got,) = run_op("StringNormalizer", [strings("x", shape=(1, 1))], stopwords=["x"])
    assert got.tolist() == [[""]]
    with pytest.raises(ValueError, match="takes"):
        run_op("StringNormalizer", [strings("a", "b", shape=(2, 1))])


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize(("shortest", "longest", "skips"), [(1, 1, 0), (1, 2, 0), (2, 2, 3), (1, 3, 2)])
@pytest.mark.parametrize("texts", [False, True])
def test_tf_idf_vectorizer(mode: str, shortest: int, longest: int, skips: int, texts: bool) -> None:
    pool = [2, 3, 5, 4, 5, 6, 7, 8, 6, 7, 2, 3, 5]
    x = np.array([[1, 1, 3, 3, 3, 7, 2, 3], [8, 6, 7, 5, 6, 8, 2, 5], [2, 3, 5, 2, 2, 3, 5, 4]], np.int64)
    how: dict[str, Any] = {
        "mode": mode, "min_gram_length": shortest, "max_gram_length": longest, "max_skip_count": skips,
        "ngram_counts": [0, 4, 10], "ngram_indexes": [0, 1, 2, 3, 6, 5, 4, 7],
        "weights": [1.5, 2.0, 0.5, 3.0, 0.25, 1.0, 4.0, 2.5],
        "pool_strings" if texts else "pool_int64s": [f"w{v}" for v in pool] if texts else pool,
    }  # fmt: skip
    if texts:
        x = strings(*(f"w{v}" for v in x.reshape(-1)), shape=x.shape)
    (got,) = run_op("TfIdfVectorizer", [x], opset=9, **how)
    model = model_of("TfIdfVectorizer", [x], opset=9, **how)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("y0", TensorProto.FLOAT, None))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(got, session.run(None, {"x0": x})[0], rtol=1e-6)
    (row,) = run_op("TfIdfVectorizer", [x[1]], opset=9, **how)
    assert_same(row, got[1])


@pytest.mark.parametrize(
    "how",
    [
        {"separators": [" "], "mark": 0}, {"separators": [" ", ","], "mark": 1}, {"tokenexp": "[a-z]+", "mark": 1},
        {"separators": [""], "mark": 0}, {"separators": [" "], "mark": 0, "mincharnum": 2},
    ],
)  # fmt: skip
def test_tokenizer(how: dict[str, Any]) -> None:
    how = {"mincharnum": 1, "pad_value": "#", **how}
    x = strings("the cat,sat", "a b", "on")
    (got,) = run_op("Tokenizer", [x], domain="com.microsoft", opset=1, **how)
    model = model_of("Tokenizer", [x], domain="com.microsoft", opset=1, **how)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("y0", TensorProto.STRING, None))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert got.tolist() == session.run(None, {"x0": x})[0].tolist()
