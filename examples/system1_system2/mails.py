"""Mail, spam or not: word vectors with a linear layer in front of MiniLM with a linear layer. Mails, vectors and
encoder are those of ``benchmarks/hrm/mail.py``, which names licences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import ronn
import ronn_hrm as hrm
from benchmarks.hrm import mail
from benchmarks.hrm.kept import Arrays, kept
from examples.system1_system2.course import Feeds, Pair

SHORT = 60
"""Characters that are left of a mail when only notifications come in."""


def _embedded(which: str, count: int) -> Arrays:
    """``hidden`` float32 [count, D] of the first mails."""
    made = mail.fast_model() if which == "fast" else mail.full_model()
    with ronn.Session(made) as session:
        rows = [session.run(_prepare(which)(mail.feeds_of(t)))["hidden"] for t in mail.mails().texts[:count]]
    return {"hidden": np.concatenate(rows)}


def _prepare(which: str) -> Callable[[Mapping[str, Any]], mail.Feeds]:
    return mail.prepare_fast if which == "fast" else mail.prepare_full


def model(which: str, count: int = mail.TRAINED) -> bytes:
    """The ONNX model with a linear layer (logistic regression) on top, of ``count`` mails."""
    from sklearn.linear_model import LogisticRegression

    build = mail.fast_model if which == "fast" else mail.full_model
    code = (build, _prepare(which), mail.text_of)
    hidden = kept(f"example-mail-{which}", _embedded, code, which=which, count=count)["hidden"]
    fitted = LogisticRegression(C=10.0, max_iter=2000).fit(hidden, mail.mails().labels[:count])
    w, b = fitted.coef_[0].astype(np.float32), fitted.intercept_[0].astype(np.float32)
    return build(np.stack([-w / 2, w / 2], axis=1), np.array([-b / 2, b / 2]))


def pair(say: Callable[[str], None]) -> Pair:
    say(f"training on {mail.TRAINED} mails (found in the cache the next time)")
    one, other = (ronn.Session(model(which), options={"threads": 1}) for which in ("fast", "full"))
    fast = hrm.Prepared(one, mail.prepare_fast, names=["text"])
    full = hrm.Prepared(other, mail.prepare_full, names=["text"])
    texts, labels = mail.mails().texts, mail.mails().labels
    population = len(texts) - mail.TRAINED

    def feeds(number: int, changed: bool) -> Feeds:
        text = texts[mail.TRAINED + number % population]
        return mail.feeds_of(text[:SHORT] if changed else text)

    for session in (fast, full):
        session.run(feeds(0, False))
    return Pair(
        "mail: word vectors in front of MiniLM", fast, full, feeds,
        lambda number: int(labels[mail.TRAINED + number % population]),
        f"of each mail only the first {SHORT} characters come", hrm.FromOutput("hidden"),
        (one.memory().total, other.memory().total), alpha=0.02,
    )  # fmt: skip
