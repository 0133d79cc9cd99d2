"""Populations of records that guarantees are tried on: scores and losses of traffic that taught nobody anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

import ronn_hrm as hrm
from benchmarks.hrm import digits, mail
from ronn_hrm.assess.assessor import Assessor
from ronn_hrm.memory.index import FlatIndex
from ronn_hrm.scorers import choose
from ronn_hrm.task import Classification

MEMORY, FIT = 5000, 1500
"""Records that memory holds and that the scorer is fitted to; half and a quarter of small sets."""


@dataclass(frozen=True)
class Population:
    """scores float64 [N] (higher is surer) and losses float64 [N] of records. scorer: what was chosen on other records;
    plain: scores [N] by confidence alone."""

    name: str
    scores: np.ndarray
    losses: np.ndarray
    scorer: str
    plain: np.ndarray

    @property
    def ideal(self) -> float:
        """The share that a scorer with the right order would leave to the cheap model at a risk of 1 %."""
        return min(1.0, 1.0 - float(self.losses.mean()) + 0.01)


def population(
    name: str, fast: np.ndarray, full: np.ndarray, embeddings: np.ndarray, memory: int, fit: int, alpha: float = 0.01
) -> Population:
    """From answers float32 [N, classes] of both models and embeddings [N, D]: the first rows are memory, the next fit
    the scorer, which is chosen as a session chooses it; the rest is the population."""
    task = Classification()
    losses = (fast.argmax(axis=1) != full.argmax(axis=1)).astype(np.float64)
    vectors = embeddings.astype(np.float16).astype(np.float32)
    known = FlatIndex(vectors[:memory], full[:memory].argmax(axis=1), np.arange(memory))
    assessor = Assessor(task)
    rows = slice(memory, None)
    features = assessor.many(list(fast[rows, None]), vectors[rows], known)
    scorer = choose(features[:fit], assessor.names, losses[rows][:fit], alpha=alpha)
    confidence = features[fit:, assessor.names.index("confidence")]
    told = f"{scorer.kind}({', '.join(scorer.names)})"
    return Population(name, scorer.score_many(features[fit:]), losses[rows][fit:], told, confidence)


def _digits(turned: bool) -> Population:
    found = digits.digits()
    x = digits.rotated(found.x) if turned else found.x
    principal = hrm.FromInput.principal("x", found.train_x, 64).projection
    fast, full = (digits.scores(which, x) for which in ("fast", "full"))
    name = f"MNIST, turned by {digits.DEGREES:g} degrees" if turned else "MNIST"
    return population(name, fast, full, x @ principal, MEMORY, FIT)


def _mail() -> Population:
    rows = slice(mail.TRAINED, None)
    fast, full, vectors = mail.scores("fast")[rows], mail.scores("full")[rows], mail.embedded("fast")[rows]
    return population("SpamAssassin mail", fast, full, vectors, 1400, 700)


def small_digits() -> Population:
    """scikit-learn's digits of 8 x 8 pixels: logistic regression on 150 of them in front of a network on 600."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    x, y = (data.data[order] / 16).astype(np.float32), data.target[order]
    fast = LogisticRegression(max_iter=300).fit(x[:150], y[:150])
    full = MLPClassifier((96,), random_state=0, max_iter=200, learning_rate_init=0.005).fit(x[150:750], y[150:750])
    rest = x[750:]
    return population(
        "scikit-learn's digits", np.log(np.maximum(fast.predict_proba(rest), 1e-9)).astype(np.float32),
        np.log(np.maximum(full.predict_proba(rest), 1e-9)).astype(np.float32), rest, 300, 250,
    )  # fmt: skip


def _table(name: str, taught: int) -> Population:
    """A table of river's: logistic regression on 150 rows in front of a forest on ``taught`` others."""
    from river import datasets
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = list(getattr(datasets, name)())
    order = np.random.default_rng(0).permutation(len(rows))
    keys = list(rows[0][0])
    x = np.array([[float(rows[i][0][k]) for k in keys] for i in order], np.float32)
    y = np.unique([str(rows[i][1]) for i in order], return_inverse=True)[1]
    fast = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(x[:150], y[:150])
    full = RandomForestClassifier(200, random_state=0).fit(x[150 : 150 + taught], y[150 : 150 + taught])
    rest = x[150 + taught :]
    answers = (np.log(np.maximum(model.predict_proba(rest), 1e-3)).astype(np.float32) for model in (fast, full))
    quarter = len(rest) // 4
    return population(name, *answers, fast[0].transform(rest).astype(np.float32), quarter, quarter)


@cache
def named(name: str) -> Population:
    return POPULATIONS[name]()


POPULATIONS: dict[str, Callable[[], Population]] = {
    "mnist": lambda: _digits(turned=False),
    "mnist-turned": lambda: _digits(turned=True),
    "mail": _mail,
    "digits": small_digits,
    "segments": lambda: _table("ImageSegments", 700),
    "phishing": lambda: _table("Phishing", 300),
}
