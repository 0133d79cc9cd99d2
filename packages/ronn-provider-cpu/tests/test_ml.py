"""The other operators of ai.onnx.ml, against onnxruntime."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from op_runs import model_of, run_op, strings
from test_trees import by_onnxruntime

ML = "ai.onnx.ml"
KINDS = {"O": TensorProto.STRING, "f": TensorProto.FLOAT, "i": TensorProto.INT64}
POSTS = ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"]


def same_as_onnxruntime(op: str, inputs: list[Any], tol: float = 1e-5, opset: int = 3, **attributes: Any) -> None:
    outputs = attributes.pop("outputs", 1)
    got = run_op(op, inputs, domain=ML, opset=opset, outputs=outputs, **attributes)
    model = model_of(op, inputs, domain=ML, opset=opset, outputs=outputs, **attributes)
    kinds = [KINDS[g.dtype.kind] if g.dtype != np.float64 else TensorProto.DOUBLE for g in got]
    feeds = {f"x{i}": v for i, v in enumerate(inputs)}
    for g, w in zip(got, by_onnxruntime(model, [(f"y{i}", k) for i, k in enumerate(kinds)], feeds), strict=True):
        w = np.asarray(w)
        assert g.shape == w.shape
        if g.dtype.kind in "Oi":
            assert g.tolist() == w.tolist()
        else:
            np.testing.assert_allclose(g, w, rtol=tol, atol=tol)


def floats(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def listed(x: np.ndarray) -> list[float]:
    return [float(v) for v in x.reshape(-1)]


@pytest.mark.parametrize("post", POSTS)
@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("intercepts", [False, True])
def test_linear_regressor(post: str, targets: int, intercepts: bool) -> None:
    extra = {"intercepts": listed(floats(1, targets))} if intercepts else {}
    weights = listed(floats(0, targets, 4))
    x = floats(2, 9, 4)
    if post != "NONE" and targets == 1:
        return  # onnxruntime makes two columns of one there
    same_as_onnxruntime("LinearRegressor", [x], coefficients=weights, targets=targets, post_transform=post, **extra)


@pytest.mark.parametrize("post", POSTS)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("texts", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_linear_classifier(post: str, classes: int, texts: bool, dtype: Any) -> None:
    labels = {"classlabels_strings": list("zyx")[:classes]} if texts else {"classlabels_ints": [7, 5, 6][:classes]}
    weights, bias = listed(floats(0, classes, 4)), listed(floats(1, classes))
    x = (floats(2, 9, 4) * 3).astype(dtype)
    same_as_onnxruntime(
        "LinearClassifier", [x], outputs=2, coefficients=weights, intercepts=bias, post_transform=post, **labels
    )


@pytest.mark.parametrize("post", ["NONE", "LOGISTIC"])
def test_linear_classifier_of_one_score(post: str) -> None:
    """Two labels, one row of coefficients: the score is the second label's."""
    x = floats(2, 9, 4)
    label, score = run_op(
        "LinearClassifier", [x], outputs=2, domain=ML, opset=1, coefficients=listed(floats(0, 4)), intercepts=[0.25],
        classlabels_ints=[7, 5], post_transform=post,
    )  # fmt: skip
    margin = x @ floats(0, 4) + np.float32(0.25)
    assert label.tolist() == np.where(margin > 0, 5, 7).tolist()
    want = np.stack([-margin, margin], 1)
    np.testing.assert_allclose(score, want if post == "NONE" else 1 / (1 + np.exp(-want)), rtol=1e-5)


SVM_KERNELS = {"LINEAR": [0, 0, 0], "RBF": [0.3, 0, 0], "POLY": [0.5, 0.25, 2], "SIGMOID": [0.2, 0.1, 0]}


@pytest.mark.parametrize("kernel", SVM_KERNELS)
@pytest.mark.parametrize("one_class", [0, 1])
def test_svm_regressor(kernel: str, one_class: int) -> None:
    same_as_onnxruntime(
        "SVMRegressor", [floats(2, 9, 4)], kernel_type=kernel, kernel_params=[float(v) for v in SVM_KERNELS[kernel]],
        support_vectors=listed(floats(0, 5, 4)), coefficients=listed(floats(1, 5)), n_supports=5, rho=[0.125],
        one_class=one_class,
    )  # fmt: skip


def test_svm_regressor_without_vectors() -> None:
    same_as_onnxruntime(
        "SVMRegressor", [floats(2, 9, 4)], coefficients=listed(floats(1, 4)), rho=[0.125], kernel_params=[0.0] * 3
    )


@pytest.mark.parametrize("kernel", SVM_KERNELS)
@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("proba", [False, True])
@pytest.mark.parametrize("texts", [False, True])
def test_svm_classifier(kernel: str, classes: int, proba: bool, texts: bool) -> None:
    sizes = [3, 2, 4, 1][:classes]
    pairs = classes * (classes - 1) // 2
    labels = {"classlabels_strings": list("zyxw")[:classes]} if texts else {"classlabels_ints": [7, 5, 6, 1][:classes]}
    extra = {"prob_a": [-1.5] * pairs, "prob_b": [0.1] * pairs} if proba else {}
    same_as_onnxruntime(
        "SVMClassifier", [floats(2, 20, 4)], outputs=2, tol=1e-4, kernel_type=kernel,
        kernel_params=[float(v) for v in SVM_KERNELS[kernel]], vectors_per_class=sizes,
        support_vectors=listed(floats(0, sum(sizes), 4)), coefficients=listed(floats(1, classes - 1, sum(sizes))),
        rho=listed(floats(3, pairs)), **labels, **extra,
    )  # fmt: skip


@pytest.mark.parametrize("post", POSTS)
def test_svm_classifier_without_vectors(post: str) -> None:
    same_as_onnxruntime(
        "SVMClassifier", [floats(2, 20, 4)], outputs=2, coefficients=listed(floats(1, 3, 4)), rho=[0.25],
        kernel_params=[0.0] * 3,
        classlabels_ints=[7, 5, 6], post_transform=post,
    )  # fmt: skip


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_normalizer(norm: str, dtype: Any) -> None:
    x = (np.abs(floats(0, 6, 4)) * 4).astype(dtype)
    x[2] = 0
    same_as_onnxruntime("Normalizer", [x], norm=norm)


@pytest.mark.parametrize("each", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int32])
def test_scaler(each: bool, dtype: Any) -> None:
    x = (floats(0, 6, 4) * 4).astype(dtype)
    n = 4 if each else 1
    same_as_onnxruntime("Scaler", [x], scale=listed(floats(1, n)), offset=listed(floats(2, n)))


@pytest.mark.parametrize("replaced", [float("nan"), 0.0])
@pytest.mark.parametrize("each", [True, False])
def test_imputer(replaced: float, each: bool) -> None:
    x = floats(0, 6, 4)
    x[1, 1] = x[2, 3] = replaced
    values = [1.0, 2.0, 3.0, 4.0] if each else [7.0]
    same_as_onnxruntime("Imputer", [x], imputed_value_floats=values, replaced_value_float=replaced)


def test_imputer_of_integers() -> None:
    x = np.array([[1, -1, 3], [-1, 5, 6]], np.int64)
    same_as_onnxruntime("Imputer", [x], imputed_value_int64s=[9], replaced_value_int64=-1)


def test_binarizer() -> None:
    same_as_onnxruntime("Binarizer", [floats(0, 3, 4)], threshold=0.25)


def test_array_feature_extractor() -> None:
    same_as_onnxruntime("ArrayFeatureExtractor", [floats(0, 3, 4), np.array([3, 0, 0], np.int64)])
    with pytest.raises(IndexError, match="out of range"):
        run_op("ArrayFeatureExtractor", [floats(0, 3, 4), np.array([4], np.int64)], domain=ML, opset=1)


def test_feature_vectorizer() -> None:
    inputs = [floats(0, 3, 2), floats(1, 3, 1)]
    same_as_onnxruntime("FeatureVectorizer", inputs, inputdimensions=[2, 1])


def test_one_hot_encoder() -> None:
    same_as_onnxruntime("OneHotEncoder", [np.array([[1, 3, 9]], np.int64)], cats_int64s=[3, 1], zeros=1)
    same_as_onnxruntime("OneHotEncoder", [strings("b", "?", "a")], cats_strings=["a", "b"], zeros=1)
    same_as_onnxruntime("OneHotEncoder", [np.array([[1.0], [3.0]], np.float32)], cats_int64s=[3, 1], zeros=0)
    with pytest.raises(ValueError, match="'\\?' is not one of"):
        run_op("OneHotEncoder", [strings("?")], cats_strings=["a"], zeros=0, domain=ML, opset=1)


def test_category_mapper() -> None:
    maps: dict[str, Any] = {"cats_strings": ["a", "b"], "cats_int64s": [4, 5]}
    same_as_onnxruntime("CategoryMapper", [strings("b", "?", "a")], default_int64=-7, **maps)
    same_as_onnxruntime("CategoryMapper", [np.array([5, 0, 4], np.int64)], default_string="no", **maps)


@pytest.mark.parametrize(("key", "value"), list(itertools.product(["strings", "int64s", "floats"], repeat=2)))
def test_label_encoder(key: str, value: str) -> None:
    keys = {"strings": ["a", "b"], "int64s": [4, 5], "floats": [0.5, float("nan")]}[key]
    x = {"strings": strings("b", "?", "a"), "int64s": np.array([5, 0, 4], np.int64)}.get(key)
    if x is None:
        x = np.array([np.nan, 0.25, 0.5], np.float32)
    values = {"strings": ["p", "q"], "int64s": [40, 50], "floats": [0.1, 2.5]}[value]
    default = {"strings": "none", "int64s": -9, "floats": -2.5}[value]
    attributes = {f"keys_{key}": keys, f"values_{value}": values, f"default_{value[:-1]}": default}
    same_as_onnxruntime("LabelEncoder", [x], opset=4, **attributes)


def test_label_encoder_of_version_1() -> None:
    same_as_onnxruntime("LabelEncoder", [strings("b", "?", "a")], opset=1, classes_strings=["a", "b"], default_int64=-3)
    same_as_onnxruntime(
        "LabelEncoder", [np.array([1, 9, 0], np.int64)], opset=1, classes_strings=["a", "b"], default_string="none"
    )


def test_label_encoder_of_tensors() -> None:
    keys = helper.make_tensor("k", TensorProto.DOUBLE, [2], [0.5, 1.5])
    values = helper.make_tensor("v", TensorProto.INT16, [2], [7, 8])
    default = helper.make_tensor("d", TensorProto.INT16, [1], [3])
    (got,) = run_op(
        "LabelEncoder", [np.array([[1.5, 9, 0.5]])], domain=ML, opset=4,
        keys_tensor=keys, values_tensor=values, default_tensor=default,
    )  # fmt: skip
    assert got.dtype == np.int16
    assert got.tolist() == [[8, 3, 7]]


def test_zip_map() -> None:
    x = np.array([[0.25, 0.75], [1, 0]], np.float32)
    (got,) = run_op("ZipMap", [x], domain=ML, opset=1, classlabels_strings=["a", "b"])
    assert got == [{"a": 0.25, "b": 0.75}, {"a": 1.0, "b": 0.0}]
    (got,) = run_op("ZipMap", [x], domain=ML, opset=1, classlabels_int64s=[3, 1])
    assert got == [{3: 0.25, 1: 0.75}, {3: 1.0, 1: 0.0}]
    with pytest.raises(ValueError, match="2 columns for 3"):
        run_op("ZipMap", [x], domain=ML, opset=1, classlabels_int64s=[3, 1, 2])


def map_type(key: int, value: int) -> Any:
    return helper.make_map_type_proto(key, helper.make_tensor_type_proto(value, []))


def test_dict_vectorizer() -> None:
    types = {"x0": map_type(TensorProto.STRING, TensorProto.FLOAT)}
    how: dict[str, Any] = {"domain": ML, "opset": 1, "types": types, "string_vocabulary": ["c", "a"]}
    (got,) = run_op("DictVectorizer", [{"a": 1.5, "b": 2.0}], **how)
    assert got.dtype == np.float32
    assert got.tolist() == [[0, 1.5]]


@pytest.mark.parametrize("to", ["TO_FLOAT", "TO_INT64", "TO_STRING"])
def test_cast_map(to: str) -> None:
    types = {"x0": map_type(TensorProto.INT64, TensorProto.FLOAT)}
    how: dict[str, Any] = {"domain": ML, "opset": 1, "types": types, "cast_to": to}
    convert: Any = {"TO_FLOAT": float, "TO_INT64": int, "TO_STRING": str}[to]
    (dense,) = run_op("CastMap", [{3: 1.5, 1: 2.0}], **how)
    assert dense.tolist() == [[convert(2.0), convert(1.5)]]
    (sparse,) = run_op("CastMap", [{3: 1.5, 1: 2.0}], map_form="SPARSE", max_map=4, **how)
    empty = "" if to == "TO_STRING" else 0
    assert sparse.tolist() == [[empty, convert(2.0), empty, convert(1.5)]]
