"""Compiled programs on disk: found again, made again where they are damaged, closed to others."""

import os
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest
from npu_runs import one_node
from typer.testing import CliRunner

import ronn
from ronn.cli.app import make_app
from ronn.errors import ProviderError
from ronn.plugins import registry
from ronn_codegen.clike.kernel import Template
from ronn_provider_npu import discovery
from ronn_provider_npu.cache import ProgramCache, cached_files, problem, read
from ronn_provider_npu.launcher import OpenCLLauncher, told

BODY = "        y[item] = x[item] * {factor}.0f;"


def kernel(factor):
    return Template("twice(x: f32*, y: f32*, n)", BODY.format(factor=factor), "n")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RONN_CACHE_DIR", str(tmp_path))
    return tmp_path


def launcher():
    return OpenCLLauncher(discovery.usable()[0].device)


def built(on, *factors):
    """Builds kernels, has them run once, and returns their entries."""
    kernels = {f"twice_{f}": kernel(f) for f in factors}
    sources = {name: k.source(name, on.target) for name, k in kernels.items()}
    entries = on.build(sources, {name: k.params for name, k in kernels.items()})
    on.keep(entries)
    return entries


def files(folder):
    return sorted(folder.glob("opencl/*/*.bin"))


def test_programs_are_found_again(folder):
    first = launcher()
    built(first, 2, 3)
    assert first.compiles == 2
    assert len(files(folder)) == 1
    second = launcher()
    built(second, 3)
    assert second.compiles == 0
    built(second, 3, 5)
    assert second.compiles == 1
    third = launcher()
    built(third, 5, 2)
    assert third.compiles == 0
    other = launcher()
    other.cache = ProgramCache("another driver")
    built(other, 2)
    assert other.compiles == 1


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "foreign"])
def test_a_damaged_file_is_told_and_made_again(folder, how):
    built(launcher(), 2)
    (path,) = files(folder)
    sound = path.read_bytes()
    assert problem(path) == ""
    damaged = {"cut": sound[:-1], "flipped": sound[:-1] + bytes([sound[-1] ^ 1]), "empty": b"",
               "foreign": b"x" * len(sound)}[how]  # fmt: skip
    path.write_bytes(damaged)
    assert problem(path)
    again = launcher()
    built(again, 2)
    assert again.compiles == 1
    assert [problem(p) for p in files(folder)] == [""]


def test_what_the_driver_refuses_is_deleted_and_made_again(folder):
    on = launcher()
    built(on, 2)
    (path,) = files(folder)
    packed = on.cache.packs()[0]
    on.cache.store(packed.kernels, b"no program of any driver")
    again = launcher()
    built(again, 2)
    assert again.compiles == 1
    assert read(path) != b"no program of any driver"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files of this system have no such modes")
def test_the_folder_is_the_user_s_alone(folder):
    built(launcher(), 2)
    (path,) = files(folder)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.parent.chmod(0o777)
    built(launcher(), 2)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("RONN_CACHE_DIR", str(blocked))
    on = launcher()
    assert set(built(on, 2)) == {"twice_2"}


def test_several_processes_fill_it_at_once(folder):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_cache as t; from pathlib import Path; "
        "t.built(t.launcher(), 2, 3)"
    )
    here = os.path.dirname(__file__)
    running = [subprocess.Popen([sys.executable, "-c", code, here]) for _ in range(2)]
    assert [p.wait(60) for p in running] == [0, 0]
    assert [problem(p) for p in files(folder)] == [""]
    assert not list(folder.glob("opencl/*/.*.bin.*"))


def test_threads_build_each_kernel_once(folder):
    on = launcher()
    running = [threading.Thread(target=built, args=(on, 2, 3)) for _ in range(4)]
    for t in running:
        t.start()
    for t in running:
        t.join()
    assert on.compiles == 2


def test_the_command_line_knows_the_files(folder):
    registry()
    built(launcher(), 2)
    assert [f.path for f in cached_files(discovery.known())] == files(folder)
    assert cached_files(discovery.known())[0].current
    run = CliRunner().invoke(make_app(), ["cache", "ls"], env={"COLUMNS": "300"})
    assert "pthread" in run.output or discovery.usable()[0].title in run.output
    files(folder)[0].write_bytes(b"")
    assert CliRunner().invoke(make_app(), ["cache", "verify"]).exit_code == 1
    assert CliRunner().invoke(make_app(), ["cache", "clear"]).exit_code == 0
    assert not files(folder)


def test_what_does_not_compile_is_named_with_its_lines(folder):
    on = launcher()
    wrong = Template("wrong(x: f32*, n)", "        x[item] = nothing_of_that_name;", "n")
    good = kernel(2)
    sources = {"good_one": good.source("good_one", on.target), "wrong_one": wrong.source("wrong_one", on.target)}
    with pytest.raises(ProviderError) as e:
        on.build(sources, {"good_one": good.params, "wrong_one": wrong.params})
    assert "cannot compile kernel 'wrong_one'" in str(e.value)
    assert "x[item] = nothing_of_that_name;" in str(e.value)


def test_logs_are_cut_to_what_they_mean():
    text = "a\nb\nc"
    assert told(text, "/tmp/x.cl:2:5: error: no b") == "      2 | b\n  /tmp/x.cl:2:5: error: no b"
    assert "the whole log" in told(text, "the whole log")


def test_sources_are_told(folder, monkeypatch, capsys):
    monkeypatch.setenv("RONN_DEBUG", "4")
    model, given = one_node("Relu", [np.array([-1, 2], np.float32)])
    ronn.Session(model, providers=["npu"]).run(given)
    assert "KERNEL void" in capsys.readouterr().err
