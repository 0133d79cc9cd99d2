"""``--option NAME=VALUE`` and ``--sha256``: every option of a session from the command line."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ronn.cli.common import parse_options
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
