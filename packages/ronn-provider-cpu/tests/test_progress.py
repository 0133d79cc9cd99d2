"""The progress bar of the first compilation."""

from __future__ import annotations

import io
import logging
import time
from types import SimpleNamespace

import pytest

from ronn_provider_cpu import progress
from ronn_provider_cpu.progress import compile_progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    made = Terminal()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=made))
    return made


def test_what_is_quick_is_not_told(terminal):
    with compile_progress() as told:
        told(0, 2, "a")
        told(2, 2, "b")
    assert terminal.getvalue() == ""


def test_what_takes_long_shows_a_bar_before_the_first_module_is_done(terminal, monkeypatch):
    monkeypatch.setattr(progress, "_PATIENCE", 0.05)
    with compile_progress() as told:
        told(0, 4, "a")
        time.sleep(0.2)
        assert terminal.getvalue().endswith("[............................] 0/4 ")
        told(2, 4, "b")
        assert terminal.getvalue().endswith("[##############..............] 2/4 ")
    assert terminal.getvalue().endswith("ronn: kernels compiled in 0 s\n")


def test_a_failure_ends_the_bar(terminal, monkeypatch):
    monkeypatch.setattr(progress, "_PATIENCE", 0.02)
    with pytest.raises(ValueError), compile_progress() as told:
        told(0, 1, "a")
        time.sleep(0.1)
        raise ValueError
    assert terminal.getvalue().endswith("s\n")


def test_without_a_terminal_one_line_goes_to_the_log(monkeypatch, caplog):
    plain = io.StringIO()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=plain))
    with caplog.at_level(logging.INFO, "ronn"), compile_progress() as told:
        told(0, 3, "a")
        told(1, 3, "b")
    assert [r.getMessage() for r in caplog.records] == ["compiling 3 kernels or kernel modules, once for this machine"]
    assert plain.getvalue() == ""
