"""The router ``hrm``: a configuration, or a file alone, puts a cheap model in front of an expensive one."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import numpy as np
import onnx
import pair
import pytest

import ronn
import ronn_hrm as hrm
from ronn.errors import ModelError, OptionError
from ronn.frontend.proto import save_model
from ronn_hrm.config import KEYS
from ronn_hrm.errors import RoutingError

SMALL = 'fast = "models/small.onnx"\n'


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "small.onnx").write_bytes(pair.fast_model())
    (tmp_path / "large.onnx").write_bytes(pair.full_model())
    return tmp_path


def opened(folder, text: str):
    (folder / "deploy.toml").write_text(text, encoding="utf-8")
    return ronn.load(folder / "large.onnx").create_session(folder / "deploy.toml")


def test_every_argument_of_a_session_can_be_configured():
    arguments = set(inspect.signature(hrm.HRMSession).parameters) - {"fast", "full"}
    assert arguments - set(KEYS) == set()
    assert all(KEYS.values())


def test_a_file_alone_switches_routing_on(folder, monkeypatch):
    monkeypatch.chdir("/")
    text = """
    threads = 1
    [router.hrm]
    fast = "models/small.onnx"
    alpha = 0.3
    audit = 0.5
    memory = "state"
    task = {kind = "classification", output = "scores"}
    embed = {input = "x"}
    """
    x, _ = pair.traffic()
    with opened(folder, text) as session:
        assert isinstance(session, hrm.HRMSession) and session.mode == "cold"
        for row in x[:150]:
            outputs, why = session.run({"x": row[None]}, explain=True)
        assert list(outputs.keys()) == ["scores"] and why.role in ("", "train", "fit", "calibrate", "gate")
        session.drain()
        certificate = session.calibrate()
        assert certificate is not None and certificate.alpha == 0.3
    assert (folder / "state" / "memory.sqlite").is_file()
    with opened(folder, text) as again:
        _, why = again.run({"x": x[0][None]}, explain=True)
        assert why.id > 150  # it went on


def test_every_setting_arrives(folder):
    text = """
    [router.hrm]
    fast = {model = "models/small.onnx", providers = ["reference"], options = {threads = 1}}
    guarantee = {alpha = 0.02, delta = 0.05, kind = "crc"}
    audit = {rate = 0.1, mode = "inline", max_rate = 0.2}
    memory = {exact_mb = 1, episodes = 77}
    policy = {kind = "static-threshold", confidence = 0.8}
    embed = "scores"
    scorer = "margin"
    on_drift = "tell"
    max_elements = 1000
    max_tokens = {input = "x", most = 60}
    escalations = {most = 5, seconds = 30}
    """
    with opened(folder, text) as session:
        parts = session._parts
        assert parts.guarantee == hrm.Guarantee(0.02, 0.05, "crc")
        assert (parts.audit.rate, parts.audit.mode, parts.audit.max_rate) == (0.1, "inline", 0.2)
        assert (parts.memory.exact_mb, parts.memory.episodes, parts.memory.path) == (1, 77, None)
        assert parts.policy == hrm.StaticThreshold(0.8) and session.state.scorer.kind == "margin"
        assert [g.name for g in parts.gates] == ["max_tokens", "max_elements"]
        assert (parts.escalations.most, parts.escalations.seconds) == (5, 30)
        _, why = session.run({"x": np.ones((1, 64), np.float32)}, explain=True)
        assert why.path == "full:gate(max_tokens)"


@pytest.mark.parametrize(
    ("task", "made"),
    [
        ('"classification"', hrm.Classification()),
        ('{kind = "regression", tolerance = 0.5}', hrm.Regression(0.5)),
        ('{kind = "token-labels", output = "scores", strict = true}', hrm.TokenLabels("scores", strict=True)),
    ],
)
def test_tasks(folder, task, made):
    with opened(folder, f'[router.hrm]\nfast = "models/small.onnx"\ntask = {task}') as session:
        assert session._parts.task == made


def test_programs_may_give_objects(folder):
    custom = hrm.Custom(lambda a, b: 0.0, "never wrong")
    config = {
        "fast": ronn.Session(pair.fast_model()), "task": custom, "namespace": lambda c: c, "audit": hrm.Audit(0.01),
        "gates": [hrm.Gate.max_elements(3)], "memory": hrm.Memory(episodes=5), "guarantee": hrm.Guarantee(0.3),
        "embed": hrm.FromInput("x"), "policy": hrm.AlwaysFull(),
    }  # fmt: skip
    with ronn.load(pair.full_model()).create_session(router=("hrm", config)) as session:
        assert session._parts.task is custom and session._parts.guarantee.alpha == 0.3
        _, why = session.run(np.ones((1, 64), np.float32), explain=True, context="me")
        assert why.path == "full:gate(max_elements)"


def test_an_expensive_model_that_is_opened_when_it_is_needed(folder):
    session = opened(folder, '[router.hrm]\nfast = "models/small.onnx"\nlazy = true\npolicy = "always-fast"')
    assert not session._parts.full.is_open
    session.run(np.ones((1, 64), np.float32), outputs=["scores"])
    session.close()


def test_an_early_exit_by_file(folder):
    x, _ = pair.traffic()
    early = hrm.EarlyExit(pair.full_model(), "hidden").fit([{"x": row[None]} for row in x[:100]])
    save_model(early.head.ir, folder / "models" / "head.onnx")
    with opened(folder, '[router.hrm]\nexit = "hidden"\nhead = "models/head.onnx"') as session:
        outputs = session.run({"x": x[200][None]})
        assert outputs["scores"].tobytes() == early.full.run({"x": x[200][None]})["scores"].tobytes()


def test_sessions_made_for_it_are_closed_with_it(folder):
    session = opened(folder, '[router.hrm]\nfast = "models/small.onnx"')
    fast, full = session._owned
    session.close()
    for one in (fast, full):
        with pytest.raises(ronn.RonnError, match="closed"):
            one.run(np.ones((1, 64), np.float32))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", r"deploy\.toml: router.hrm names no cheap model\nhint: one of: fast = .*from_model"),
        ('fast = "a.onnx"\nexit = "h"', "names both fast and exit"),
        (SMALL + 'alhpa = 0.1', r"deploy\.toml: router.hrm has no key 'alhpa'\n.*'alpha'"),
        (SMALL + 'alpha = 7', r"router.hrm\.guarantee: alpha=7 is not between"),
        (SMALL + 'alpha = 0.1\nguarantee = {delta = 0.1}', "there is alpha beside it"),
        (SMALL + 'policy = "casade"', r"router.hrm\.policy\.kind='casade'.*\n.*'cascade'"),
        (SMALL + 'policy = {kind = "budgeted", fll = 1}', r"router.hrm\.policy has no key 'fll'"),
        (SMALL + 'memory = {episods = 1}', r"router.hrm\.memory has no key 'episods'\n.*'episodes'"),
        (SMALL + 'audit = 3', r"router.hrm\.audit: rate=3"),
        (SMALL + 'task = "regression"', r"router.hrm\.task: tolerance is missing"),
        (SMALL + 'scorer = "marign"', r"router.hrm\.scorer='marign'.*\n.*'margin'"),
        (SMALL + 'max_tokens = 3', r"router.hrm\.max_tokens=3"),
        (SMALL + 'lazy = 1', r"router.hrm\.lazy=1 is not a switch"),
        (SMALL + 'head = "h.onnx"', r"router.hrm\.head is of an early exit"),
        ('fast = {modl = "models/small.onnx"}', r"router.hrm\.fast has no key 'modl'"),
        ('fast = {model = "models/small.onnx", options = {thread = 1}}', r"router.hrm\.fast: there is no"),
        ('exit = "hidden"', r"router.hrm\.head is missing"),
        ('exit = "hiden"\nhead = "models/small.onnx"', r"router.hrm\.exit: .* no value 'hiden'.*\n.*'hidden'"),
        (SMALL + 'on_drift = "stop"', "on_drift='stop'"),
    ],
)  # fmt: skip
def test_mistakes_name_file_and_key(folder, lines, said):
    with pytest.raises(OptionError, match=said.replace("router.hrm", r"router\.hrm")):
        opened(folder, f"[router.hrm]\n{lines}")


def test_models_that_are_not_there_or_do_not_fit(folder):
    with pytest.raises(ModelError, match=r"models/smal\.onnx"):
        opened(folder, '[router.hrm]\nfast = "models/smal.onnx"')
    model = onnx.load_from_string(pair.fast_model())
    model.graph.output[0].name = model.graph.node[-1].output[0] = "other"
    onnx.save(model, folder / "models" / "small.onnx")
    with pytest.raises(RoutingError, match="no output 'scores'"):
        opened(folder, '[router.hrm]\nfast = "models/small.onnx"\ntask = {kind = "classification", output = "scores"}')


def test_the_command_line_routes(folder):
    (folder / "deploy.toml").write_text('[router.hrm]\nfast = "models/small.onnx"\n', encoding="utf-8")
    command = [sys.executable, "-m", "ronn", "run", "large.onnx", "--options", "deploy.toml", "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    data = json.loads(done.stdout)
    assert data["router"].startswith("HRMSession(mode='cold'") and data["outputs"]["scores"]["shape"] == [1, 10]


def test_finding_the_plugin_imports_nothing_of_it():
    code = "import sys, ronn_hrm.plugin; print([m for m in sys.modules if m.startswith('ronn_hrm.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['ronn_hrm._version', 'ronn_hrm.plugin']"


def test_sleep_is_a_switch_or_a_table_with_a_table_of_the_student(tmp_path):
    (tmp_path / "fast.onnx").write_bytes(pair.fast_model())
    model = ronn.Model.load(pair.full_model())
    for given, auto, hidden in (
        (True, True, (64,)),
        ({"idle_s": 5.0, "student": {"hidden": [32, 16]}}, False, (32, 16)),
        ({"student": False}, False, None),
    ):
        config = {"fast": str(tmp_path / "fast.onnx"), "sleep": given}
        with model.create_session(router=("hrm", config)) as session:
            found = session._learner._sleep
            assert found.auto == auto and (None if found.student is None else found.student.hidden) == hidden
    with pytest.raises(OptionError, match="sleep"):
        model.create_session(router=("hrm", {"fast": str(tmp_path / "fast.onnx"), "sleep": {"idel_s": 1}}))
