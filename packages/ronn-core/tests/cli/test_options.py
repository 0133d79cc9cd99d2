"""``--option NAME=VALUE`` and ``--sha256``: every option of a session from the command line."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ronn.cli.common import parse_options, session_options
from ronn.errors import OptionError
from ronn.options import SessionOptions


@pytest.mark.parametrize(
    ("given", "options"),
    [
        (["threads=2", "deterministic=true"], {"threads": 2, "deterministic": True}),
        (["memory_limit=512MB", "max_tensor_bytes=1GiB"], {"memory_limit": 512_000_000, "max_tensor_bytes": 1 << 30}),
        (["memory_limit=none", "deterministic=0"], {}),
        (["optimization=basic", "max_nodes=7"], {"optimization": "basic", "max_nodes": 7}),
        (None, {}),
    ],
)
def test_values_are_read_by_the_kind_of_the_option(given, options):
    assert SessionOptions(**parse_options(given)) == SessionOptions(**options)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("thread=2", "did you mean 'threads'"),
        ("threads", "is not NAME=VALUE"),
        ("deterministic=maybe", "true or false"),
        ("providers=cpu", "use --provider"),
        ("dimensions=N:2", "use --dim"),
        ("disabled_passes=a", "use --disable-pass"),
    ],
)
def test_what_cannot_be(given, text):
    with pytest.raises(OptionError, match=text):
        parse_options([given])


@pytest.mark.parametrize("command", ["run", "check", "inspect", "explain"])
def test_limits_hold_on_every_command(ronn, classifier, command):
    result = ronn(command, classifier, "--option", "max_nodes=1")
    assert result.code == 1 and "max_nodes is 1" in result.err
    assert ronn(command, classifier, "--option", "max_nodes=1000", "--option", "threads=1").code == 0


def test_a_slip_is_told(ronn, classifier):
    result = ronn("run", classifier, "--option", "memory_limt=1MB")
    assert result.code == 1 and "did you mean 'memory_limit'?" in result.err
    result = ronn("run", classifier, "--option", "threads=many")
    assert result.code == 1 and "threads='many'" in result.err


def test_a_pinned_file(ronn, classifier):
    pin = hashlib.sha256(Path(classifier).read_bytes()).hexdigest()
    assert ronn("run", classifier, "--sha256", pin).code == 0
    result = ronn("run", classifier, "--sha256", "0" * 64)
    assert result.code == 1 and pin in result.err


def test_a_file_of_options_and_what_goes_before_it(ronn, classifier, tmp_path):
    (tmp_path / "deploy.toml").write_text('max_nodes = 1\nthreads = 1\n', encoding="utf-8")
    result = ronn("run", classifier, "--options", tmp_path / "deploy.toml")
    assert result.code == 1 and "max_nodes is 1" in result.err
    assert ronn("run", classifier, "--options", tmp_path / "deploy.toml", "--option", "max_nodes=1000").code == 0
    (tmp_path / "deploy.toml").write_text("thread = 1", encoding="utf-8")
    result = ronn("run", classifier, "--options", tmp_path / "deploy.toml")
    assert result.code == 1 and "deploy.toml" in result.err and "did you mean 'threads'?" in result.err


def test_the_command_line_is_added_to_the_file(tmp_path):
    path = tmp_path / "deploy.toml"
    path.write_text('optimization = "basic"\ndisabled_passes = ["a"]\ndimensions = {N = 1, M = 2}\n', encoding="utf-8")
    found = session_options(None, ["b"], ["N=3"], ["threads=2"], path)
    assert found == SessionOptions(
        optimization="basic", disabled_passes=["a", "b"], dimensions={"N": 3, "M": 2}, threads=2
    )
    assert session_options("none", None, None, None, path).optimization == "none"
    assert session_options("none", None, None, ["optimization=full"]).optimization == "full"


@pytest.fixture
def echo():
    """A router that makes a session and counts its runs."""
    import ronn
    from ronn.plugins import registry

    class Echo:
        def __init__(self, model, options, config):
            self.session, self.name, self.runs = model.create_session(options), config.get("name"), 0
            self.inputs, self.outputs = self.session.inputs, self.session.outputs

        def run(self, inputs=None, *, outputs=None):
            self.runs += 1
            return self.session.run(inputs, outputs=outputs)

        def close(self):
            self.session.close()

        def __repr__(self):
            return f"Echo {self.name}, {self.runs} runs"

    class Plugin:
        @ronn.hookimpl
        def ronn_routers(self):
            return {"echo": Echo}

    plugin = Plugin()
    registry().manager.register(plugin)
    yield
    registry().manager.unregister(plugin)


def test_run_goes_through_a_router(ronn, classifier, tmp_path, echo):
    path = tmp_path / "deploy.toml"
    path.write_text('providers = "reference"\n[router.echo]\nname = "A"\n', encoding="utf-8")
    result = ronn("run", classifier, "--options", path, "--repeat", 2)
    assert result.code == 0 and "answered by: Echo A, 3 runs" in result.out and "ran on" not in result.out
    data = ronn("run", classifier, "--option", "router=echo", "--json").data
    assert data["router"] == "Echo None, 1 runs" and data["placement"] == {}
    assert data["outputs"]["scores"]["shape"] == [1, 12]
    assert ronn("run", classifier, "--json").data["router"] is None
    result = ronn("run", classifier, "--options", path, "--trace", "r")
    assert result.code == 1 and "--trace looks into one model" in result.err
    result = ronn("explain", classifier, "--option", "router=echo")
    assert result.code == 1 and "name the router 'echo'" in result.err
