"""``ronn npu``: what the commands print, their JSON, their errors, and that the help's examples are commands."""

import inspect
import json
import shlex

import onnx
import pytest

from ronn.cli.app import run as run_command_line
from ronn.provider.contract import Unavailable
from ronn_provider_npu.cli import COMMANDS
from ronn_provider_npu.profiles import DeviceProfile, shipped_names

MODEL = """<ir_version: 9, opset_import: ["" : 18]>
    g (int8[N,8] x, float[N,8] f) => (int8[N,8] y, float[N,8] z) { a = Max(x, x) y = Min(a, x) z = Exp(f) }"""


@pytest.fixture
def ronn(capsys, monkeypatch, tmp_path):
    """``ronn("npu", "profiles")`` gives exit code, output and errors; model.onnx lies in the current folder."""
    monkeypatch.setenv("RONN_DEBUG", "0")
    monkeypatch.chdir(tmp_path)
    onnx.save(onnx.parser.parse_model(MODEL), "model.onnx")

    def run(*arguments):
        try:
            run_command_line([str(a) for a in arguments])
            code = 0
        except SystemExit as e:
            code = e.code or 0
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_profiles(ronn):
    code, out, _ = ronn("npu", "profiles")
    assert code == 0
    assert all(name in out for name in shipped_names())
    code, out, _ = ronn("npu", "profiles", "--json")
    by_name = {p["name"]: p for p in json.loads(out)}
    assert set(by_name) == set(shipped_names())
    assert by_name["edge-npu-8tops"]["memory"]["on_chip"] == 4 << 20
    assert by_name["edge-npu-8tops"]["matrix"]["peak"]["int8"] == 8e12
    assert by_name["edge-npu-8tops"]["int8_only"] is True


def test_a_profile_in_words_and_as_a_file_to_start_from(ronn, tmp_path):
    code, out, _ = ronn("npu", "profile", "tpu-128x128-int8")
    assert (code, out.rstrip("\n")) == (0, str(DeviceProfile.shipped("tpu-128x128-int8")))
    code, out, _ = ronn("npu", "profile", "tpu-128x128-int8", "--toml")
    (tmp_path / "mine.toml").write_text(out)
    assert DeviceProfile.from_file("mine.toml") == DeviceProfile.shipped("tpu-128x128-int8")
    assert ronn("npu", "profile", "./mine.toml", "--toml") == (0, out, "")
    code, _, err = ronn("npu", "profile", "tpu")
    assert code == 1
    assert "no profile 'tpu'" in err


def test_explain_says_where_and_why(ronn):
    code, out, _ = ronn("npu", "explain", "model.onnx", "--profile", "edge-npu-8tops", "--shape", "x=4,8", "--json")
    data = json.loads(out)
    assert code == 0
    where = {n["op"]: (n["where"], n["reason"]) for n in data["nodes"]}
    assert where["Exp"][0] == "host"
    assert "its vector unit takes" in where["Exp"][1]
    assert {place for op, (place, _) in where.items() if op != "Exp"} == {"device"}
    assert 0 < data["share"] < 1
    code, out, _ = ronn("npu", "explain", "model.onnx", "--profile", "edge-npu-8tops")
    assert "1 node(s) stay on the host" in out
    assert "its vector unit takes" in out


def test_estimate(ronn):
    code, out, _ = ronn("npu", "estimate", "model.onnx", "--profile", "pocl-cpu", "--dim", "N=16", "--json")
    data = json.loads(out)
    assert (code, data["kind"], data["inputs"]) == (0, "estimate", "x: i8[16,8], f: f32[16,8]")
    assert data["latency_s"] > 0
    code, out, _ = ronn("npu", "estimate", "model.onnx", "--profile", "pocl-cpu", "--nodes", "--shape", "x=16,8")
    assert code == 0
    assert "Estimate by kernel" in out
    assert "nothing was run, nothing was measured" in out
    assert "bottleneck launch" in out
    code, _, err = ronn("npu", "estimate", "model.onnx", "--profile", "pocl-cpu", "--shape", "w=1")
    assert code == 1
    assert "--shape 'w=1' is not NAME=1,3,224,224" in err


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_of_the_help_are_commands_with_known_options(ronn, name):
    code, out, _ = ronn("npu", name, "--help")
    assert code == 0
    lines = [line.strip() for line in inspect.getdoc(COMMANDS[name]).splitlines()]
    examples = [line for line in lines if line.startswith("ronn ")]
    assert examples
    for example in examples:
        words = shlex.split(example.partition(">")[0])
        assert words[:3] == ["ronn", "npu", name]
        assert all(option in out for option in words if option.startswith("--"))


def test_devices_of_all_platforms_with_reasons(ronn, monkeypatch):
    from ronn_provider_npu import discovery

    code, out, _ = ronn("npu", "devices", "--json")
    data = json.loads(out)
    assert (code, data["reason"]) == (0, "")
    assert [d["device"] for d in data["devices"] if not d["reason"]] == [f.name for f in discovery.usable()]
    for d in data["devices"]:
        assert d["reason"] or d["on_chip_bytes"] <= DeviceProfile.shipped(d["profile"]).kernel_bytes
    gone = discovery.Found("", "Old platform", "card", "card", None, "it has OpenCL C 1.1, and 1.2 is needed")
    monkeypatch.setattr(discovery, "found", lambda: (gone,))
    code, out, _ = ronn("npu", "devices")
    assert "it has OpenCL C 1.1, and 1.2 is needed" in out

    def none():
        raise Unavailable("no OpenCL platform is installed")

    monkeypatch.setattr(discovery, "found", none)
    code, out, _ = ronn("npu", "devices")
    assert (code, out) == (0, "no OpenCL platform is installed\n")
