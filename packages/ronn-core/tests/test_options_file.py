"""Options of a session in a TOML file: all of them, errors that name file and key, files that it names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper as h

import ronn
from ronn.errors import OptionError
from ronn.options import SessionOptions
from ronn.options_file import beside

EVERY = """
providers = ["reference", ["cpu", {threads = 3}]]
optimization = "basic"
disabled_passes = ["fuse-gelu"]
dimensions = {N = 2}
fold_limit = "5kB"
plan_cache = 3
threads = 2
deterministic = true
memory_limit = "512MB"
precision = "bf16"
max_model_bytes = "none"
max_tensor_bytes = 2000
max_nodes = 3000
max_depth = 40

[router.some]
fast = "small.onnx"
memory = {path = "kept"}
"""


@pytest.fixture
def write(tmp_path):
    def written(text: str) -> Path:
        path = tmp_path / "deploy.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def test_a_file_may_have_every_option(write):
    path = write(EVERY)
    expected = SessionOptions(
        providers=["reference", ("cpu", {"threads": 3})], optimization="basic", disabled_passes=["fuse-gelu"],
        dimensions={"N": 2}, fold_limit=5000, plan_cache=3, threads=2, deterministic=True, memory_limit="512MB",
        precision="bf16", max_model_bytes=None, max_tensor_bytes=2000, max_nodes=3000, max_depth=40,
        router=("some", {"fast": "small.onnx", "memory": {"path": "kept"}, "file": str(path)}),
    )  # fmt: skip
    found = SessionOptions.from_file(path)
    assert found == expected == SessionOptions.of(str(path)) == SessionOptions.of(path)
    named = [n for n in SessionOptions.__dataclass_fields__ if f"\n{n} = " in EVERY or f"\n[{n}." in EVERY]
    assert named == list(SessionOptions.__dataclass_fields__)


def test_a_path_will_do_wherever_options_are_taken(write):
    value = h.make_tensor_value_info("x", T.FLOAT, ["N"])
    out = h.make_tensor_value_info("y", T.FLOAT, ["N"])
    model = h.make_model(h.make_graph([h.make_node("Relu", ["x"], ["y"])], "g", [value], [out]), ir_version=9)
    path = write('providers = "reference"\nmax_nodes = 1')
    assert ronn.Session(model, options=path).providers == ["reference"]
    assert ronn.Session(model, options=str(path)).options == SessionOptions.from_file(path)
    twice = h.make_model(h.make_graph([*model.graph.node, h.make_node("Neg", ["x"], ["z"])], "g", [value], [out]))
    session = ronn.load(model, path).create_session(path)
    assert session.options.max_nodes == 1 and session.run(np.ones(2, np.float32))[0].tolist() == [1, 1]
    with pytest.raises(ronn.ModelError, match="max_nodes is 1"):
        ronn.load(twice, path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("thread = 2", r"deploy\.toml: there is no session option 'thread'\nhint: did you mean 'threads'\?"),
        ("threads = 'two'", r"deploy\.toml: threads='two' is not a whole number"),
        ("threads = 'none'", r"deploy\.toml: threads='none' is not"),
        ("dimensions = 3", r"deploy\.toml: dimensions=3 is not a mapping"),
        ("providers = [['cpu', 3]]", r"deploy\.toml: options of provider 'cpu'"),
        ("[router.a]\n[router.b]", r"deploy\.toml: router names 2 routers: 'a', 'b'"),
        ("router = 3", r"deploy\.toml: router=3 is not a name"),
        ("[router.a]\nfile = 'x'", r"deploy\.toml: router\.a\.file is this file itself"),
        ("threads = ", r"deploy\.toml: is not TOML: \w+"),
    ],
)
def test_errors_name_the_file_and_the_key(write, text, said):
    with pytest.raises(OptionError, match=said):
        SessionOptions.from_file(write(text))


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(OptionError, match=r"none\.toml: cannot be read as a file of options: No such file"):
        SessionOptions.of(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(OptionError, match="it is not UTF-8 text"):
        SessionOptions.from_file(tmp_path / "bytes.toml")


def test_files_are_relative_to_the_file_that_names_them(write, tmp_path, monkeypatch):
    path = write("[router.some]\nfast = 'a/small.onnx'")
    monkeypatch.chdir(tmp_path.parent)
    _, config = SessionOptions.from_file(path.relative_to(Path.cwd())).router
    assert beside(config, config["fast"]) == tmp_path / "a" / "small.onnx"
    assert beside(config, "/elsewhere/b.onnx") == Path("/elsewhere/b.onnx")
    assert beside({}, "small.onnx") == Path("small.onnx")
