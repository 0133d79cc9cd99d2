"""The commands about the installation: doctor, providers, passes, new-provider; the application itself."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest
import typer

from ronn._version import __version__
from ronn.cli.app import COMMANDS
from ronn.plugins import Registry, registry


def test_version(ronn):
    result = ronn("--version")
    assert (result.code, result.out.strip()) == (0, f"ronn {__version__}")


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help(ronn, command):
    result = ronn(command, "--help")
    assert result.code == 0
    assert (COMMANDS[command].__doc__ or "").split(".")[0].split("\n")[0][:30] in result.out


def test_python_m_ronn():
    done = subprocess.run([sys.executable, "-m", "ronn", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, f"ronn {__version__}")


def test_without_the_extra_a_message_says_what_to_install():
    code = "import sys; sys.modules['typer'] = None; import ronn.cli; ronn.cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert 'pip install "ronn-core[cli]"' in done.stderr and "Traceback" not in done.stderr


def test_providers(ronn):
    rows = {row["name"]: row for row in ronn("providers", "--json").data}
    assert rows["reference"]["ok"] and rows["reference"]["distribution"] == "ronn-core"
    assert "reference" in ronn("providers").out


class _Broken:
    """An entry point whose module cannot be imported."""

    name, value, group = "broken", "no_such_module:Provider", "ronn"

    class dist:
        name, version = "ronn-provider-broken", "9.9"

    def load(self):
        raise ImportError("libwarp.so: cannot open shared object file")


def test_a_broken_provider_is_one_line_of_the_doctor(ronn, monkeypatch):
    known = Registry([*metadata.entry_points(group="ronn"), _Broken()])
    monkeypatch.setattr("ronn.plugins.registry", lambda: known)
    data = ronn("doctor", "--json").data
    broken = [row for row in data["providers"] if not row["ok"]]
    assert [row["name"] for row in broken] == ["broken"]
    assert "libwarp.so" in broken[0]["reason"]
    text = ronn("doctor")
    assert text.code == 0 and "libwarp.so" in text.out and "UNUSABLE" in text.out


def test_doctor_tells_the_environment(ronn, monkeypatch, tmp_path):
    monkeypatch.setenv("RONN_VERIFY", "1")
    monkeypatch.setenv("RONN_PASS_LIMIT", "many")
    monkeypatch.setenv("RONN_VERFIY", "1")
    monkeypatch.setenv("RONN_CACHE_DIR", str(tmp_path))
    (tmp_path / "x").write_bytes(b"12345")
    data = ronn("doctor", "--json").data
    assert data["packages"]["ronn-core"] == __version__
    knobs = {row["name"]: row for row in data["knobs"]}
    assert knobs["RONN_VERIFY"]["set"] and knobs["RONN_VERIFY"]["value"] is True
    assert "whole number" in knobs["RONN_PASS_LIMIT"]["problem"]
    assert knobs["RONN_VERFIY"]["problem"] == "nothing reads this"
    assert data["cache"] == {"folder": str(tmp_path), "exists": True, "bytes": 5}
    assert data["threads"]["number"] >= 1 and data["threads"]["from"] in data["threads"]["sources"]


def test_passes_lists_every_pass(ronn):
    from ronn.passes.pipelines import all_passes

    rows = {row["name"]: row for row in ronn("passes", "--json").data}
    assert set(rows) >= set(all_passes())
    assert all(row["summary"] for row in rows.values())
    assert "full" in rows["fuse-conv-bn"]["runs"] and "none" not in rows["fuse-conv-bn"]["runs"]
    assert "fuse-conv-bn" in ronn("passes").out


def test_new_provider_makes_a_package(ronn, tmp_path):
    result = ronn("new-provider", "warp", "--folder", tmp_path / "p")
    assert result.code == 0, result.err
    assert 'warp = "' in (tmp_path / "p" / "pyproject.toml").read_text()
    again = ronn("new-provider", "warp", "--folder", tmp_path / "p")
    assert again.code == 1 and "OptionError" in again.err


def test_plugins_add_commands(ronn):
    from ronn import hookimpl

    class Plugin:
        @hookimpl
        def ronn_cli(self, app):
            @app.command("greet")
            def greet():
                """Greet."""
                typer.echo("hello from a plugin")

    plugin = Plugin()
    registry().manager.register(plugin)
    try:
        assert "hello from a plugin" in ronn("greet").out
    finally:
        registry().manager.unregister(plugin)
