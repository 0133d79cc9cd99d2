"""``ronn hrm``: what the commands print, write, refuse, and their exit codes."""

from __future__ import annotations

import json
import math
import time
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import folders
import numpy as np
import pair
import pytest
from typer.testing import CliRunner

import ronn_hrm as hrm
from ronn.cli.app import make_app
from ronn.errors import OptionError
from ronn.plugins import Registry
from ronn_hrm import plugin
from ronn_hrm.advise import measure
from ronn_hrm.cli import COMMANDS
from ronn_hrm.errors import StateError
from ronn_hrm.kept import Kept

REQUESTS = 700


def ronn(*arguments):
    app = make_app(plugins=False)
    plugin.ronn_cli(app=app)
    return CliRunner().invoke(app, ["hrm", *map(str, arguments)])


def ronn_json(*arguments, code=0):
    found = ronn(*arguments, "--json")
    assert found.exit_code == code, found.output
    return json.loads(found.stdout)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The two models and requests, as files."""
    home = tmp_path_factory.mktemp("files")
    (home / "small.onnx").write_bytes(pair.fast_model())
    (home / "large.onnx").write_bytes(pair.full_model())
    np.savez(home / "requests.npz", x=np.concatenate(list(folders.stream(REQUESTS))))
    return SimpleNamespace(home=home, models=(home / "small.onnx", home / "large.onnx"), data=home / "requests.npz")


@pytest.fixture(scope="module")
def calibrated(files):
    """What ``calibrate`` printed as JSON, and the folder that it made."""
    with pytest.MonkeyPatch.context() as patch:
        folders.known_coin(patch)
        folder = files.home / "state"
        options = ("--data", files.data, "--alpha", folders.ALPHA, "--embed", "x", "--audit", "0.08", "-p", "cpu")
        return ronn_json("calibrate", *files.models, folder, *options), folder


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        folders.known_coin(patch)
        folders.served(folder)
    return folder


def test_calibrate_makes_a_folder_that_sessions_go_on_with(calibrated, tmp_path, monkeypatch):
    found, made = calibrated
    folder = tmp_path / "state"
    ronn("snapshot", made, folder)
    assert sum(found["records"].values()) == REQUESTS and found["records"]["calibrate"] > REQUESTS * 0.4
    assert found["certificate"]["alpha"] == folders.ALPHA and found["certificate"]["bound"] <= folders.ALPHA
    assert found["certificate"]["n"] == found["records"]["calibrate"]
    folders.known_coin(monkeypatch)
    with folders.session(folder, audit=hrm.Audit(rate=0.08)) as session:
        assert session.mode == "certified"
        assert session.certificate().lam == found["certificate"]["lam"]
        paths = {d.answered_by for d in folders.serve(session, folders.stream(40, seed=9))}
        assert "fast" in paths


def test_nothing_certified_is_told_with_exit_code_4(files, tmp_path):
    found = ronn("calibrate", *files.models, tmp_path / "state", "--data", files.data, "--alpha", "0.001")
    assert found.exit_code == 4 and "2302 records are needed at alpha=0.001" in found.stdout
    assert ronn("certificate", tmp_path / "state").exit_code == 4
    told = ronn_json("certificate", tmp_path / "state", code=4)
    assert told["certificate"] is None and told["phase"] == "cold" and "are needed" in told["reason"]


def test_advise_says_what_would_have_to_change(files, monkeypatch):
    monkeypatch.setattr("ronn_hrm.advise.measure", lambda *given, budget: measure(*given, budget=0.1))
    found = ronn("advise", *files.models, "--data", files.data, "--share", "0.7")
    assert found.exit_code == 0 and "do not cascade: " in found.stdout and "it would pay with" in found.stdout
    data = ronn_json("advise", *files.models, "--data", files.data, "--alpha", "0.05", "--audit", "0.02")
    assert data["pays"] is False and data["certified"] and 0.2 < data["share"] < 1 and data["audit"] == 0.02
    assert data["costs"]["runs"] >= 5 and data["costs"]["router"] > 0 and data["memory"] > 2600


def test_certificate_is_text_json_and_a_file(calibrated, tmp_path):
    made, folder = calibrated
    text = ronn("certificate", folder).stdout
    assert "At most 0.05 of all traffic" in text and "A1: calibration records" in text
    assert ronn_json("certificate", folder)["certificate"]["fingerprints"] == made["certificate"]["fingerprints"]
    ronn("certificate", folder, "-o", tmp_path / "certificate.json")
    assert hrm.Certificate.load(tmp_path / "certificate.json").n == made["certificate"]["n"]
    again = ronn("certificate", folder, "-o", tmp_path / "certificate.json")
    assert isinstance(again.exception, OptionError) and "is there already" in str(again.exception)


def test_replay_of_a_log(served):
    found = ronn("replay", served)
    assert found.exit_code == 0 and "always the expensive model" in found.stdout
    assert "1500 requests" in found.stdout and "replay bit-equal from their states" in found.stdout
    data = ronn_json("replay", served / "memory.sqlite", "--policy", "always-fast", "--alpha", "0.1", "--limit", "1000")
    assert [p["requests"] for p in data["policies"]] == [1000, 1000]
    assert data["policies"][1]["alpha"] == 0.1 and data["check"]["equal"] == data["check"]["scored"] > 500
    assert ronn_json("replay", served, "--policy", "size")["left_out"][0]["policy"] == "size"
    assert ronn_json("replay", served, "--policy", "current", "--no-cache")["policies"][0]["cache"] == 0


def test_replay_without_a_log_takes_the_records(files, tmp_path):
    folder = tmp_path / "state"
    found = ronn_json("calibrate", *files.models, folder, "--data", files.data, "--alpha", "0.1")
    data = ronn_json("replay", folder, "--policy", "always-fast")
    assert data["policies"][0]["audited"] == found["records"]["calibrate"] + found["records"]["gate"]
    assert 0.02 < data["policies"][0]["risk"] < 0.15 and data["check"]["logged"] == 0


def test_a_log_that_does_not_replay_has_exit_code_4(served, tmp_path):
    assert ronn("snapshot", served, tmp_path / "copy").exit_code == 0
    with hrm.EpisodicStore(tmp_path / "copy") as store:
        decision = next(e.decision for e in store.logged() if e.decision.score is not None)
        number = decision.id
        store._do(lambda d: d.connection.execute("UPDATE requests SET score = score + 1 WHERE id = ?", (number,)))
    data = ronn_json("replay", tmp_path / "copy", code=4)
    assert data["check"]["differ"] == [number]


def test_report_writes_a_page(served, tmp_path):
    page = tmp_path / "page.html"
    assert ronn("report", served, "-o", page).exit_code == 0
    assert "Content-Security-Policy" in page.read_text()
    assert isinstance(ronn("report", served, "-o", page).exception, OptionError)
    data = ronn_json("report", served, "-o", page, "--overwrite")
    assert data["logged"] == 1500 and data["curve"]["points"]
    assert "no folder" in str(ronn("report", served, "-o", tmp_path / "no" / "page.html").exception)


def test_sleep_learns_from_what_is_kept(files, calibrated, tmp_path):
    _, folder = calibrated
    ronn("snapshot", folder, tmp_path / "state")
    found = ronn_json("sleep", tmp_path / "state", "--strategy", "adapter", "-p", "cpu")
    assert isinstance(found["promoted"], bool) and found["why"]
    with Kept(tmp_path / "state") as kept:
        assert (kept.needed_state().correction is not None) == (found["promoted"] and found["kind"] == "adapter")
    wrong = ronn("sleep", tmp_path / "state", "--full", files.models[0], "-p", "cpu")
    assert isinstance(wrong.exception, OptionError) and "is not the full model that" in str(wrong.exception)
    with Kept(tmp_path / "state") as kept:
        assert kept.certificate is not None  # nothing was voided by the attempt


def test_sleep_says_what_it_cannot_know(served):
    found = ronn("sleep", served)  # its models were no files
    assert isinstance(found.exception, OptionError) and "--fast FILE" in str(found.exception)


def test_snapshot_forget_and_restore(calibrated, tmp_path):
    _, folder = calibrated
    state, copy = tmp_path / "state", tmp_path / "copy"
    assert ronn_json("snapshot", folder, state)["episodes"] >= REQUESTS
    assert isinstance(ronn("snapshot", folder, state).exception, StateError)
    ronn("snapshot", state, copy)
    assert ronn_json("forget", state, "--before", "1d") == {"episodes": 0, "states": [], "voided": False}
    with Kept(state) as kept:
        before = kept.store.count()
        train = kept.store.episodes(roles=("train",))
        assert kept.needed_state().neighbours is not None and kept.certificate is not None
        digest = train.digest[0]
        same = sum(d == digest for d in kept.store.episodes().digest)
    found = ronn_json("forget", state, "--digest", digest.hex())
    assert found["voided"] and found["states"] and found["episodes"] >= same
    with Kept(state) as kept:
        assert kept.store.count() == before - same and kept.certificate is None
        assert kept.needed_state().neighbours is None and math.isinf(kept.needed_state().lam)
        assert kept.phase == "cold"
        assert not set(found["states"]) & set(kept.archive.ids())
    assert ronn("restore", copy, state).exit_code == 0
    with Kept(state) as kept:
        assert kept.store.count() == before and kept.certificate is not None and kept.phase == "certified"
    assert ronn_json("forget", state, "--before", time.strftime("%Y-%m-%d", time.gmtime(time.time() + 2e5)))["voided"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--digest", "xyz"), "is not the digest of an input"),
        (("--before", "soon"), "is neither an age nor a date"),
        ((), "nothing to forget was named"),
    ],
)
def test_what_is_not_to_be_forgotten_is_refused(served, arguments, words):
    assert words in str(ronn("forget", served, *arguments).exception)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--task", "guess"), "there is no task 'guess'"),
        (("--task", "regression"), "has no tolerance"),
        (("--task", "token-labels=2"), "takes no value"),
        (("--output", "nothing"), "no output 'nothing'"),
        (("--kind", "hope"), "no guarantee of kind 'hope'"),
    ],
)
def test_wrong_settings_are_refused(files, tmp_path, options, words):
    found = ronn("calibrate", *files.models, tmp_path / "state", "--data", files.data, *options)
    assert words in str(found.exception)


def test_a_folder_without_memory_is_refused(tmp_path):
    for command in (("certificate",), ("replay",), ("sleep",), ("report", "-o", tmp_path / "page.html")):
        found = ronn(command[0], tmp_path, *command[1:])
        assert isinstance(found.exception, StateError) and "holds no memory" in str(found.exception), command
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples_and_json(command):
    found = ronn(command, "--help")
    assert found.exit_code == 0 and f"ronn hrm {command}" in found.stdout and "--json" in found.stdout
    assert ronn(command).exit_code == 2  # what it needs is missing


def test_the_commands_come_with_the_package():
    found = Registry([EntryPoint("hrm", "ronn_hrm.plugin", "ronn")])
    assert [r.reason for r in found.records] == [""]
    app = make_app(plugins=False)
    found.manager.hook.ronn_cli(app=app)
    assert "hrm" in [g.name for g in app.registered_groups]
