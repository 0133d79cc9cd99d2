"""Wrong uses: each is refused, or told, by an error or warning that names the thing and the cure."""

from __future__ import annotations

import copy
import logging
import pickle
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pair
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh
from scipy.stats import fisher_exact

import ronn
import ronn_hrm as hrm
from ronn.errors import OptionError, RonnError
from ronn_hrm.errors import CalibrationError, CalibrationWarning, RoutingError, StateError
from ronn_hrm.guarantee.plausible import fewer_by_chance, implausible

ALPHA = 0.1
LEAST = hrm.least_records(hrm.Guarantee(alpha=ALPHA))
RANDOM = np.random.default_rng(0).normal(size=(64, 10))


@pytest.fixture(autouse=True)
def _known_coin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hrm.EpisodicStore, "key", property(lambda store: bytes(range(32))))


def opened(model: bytes) -> ronn.Session:
    return ronn.Session(model, providers="cpu", options={"threads": 1})


def made(fast: Any = None, full: Any = None, **options: Any) -> hrm.HRMSession:
    fast = opened(pair.fast_model()) if fast is None else fast
    full = opened(pair.full_model()) if full is None else full
    return hrm.HRMSession(fast, full, **{"guarantee": hrm.Guarantee(alpha=ALPHA), **options})


def digits(count: int, seed: int = 0, noise: float = 0.05, turn: bool = False) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    images, _ = pair.traffic()
    images = pair.rotated(images) if turn else images
    for row in images[rng.integers(len(images), size=count)]:
        yield (row + rng.normal(size=64) * noise).astype(np.float32)[None]


def warm(session: hrm.HRMSession) -> None:
    for x in digits(400):
        session.run(x)
    assert session.drain(60) and session.mode == "certified"


def linear(
    weight: np.ndarray, bias: np.ndarray | None = None, source: str = "x", target: str = "scores", softmax: bool = False
) -> bytes:
    """source float32 [N, 64] -> target float32 [N, classes]."""
    classes = weight.shape[1]
    bias = np.zeros(classes) if bias is None else bias
    nodes = [h.make_node("Gemm", [source, "w", "b"], ["sum" if softmax else target])]
    if softmax:
        nodes.append(h.make_node("Softmax", ["sum"], [target]))
    graph = h.make_graph(
        nodes, "linear", [h.make_tensor_value_info(source, T.FLOAT, ["N", len(weight)])],
        [h.make_tensor_value_info(target, T.FLOAT, ["N", classes])],
        [nh.from_array(a.astype(np.float32), n) for n, a in (("w", weight), ("b", bias))],
    )  # fmt: skip
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8).SerializeToString()


# --- calibration on training data


def memorised(inputs: list[np.ndarray]) -> bytes:
    """A cheap model that was trained on inputs, until it answers them as the expensive one does."""
    from sklearn.linear_model import LogisticRegression

    x = np.concatenate(inputs)
    answers = opened(pair.full_model()).run(x)[0].argmax(axis=1)
    fitted = LogisticRegression(C=1e4, max_iter=3000).fit(x, answers)
    return linear(fitted.coef_.T, fitted.intercept_)


def test_inputs_that_memory_learnt_from_certify_nothing() -> None:
    with made() as session:
        requests = list(digits(60))
        for x in requests:
            session.run(x)
        session.drain()
        with pytest.raises(CalibrationError, match="of 60 inputs are among those that memory or scorer"):
            session.calibrate(requests)


@pytest.mark.parametrize("early", [True, False])
def test_inputs_that_a_model_was_trained_on_are_found_by_audits(early: bool) -> None:
    taught = list(digits(200, seed=1, noise=0.3))
    live = digits(2500 if early else 400, seed=2, noise=0.3)
    with (
        made(opened(memorised(taught)), guarantee=hrm.Guarantee(alpha=0.3 if early else 0.01)) as session,
        warnings.catch_warnings(record=True) as told,
    ):
        warnings.simplefilter("always")
        if early:  # there is no traffic yet to hold them against
            found = session.calibrate(taught)
            assert found is not None and (found.wrong, found.n, found.share) == (0, 200, 1.0)
            session._supervisor._met = lambda request: None  # the quick alarm comes before audits know
        for x in live:
            session.run(x)
        session.drain()
        found = session.calibrate(None if early else taught)
        counted = session._parts.store.episodes(roles=("calibrate",), answers=False)
    assert found.n == len(counted) - 200 if found is not None else not early
    (text,) = (str(w.message) for w in told if "left out" in str(w.message) and w.category is CalibrationWarning)
    assert "the models disagree on 0 of 200" in text and "been trained on them" in text


def test_traffic_that_is_harder_than_inputs_that_a_model_was_trained_on_raises_an_alarm() -> None:
    taught = list(digits(200, seed=1, noise=0.3))
    with made(opened(memorised(taught)), guarantee=hrm.Guarantee(alpha=0.3)) as session:
        assert session.calibrate(taught) is not None
        paths = [session.run(x, explain=True)[1].path for x in digits(400, seed=2, noise=0.3)]
        assert "full:guard" in paths and session._supervisor.guard.epoch >= 1


def test_fresh_inputs_are_not_suspected() -> None:
    taught = list(digits(200, seed=1, noise=0.3))
    with made(opened(memorised(taught)), guarantee=hrm.Guarantee(alpha=0.3)) as session:
        for x in digits(300, seed=2, noise=0.3):
            session.run(x)
        session.drain()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = session.calibrate(list(digits(200, seed=3, noise=0.3)))
        assert found is not None and found.n > 200


@pytest.mark.parametrize(("wrong", "n", "others_wrong", "others"), [(0, 200, 20, 100), (3, 50, 5, 80), (9, 9, 0, 60)])
def test_the_chance_is_that_of_fishers_exact_test(wrong: int, n: int, others_wrong: int, others: int) -> None:
    table = [[wrong, n - wrong], [others_wrong, others - others_wrong]]
    expected = fisher_exact(table, alternative="less").pvalue
    assert fewer_by_chance(wrong, n, others_wrong, others) == pytest.approx(expected, rel=1e-9)


def test_losses_that_are_no_counts_are_compared_too() -> None:
    rng = np.random.default_rng(0)
    live = rng.uniform(0.01, 0.1, 100)
    assert not implausible(rng.uniform(0.01, 0.1, 100), live)
    assert "0 of 100" in implausible(rng.uniform(0.0, 0.02, 100), live)
    assert not implausible(np.zeros(20), np.ones(20)), "too few to say"


def test_a_suspicion_is_rare_on_equal_traffic() -> None:
    rng = np.random.default_rng(0)
    draws = (rng.random((2000, 2, 400)) < 0.05).astype(float)
    assert sum(bool(implausible(a, b)) for a, b in draws) <= 2


# --- what voids a certificate


def test_a_changed_model_file_voids_the_certificate_and_the_log_says_which(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = {"fast": tmp_path / "fast.onnx", "full": tmp_path / "full.onnx"}
    files["fast"].write_bytes(pair.fast_model())
    files["full"].write_bytes(pair.full_model())
    memory = hrm.Memory(path=tmp_path / "memory")

    def started() -> hrm.HRMSession:
        return made(str(files["fast"]), str(files["full"]), memory=memory)

    with started() as session:
        warm(session)
    with started() as session:
        assert session.certificate() is not None, "nothing changed"
    for x, (name, model) in zip(
        digits(2, seed=5), (("full", pair.full_model(48)), ("fast", linear(RANDOM))), strict=True
    ):
        files[name].write_bytes(model)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "ronn.hrm"), started() as session:
            assert session.certificate() is None and session.mode == "cold"
            assert session.run(x, explain=True)[1].path == "full:cold-start"
            told = [r.getMessage() for r in caplog.records]
            assert any(f"void: {name} changed" in text and str(memory.path) in text for text in told), told


def test_drift_voids_the_certificate(caplog: pytest.LogCaptureFixture) -> None:
    with made(embed=hrm.FromInput("x"), audit=hrm.Audit(rate=0.1)) as session:
        warm(session)
        with caplog.at_level(logging.WARNING, "ronn.hrm"):
            for x in digits(1500, seed=7, turn=True):
                session.run(x)
                if session.mode == "guard":
                    break
        assert session.mode == "guard" and session.certificate() is None
        assert session.run(next(digits(1, seed=8, turn=True)), explain=True)[1].path == "full:guard"
        assert any("audits say" in r.getMessage() or "more novel" in r.getMessage() for r in caplog.records)


def test_few_calibration_records_certify_nothing_and_say_how_many_are_needed() -> None:
    with made() as session:
        with pytest.warns(CalibrationWarning, match=rf"{LEAST} records are needed at alpha=0.1.*there are {LEAST - 1}"):
            assert session.calibrate(list(digits(LEAST - 1))) is None
        assert session.run(next(digits(1, seed=9)), explain=True)[1].path == "full:cold-start"


# --- models and settings that do not fit


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (linear(RANDOM, source="y"), r"cheap model takes x, and the expensive one y(.|\n)*Prepared"),
        (linear(RANDOM[:32]), r"x: f32\[N,64\] for the cheap model, and x: f32\[N,32\](.|\n)*same requests"),
        (linear(RANDOM[:, :7]), r"'scores' has 10 classes in the cheap model, and 7(.|\n)*same classes"),
        (linear(RANDOM, target="logits"), r"'scores' of the cheap model, and 'logits'(.|\n)*output=\.\.\."),
    ],
    ids=["inputs", "shapes", "classes", "outputs"],
)
@pytest.mark.parametrize("lazy", [False, True])
def test_models_of_other_tasks(model: bytes, words: str, lazy: bool) -> None:
    def run() -> None:
        with made(full=(lambda: opened(model)) if lazy else opened(model)) as session:
            session.run(next(digits(1)))

    with pytest.raises(RoutingError, match=words):
        run()


def _unfit_scorer() -> hrm.HRMSession:
    rng = np.random.default_rng(0)
    groups = [hrm.InputShape()]
    names = tuple(n for g in groups for n in g.names)
    scorer = hrm.LogisticScorer.fit(rng.normal(size=(50, len(names))), names, (rng.random(50) < 0.3).astype(float))
    return made(scorer=scorer)


@pytest.mark.parametrize(
    ("use", "error", "words"),
    [
        (_unfit_scorer, OptionError, "'logistic' was made for the features .*; here they are confidence"),
        (lambda: hrm.Guarantee(alpha=1.0), OptionError, "alpha=1.0 is not between 0 and 1"),
        (lambda: hrm.Guarantee(alpha=0.0), OptionError, "alpha=0.0 is not between 0 and 1"),
        (lambda: made(guarantee=0.01), OptionError, r"guarantee=0.01(.|\n)*Guarantee\(alpha=0.01\)"),
        (lambda: made(memory="folder"), OptionError, r"memory='folder'(.|\n)*Memory\(path="),
        (lambda: made(policy=hrm.Cascade), OptionError, r"the class Cascade(.|\n)*Cascade\(\)"),
        (lambda: made(scorer="best"), OptionError, r"scorer='best'(.|\n)*\"auto\""),
        (lambda: made(gates=hrm.Gate.max_elements(9)), OptionError, r"gates=(.|\n)*\[Gate\(\.\.\.\)\]"),
        (lambda: made(embed=hrm.FromInput("y")), RoutingError, r"FromInput\('y'\): requests hold x"),
        (lambda: pickle.dumps(made()), RoutingError, "cannot be pickled or copied(.|\n)*one in each process"),
        (lambda: copy.deepcopy(made()), RoutingError, "cannot be pickled or copied"),
        (lambda: made().feedback(7, 3), OptionError, r"no request 7 in the log(.|\n)*Decision\.id"),
        (lambda: made().calibrate(np.zeros((9, 64), np.float32)), OptionError, r"not one ndarray(.|\n)*batch\[i : i"),
        (lambda: made().run(next(digits(1)), context="me"), OptionError, r"context=(.|\n)*namespace=lambda"),
        (lambda: made(namespace=lambda c: 3).run(next(digits(1))), OptionError, "namespace gave 3, and must give text"),
        (lambda: made(sleep=True), OptionError, r"sleep=True(.|\n)*Sleep\(auto=True\)"),
        (lambda: made().sleep(strategy="dream"), OptionError, "no strategy 'dream'(.|\n)*memory, adapter, student"),
        (lambda: made(gates=[hrm.Gate.max_tokens("ids", 9)]).run(next(digits(1))), OptionError, "'ids'.*holds x"),
        (lambda: made().forget(), OptionError, "nothing to forget was named"),
    ],
)  # fmt: skip
def test_wrong_uses(use: Callable[[], Any], error: type[RonnError], words: str) -> None:
    with pytest.raises(error, match=words):
        use()


def test_a_closed_session_does_nothing_more() -> None:
    session = made()
    session.close()
    for use in (lambda: session.run(next(digits(1))), session.calibrate, session.advise, lambda: session.forget("x")):
        with pytest.raises(RonnError, match="the session is closed"):
            use()


def test_one_folder_serves_one_session_and_has_to_be_a_folder(tmp_path: Path) -> None:
    memory = hrm.Memory(path=tmp_path / "memory")
    with made(memory=memory), pytest.raises(StateError, match=r"in use by another session(.|\n)*one session at a time"):
        made(memory=memory)
    with made(memory=memory):
        pass
    (tmp_path / "file").write_text("not a folder")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StateError, match=r"memory folder .*file(.|\n)*name a folder that this user may write to"):
            made(memory=hrm.Memory(path=path))


def test_a_snapshot_of_other_models_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    with made(memory=hrm.Memory(path=tmp_path / "memory")) as session:
        warm(session)
        session.snapshot(tmp_path / "snapshot")
        with pytest.raises(StateError, match="is there already"):
            session.snapshot(tmp_path / "snapshot")
    with made(full=opened(pair.full_model(48))) as session:
        requests = list(digits(20))
        for x in requests:
            session.run(x)
        for folder, words in ((tmp_path / "snapshot", "full differ"), (tmp_path / "nothing", "holds no memory")):
            with pytest.raises(StateError, match=words):
                session.restore(folder)
        assert session.run(requests[0], explain=True)[1].path == "cache"


def test_features_of_inputs_that_are_not_kept_certify_as_they_decide() -> None:
    groups = [hrm.Confidence(), hrm.InputShape()]
    names = [n for g in groups for n in g.names]
    scorer = hrm.LogisticScorer(("variance",), (names.index("variance"),), [1.0], [0.0], [1e9], 0.0)
    with made(groups=groups, scorer=scorer, guarantee=hrm.Guarantee(alpha=0.05)) as session:
        for x in digits(1500, noise=0.3):
            session.run(x)
        assert session.drain(60)
        found = session.calibrate()
        assert found is not None and 0.05 < found.share < 1.0 and found.lam < 1e6
        fast = [session.run(x, explain=True)[1].answered_by == "fast" for x in digits(600, seed=1, noise=0.3)]
        assert np.mean(fast) == pytest.approx(found.share, abs=0.1)


# --- what only the first answers show


def _told(caplog: pytest.LogCaptureFixture, fast: Any, full: Any, **options: Any) -> str:
    with caplog.at_level(logging.WARNING, "ronn.hrm"), made(fast, full, **options) as session:
        for x in digits(5):
            session.run(x)
        session.drain()
    return "\n".join(r.getMessage() for r in caplog.records)


class Silent:
    """A model that does not declare what it gives."""

    def __init__(self, classes: int) -> None:
        self.fingerprint = f"silent {classes}"
        self._classes = classes

    def run(self, inputs: Any = None, **options: Any) -> dict[str, np.ndarray]:
        return {"scores": inputs["x"][:, : self._classes]}


def test_answers_that_can_never_agree_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    told = _told(caplog, None, Silent(7))
    assert told.count("never agree") == 1 and "[1, 10]" in told and "[1, 7]" in told


def test_probabilities_taken_for_logits_are_told(caplog: pytest.LogCaptureFixture) -> None:
    fast, full = opened(linear(RANDOM, softmax=True)), opened(linear(-RANDOM, softmax=True))
    assert "Classification(probabilities=True)" in _told(caplog, fast, full)
    caplog.clear()
    assert not _told(caplog, fast, full, task=hrm.Classification(probabilities=True))


def test_no_audits_are_told(caplog: pytest.LogCaptureFixture) -> None:
    assert "rate=0" in _told(caplog, None, None, audit=hrm.Audit(rate=0.0))
