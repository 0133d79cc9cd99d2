"""scikit-learn and LightGBM models, fitted here and converted with skl2onnx and onnxmltools.

Every model leaves its real test rows in `rows.npz`; the data sets come with scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxmltools
from lightgbm import LGBMClassifier, LGBMRegressor
from onnxmltools.convert.common.data_types import FloatTensorType as OnnxmltoolsFloat
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from benchmarks.zoo.cache import replaced_file
from benchmarks.zoo.feeds import ROWS_FILE, save_arrays

TARGET_OPSET = {"": 18, "ai.onnx.ml": 3}

SUBJECTS = ("the engine", "a loaded wagon", "the old bridge", "this valve", "the pump", "a steel beam")
MACHINE = ("turns a heavy shaft", "needs oil and new bolts", "carries twelve tonnes", "leaks steam under load")
ANIMALS = ("a grey heron", "the young fox", "this otter", "a barn owl", "the hare", "a small wren")
NATURE = ("sleeps in the reeds", "hunts mice at dusk", "feeds her hungry young", "hides under wet leaves")


def _split(loader: Callable[..., Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training rows, test rows, training targets."""
    rows, targets = loader(return_X_y=True)
    train, test, train_targets, _ = train_test_split(rows.astype(np.float32), targets, test_size=0.3, random_state=0)
    return train, test, train_targets


def _plain(estimator: Any, loader: Callable[..., Any]) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    train, test, targets = _split(loader)
    estimator.fit(train, targets)
    kinds = [("X", FloatTensorType([None, train.shape[1]]))]
    return to_onnx(estimator, initial_types=kinds, target_opset=TARGET_OPSET), {"X": test}


def _lightgbm(estimator: Any, loader: Callable[..., Any]) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    train, test, targets = _split(loader)
    estimator.fit(train, targets)
    kinds = [("X", OnnxmltoolsFloat([None, train.shape[1]]))]
    return onnxmltools.convert_lightgbm(estimator, initial_types=kinds, target_opset=15), {"X": test}


def _mixed_columns() -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """Two string and two number columns, string labels; the string columns are binned iris measures."""
    iris = load_iris()
    color = np.array(["blue", "violet", "white"], dtype=object)[np.digitize(iris.data[:, 1], (2.9, 3.3))]
    size = np.array(["small", "medium", "large"], dtype=object)[np.digitize(iris.data[:, 0], (5.4, 6.3))]
    labels = np.array(iris.target_names, dtype=object)[iris.target]
    table = np.empty((len(labels), 4), dtype=object)
    table[:, 0], table[:, 1], table[:, 2], table[:, 3] = color, size, iris.data[:, 2], iris.data[:, 3]
    train, test, train_labels, _ = train_test_split(table, labels, test_size=0.6, random_state=0)
    columns = ColumnTransformer(
        [("kind", OneHotEncoder(handle_unknown="ignore"), [0, 1]), ("measure", StandardScaler(), [2, 3])]
    )
    estimator = make_pipeline(columns, LogisticRegression(max_iter=500)).fit(train, train_labels.astype(str))
    kinds = [
        ("color", StringTensorType([None, 1])),
        ("size", StringTensorType([None, 1])),
        ("length", FloatTensorType([None, 1])),
        ("weight", FloatTensorType([None, 1])),
    ]
    rows = {name: test[:, [column]] for column, (name, _) in enumerate(kinds)}
    rows["length"], rows["weight"] = rows["length"].astype(np.float32), rows["weight"].astype(np.float32)
    return to_onnx(estimator, initial_types=kinds, target_opset=TARGET_OPSET), rows


def _text() -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    machines = [f"{who} {what}" for who in SUBJECTS for what in MACHINE]
    nature = [f"{who.title()} {what}." for who in ANIMALS for what in NATURE]
    texts, labels = np.array(machines + nature, dtype=object), [0] * len(machines) + [1] * len(nature)
    train, test, train_labels, _ = train_test_split(texts, labels, test_size=12, random_state=0)
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), token_pattern="[a-zA-Z]+")
    estimator = make_pipeline(vectorizer, LogisticRegression()).fit(train, train_labels)
    kinds = [("text", StringTensorType([None, 1]))]
    options = {TfidfVectorizer: {"locale": "C"}}  # the default, en_US, is absent on many machines
    model = to_onnx(estimator, initial_types=kinds, target_opset=TARGET_OPSET, options=options)
    return model, {"text": test.reshape(-1, 1)}


MAKERS: dict[str, Callable[[], tuple[onnx.ModelProto, dict[str, np.ndarray]]]] = {
    "sk-rf-digits": lambda: _plain(RandomForestClassifier(n_estimators=100, random_state=0), load_digits),
    "sk-gbr-diabetes": lambda: _plain(GradientBoostingRegressor(random_state=0), load_diabetes),
    "sk-svc-digits": lambda: _plain(SVC(random_state=0), load_digits),
    "sk-knn-digits": lambda: _plain(KNeighborsClassifier(5), load_digits),
    "sk-mlp-digits": lambda: _plain(MLPClassifier((64, 32), max_iter=300, random_state=0), load_digits),
    "sk-logreg-pca-digits": lambda: _plain(
        make_pipeline(Normalizer(), PCA(24, random_state=0), LogisticRegression(max_iter=500)), load_digits
    ),
    "sk-kmeans-iris": lambda: _plain(KMeans(3, n_init=10, random_state=0), load_iris),
    "sk-mixed-columns": _mixed_columns,
    "sk-tfidf-text": _text,
    "sk-lgbm-digits": lambda: _lightgbm(
        LGBMClassifier(n_estimators=50, random_state=0, n_jobs=1, verbose=-1), load_digits
    ),
    "sk-lgbmr-diabetes": lambda: _lightgbm(
        LGBMRegressor(n_estimators=100, random_state=0, n_jobs=1, verbose=-1), load_diabetes
    ),
}


def build(name: str, folder: Path) -> None:
    """Writes `model.onnx` and `rows.npz` into `folder`."""
    model, rows = MAKERS[name]()
    save_arrays(folder / ROWS_FILE, rows)
    with replaced_file(folder / "model.onnx") as temporary:
        temporary.write_bytes(model.SerializeToString())
