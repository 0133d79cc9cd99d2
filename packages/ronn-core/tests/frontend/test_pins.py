"""Hashes that files must have: every door, what is covered, and files that change while they are read."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hostile import W, external_model, put
from onnx import TensorProto, helper, numpy_helper

import ronn
from ronn.errors import ModelError, OptionError
from ronn.frontend import weights
from ronn.mapped import file_of


def model(number: float = 2.0, size: int = 3) -> bytes:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        "g",
        [info("x", TensorProto.FLOAT, [size])],
        [info("y", TensorProto.FLOAT, [size])],
        [numpy_helper.from_array(np.full(size, number, np.float32), "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    data: bytes = made.SerializeToString()
    return data


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


GOOD, BAD = model(2.0), model(3.0)
X = np.ones(3, np.float32)


@pytest.fixture(params=["small", "large", "text"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model file, read in each of the ways that files are."""
    if request.param == "large":
        monkeypatch.setattr(weights, "MIN_MODEL", 0)
        monkeypatch.setattr(weights, "MIN_RAW", 1)
    if request.param == "text":
        file = tmp_path / "m.textproto"
        onnx.save(onnx.ModelProto.FromString(GOOD), file, format="textproto")
        return file
    file = tmp_path / "m.onnx"
    file.write_bytes(GOOD)
    return file


def test_a_file_with_the_hash_loads(path: Path) -> None:
    for pin in (sha(path.read_bytes()), sha(path.read_bytes()).upper(), {path.name: sha(path.read_bytes())}):
        assert ronn.Session(path, sha256=pin).run(X)[0][0] == 2
        constant = ronn.load(path, sha256=pin).graph.initializers["w"].data
        assert constant is not None and file_of(constant) is None and not constant.flags.writeable


def test_another_file_is_refused_before_it_is_parsed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def parsed(*_: object) -> None:
        raise AssertionError("parsed")

    monkeypatch.setattr("ronn.frontend.source._parse", parsed)
    monkeypatch.setattr("ronn.frontend.source._parse_text", parsed)
    for use in (ronn.load, ronn.Session):
        with pytest.raises(ModelError) as e:
            use(path, sha256=sha(BAD))
        text = str(e.value)
        assert str(path) in text and sha(path.read_bytes()) in text and sha(BAD) in text and "hint: " in text


@pytest.mark.parametrize("moment", ["before the hash", "after the hash", "while open"])
def test_a_file_that_changes_does_not_slip_through(path: Path, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever overwrites it in place, of the same length, and puts its time back: what was hashed runs, or nothing."""
    good = path.read_bytes()
    bad = good.replace(b"f: 2", b"f: 3") if path.suffix == ".textproto" else BAD
    pin, info = sha(good), path.stat()

    def overwrite() -> None:
        with path.open("r+b") as file:
            file.write(bad[: len(good)])
        os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))

    if moment == "while open":
        session = ronn.Session(path, sha256=pin)
        overwrite()
        session.trim()
        assert session.run(X)[0][0] == 2 and session.run(X, trace=["x"])[0][0] == 2
        return
    real = hashlib.sha256

    def hashed(data: bytes) -> Any:
        if moment == "before the hash":
            overwrite()
            assert path.read_bytes() != good or path.suffix == ".textproto"
        found = real(data)
        overwrite()
        return found

    monkeypatch.setattr(hashlib, "sha256", hashed)
    assert ronn.Session(path, sha256=pin).run(X)[0][0] == 2


def test_bytes_and_file_objects_can_be_pinned() -> None:
    for source in (GOOD, bytearray(GOOD), memoryview(GOOD)):
        assert ronn.Session(source, sha256=sha(GOOD)).run(X)[0][0] == 2
    assert ronn.Session(io.BytesIO(GOOD), sha256=sha(GOOD)).run(X)[0][0] == 2
    with pytest.raises(ModelError, match="<bytes>: its sha256 is"):
        ronn.load(GOOD, sha256=sha(BAD))


@pytest.mark.parametrize(
    ("source", "pin", "text"),
    [
        (GOOD, "abc", "not a sha256\nhint: 64 hexadecimal digits"),
        (GOOD, "g" * 64, "not a sha256"),
        (GOOD, {}, "neither a hash nor a mapping"),
        (GOOD, 3, "neither a hash nor a mapping"),
        (GOOD, {"m.onnx": 3}, r"sha256\['m.onnx'\]=3 is not a sha256"),
        (GOOD, {"m.onnx": "0" * 64}, "the model is read from none"),
        (onnx.ModelProto.FromString(GOOD), "0" * 64, "has no bytes"),
    ],
    ids=str,
)
def test_pins_that_cannot_be(source: Any, pin: Any, text: str) -> None:
    with pytest.raises(OptionError, match=text):
        ronn.load(source, sha256=pin)


def test_a_loaded_model_is_too_late() -> None:
    with pytest.raises(OptionError, match=r"ronn\.load"):
        ronn.Session(ronn.load(GOOD), sha256=sha(GOOD))


# --- external data


def test_external_data_must_be_pinned_too(tmp_path: Path) -> None:
    path = put(tmp_path, external_model("w.bin"))
    own, other = sha(path.read_bytes()), sha(W.tobytes())
    with pytest.raises(ModelError) as e:
        ronn.load(path, sha256=own)
    assert "external data file 'w.bin' is not pinned" in str(e.value) and '"w.bin": "..."' in str(e.value)
    with pytest.raises(OptionError, match=r"sha256 has no hash of 'm.onnx'; it has 'w.bin'"):
        ronn.load(path, sha256={"w.bin": other})
    pins = {"m.onnx": own, "w.bin": other, "tokenizer.json": "0" * 64}
    array = ronn.load(path, sha256=pins).graph.initializers["w"].data
    assert array is not None and array.tolist() == W.tolist() and file_of(array) is None
    assert not array.flags.writeable
    (tmp_path / "w.bin").write_bytes(W[::-1].tobytes())
    with pytest.raises(ModelError, match=r"initializer 'w': external data file 'w.bin': its sha256 is"):
        ronn.load(path, sha256=pins)


def test_locations_are_compared_as_paths(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    path = put(tmp_path, external_model("./sub/w.bin"), name="sub/w.bin")
    pins = {"./m.onnx": sha(path.read_bytes()), "sub//w.bin": sha(W.tobytes())}
    assert "w" in ronn.load(path, sha256=pins).graph.initializers


def test_external_data_that_changes_after_the_hash(tmp_path: Path) -> None:
    path = put(tmp_path, external_model("w.bin"))
    session = ronn.Session(path, sha256={"m.onnx": sha(path.read_bytes()), "w.bin": sha(W.tobytes())})
    with (tmp_path / "w.bin").open("r+b") as file:
        file.write(np.zeros(6, np.float32).tobytes())
    assert session.run(np.zeros(6, np.float32))[0].tolist() == W.tolist()


# --- pickles


def test_pickles_stay_pinned(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(GOOD)
    session = pickle.loads(pickle.dumps(ronn.Session(path, sha256=sha(GOOD))))
    assert session.run(X)[0][0] == 2 and session.model.ir.pins.sha256 == sha(GOOD)
    loaded = pickle.dumps(ronn.load(path, sha256={"m.onnx": sha(GOOD)}))
    assert pickle.loads(loaded).ir.pins.sha256 == {"m.onnx": sha(GOOD)}
    path.write_bytes(BAD)
    with pytest.raises(ModelError):
        pickle.loads(loaded)
