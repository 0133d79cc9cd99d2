"""Models of scikit-learn, LightGBM and XGBoost, converted and run: labels and chances against ``predict``."""

import warnings

import numpy as np
import onnxruntime
from lightgbm import LGBMClassifier
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as ToolsFloat
from show import show
from skl2onnx import to_onnx
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.ensemble import GradientBoostingClassifier, IsolationForest, RandomForestClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from xgboost import XGBClassifier

warnings.simplefilter("ignore")
features, target = load_iris(return_X_y=True)
features = features.astype(np.float32)
classifiers = {
    "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
    "forest": RandomForestClassifier(20, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=20, random_state=0),
    "svc": SVC(probability=True, random_state=0),
    "mlp": make_pipeline(StandardScaler(), MLPClassifier(random_state=0, max_iter=300)),
    "bayes": GaussianNB(),
    "neighbours": KNeighborsClassifier(),
}
others = {"kmeans": KMeans(3, n_init=1, random_state=0), "isolation": IsolationForest(random_state=0)}
regressors = {"forest regressor": RandomForestRegressor(20, random_state=0), "gaussian": GaussianProcessRegressor()}
OPSET = {"": 18, "ai.onnx.ml": 3}
labels, agree, chances, values = {}, {}, {}, {}


def run(model: object, feed: np.ndarray) -> list:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: feed})


for name, estimator in {**classifiers, **others}.items():
    found = run(to_onnx(estimator.fit(features, target), features[:1], target_opset=OPSET), features)
    labels[name] = found[0].ravel()
    agree[name] = float(np.mean(found[0].ravel() == estimator.predict(features)))
    chances[name] = found[1] if isinstance(found[1], list) else np.asarray(found[1]).ravel()
for name, estimator in regressors.items():
    values[name] = run(
        to_onnx(estimator.fit(features, target.astype(np.float32)), features[:1], target_opset=OPSET), features
    )[0].ravel()
for name, estimator, convert in (
    ("lightgbm", LGBMClassifier(n_estimators=10, verbose=-1), convert_lightgbm),
    ("xgboost", XGBClassifier(n_estimators=10), convert_xgboost),
):
    model = convert(estimator.fit(features, target), initial_types=[("x", ToolsFloat([None, 4]))])
    found = run(model, features)
    labels[name] = found[0]
    agree[name] = float(np.mean(found[0] == estimator.predict(features)))
    chances[name] = found[1] if isinstance(found[1], list) else found[1].ravel()
texts = np.array(["the quick brown fox", "jumps over the lazy dog", "the dog sleeps"])
words = TfidfVectorizer(lowercase=False).fit(texts)
tfidf = run(to_onnx(words, texts.reshape(-1, 1)[:1], target_opset=OPSET), texts.reshape(-1, 1))[0]
show(labels=labels, agree=agree, chances=chances, values=values, tfidf=tfidf)
