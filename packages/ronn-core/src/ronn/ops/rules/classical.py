"""Operators of ``ai.onnx.ml``: trees, linear models, encoders."""

from __future__ import annotations

from typing import Any

from ronn.ir.dims import Dim, Shape
from ronn.ir.types import DType, MapType, SequenceType, TensorType
from ronn.ops.infer import InferContext, rule
from ronn.ops.rules.common import known_product, replaced, unknown

ML = "ai.onnx.ml"


def _rows(c: InferContext) -> Dim | None:
    shape = c.shape(0)
    if shape is None:
        return None
    return shape[0] if len(shape) > 1 else 1


def _count(c: InferContext, *names: str) -> int | None:
    """The length of the first of these attributes that is given."""
    for name in names:
        given = c.node.attributes.get(name)
        if given is not None and len(given):
            return len(given)
    return None


def _label_dtype(c: InferContext, strings: str) -> DType:
    return DType.STRING if _count(c, strings) else DType.INT64


@rule("TreeEnsembleClassifier", domain=ML)
def tree_ensemble_classifier(c: InferContext) -> None:
    rows = _rows(c)
    c.set(0, _label_dtype(c, "classlabels_strings"), (rows,))
    c.set(1, DType.FLOAT32, (rows, _count(c, "classlabels_strings", "classlabels_int64s")))


@rule("TreeEnsembleRegressor", domain=ML)
def tree_ensemble_regressor(c: InferContext) -> None:
    c.set(0, DType.FLOAT32, (_rows(c), c.attr("n_targets", 1)))


@rule("TreeEnsemble", domain=ML)
def tree_ensemble(c: InferContext) -> None:
    c.set(0, c.dtype(0), (_rows(c), c.attr("n_targets", 1)))


@rule("LinearClassifier", domain=ML)
def linear_classifier(c: InferContext) -> None:
    rows, classes = _rows(c), _count(c, "classlabels_strings", "classlabels_ints")
    c.set(0, _label_dtype(c, "classlabels_strings"), (rows,))
    # One score of a binary classifier is given as two; a file may also list fewer labels than it has scores.
    scores = _count(c, "intercepts")
    c.set(1, DType.FLOAT32, (rows, classes if scores is None or scores in (1, classes) else None))


@rule("LinearRegressor", domain=ML)
def linear_regressor(c: InferContext) -> None:
    c.set(0, DType.FLOAT32, (_rows(c), c.attr("targets", 1)))


@rule("SVMClassifier", domain=ML)
def svm_classifier(c: InferContext) -> None:
    c.set(0, _label_dtype(c, "classlabels_strings"), (_rows(c),))
    # Support vectors give a margin for each pair of classes, unless those are made into probabilities.
    scores = _count(c, "classlabels_strings", "classlabels_ints")
    if scores is not None and sum(c.attr("vectors_per_class", ())) and not _count(c, "prob_a"):
        scores = scores if scores == 2 else scores * (scores - 1) // 2
    c.set(1, DType.FLOAT32, (_rows(c), scores))


@rule("SVMRegressor", domain=ML)
def svm_regressor(c: InferContext) -> None:
    c.set(0, DType.FLOAT32, (_rows(c), 1))


@rule("Scaler", "Normalizer", domain=ML)
def to_float(c: InferContext) -> None:
    c.set(0, DType.FLOAT32, c.shape(0))


@rule("Binarizer", "Imputer", domain=ML)
def same(c: InferContext) -> None:
    c.set(0, c.dtype(0), c.shape(0))


@rule("ArrayFeatureExtractor", domain=ML)
def array_feature_extractor(c: InferContext) -> None:
    shape, picks = c.shape(0), c.shape(1)
    count = None if picks is None else known_product(picks)
    if shape is None:
        c.set(0, c.dtype(0), None)
    else:
        c.set(0, c.dtype(0), (1, count) if len(shape) == 1 else replaced(shape, len(shape) - 1, count))


@rule("OneHotEncoder", domain=ML)
def one_hot_encoder(c: InferContext) -> None:
    shape = c.shape(0)
    c.set(0, DType.FLOAT32, None if shape is None else (*shape, _count(c, "cats_int64s", "cats_strings")))


_LABELS: tuple[tuple[str, DType], ...] = (
    ("values_strings", DType.STRING), ("values_int64s", DType.INT64), ("values_floats", DType.FLOAT32),
)  # fmt: skip


@rule("LabelEncoder", domain=ML)
def label_encoder(c: InferContext) -> None:
    dtype: DType | None = next((t for name, t in _LABELS if _count(c, name)), None)
    values: Any = c.node.attributes.get("values_tensor")
    if values is not None:
        dtype = DType.of(values.dtype)
    if c.since < 2:
        dtype = DType.INT64 if c.dtype(0) is DType.STRING else DType.STRING
    c.set(0, dtype, c.shape(0))


@rule("CategoryMapper", domain=ML)
def category_mapper(c: InferContext) -> None:
    c.set(0, DType.INT64 if c.dtype(0) is DType.STRING else DType.STRING, c.shape(0))


@rule("FeatureVectorizer", domain=ML)
def feature_vectorizer(c: InferContext) -> None:
    sizes = c.node.attributes.get("inputdimensions")
    c.set(0, DType.FLOAT32, (_rows(c), None if not sizes else sum(sizes)))


@rule("ZipMap", domain=ML)
def zip_map(c: InferContext) -> None:
    c.set_type(0, SequenceType(MapType(_label_dtype(c, "classlabels_strings"), TensorType(DType.FLOAT32, ()))))


@rule("DictVectorizer", domain=ML)
def dict_vectorizer(c: InferContext) -> None:
    given = c.type(0)
    value = given.value if isinstance(given, MapType) else None
    width: Shape = (1, _count(c, "int64_vocabulary", "string_vocabulary"))
    c.set(0, value.dtype if isinstance(value, TensorType) else None, width)


@rule("CastMap", domain=ML)
def cast_map(c: InferContext) -> None:
    kinds = {"TO_STRING": DType.STRING, "TO_INT64": DType.INT64}
    c.set(0, kinds.get(c.attr("cast_to", "TO_FLOAT"), DType.FLOAT32), unknown(2))
