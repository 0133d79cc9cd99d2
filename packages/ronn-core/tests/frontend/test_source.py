"""What ``load`` takes, and what it says about files that are something else."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import random
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ronn.errors import ModelError
from ronn.frontend.onnx import load


def proto() -> onnx.ModelProto:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [info("x", TensorProto.FLOAT, [2])],
        [info("y", TensorProto.FLOAT, [2])],
        [helper.make_tensor("w", TensorProto.FLOAT, [2], [1, 2])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


DATA: bytes = proto().SerializeToString()


def refused(source: object, *words: str) -> None:
    with pytest.raises(ModelError) as e:
        load(source)  # type: ignore[arg-type]
    for word in words:
        assert word in str(e.value), str(e.value)


def test_every_kind_of_source(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(DATA)
    want = str(load(path).graph)
    assert load(path).source == str(path)
    for source in (str(path), DATA, bytearray(DATA), memoryview(DATA), io.BytesIO(DATA), proto()):
        assert str(load(source).graph) == want
    with path.open("rb") as file:
        m = load(file)
    assert str(m.graph) == want and m.source == str(path)


@pytest.mark.parametrize("suffix", [".json", ".textproto", ".pbtxt", ".onnxtxt"])
def test_text_formats(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"m{suffix}"
    onnx.save(proto(), path)
    assert path.read_bytes() != DATA
    m = load(path)
    w = m.graph.initializers["w"].data
    assert w is not None and w.tolist() == [1, 2] and len(m.graph) == 1
    path.write_text("{ nonsense")
    refused(path, str(path), "cannot be read as ONNX")
    path.write_text("{" * 100_000)
    refused(path, str(path), "nested deeper")


def test_missing_file_points_to_near_ones(tmp_path: Path) -> None:
    refused(tmp_path / "model.onnx", "no such file")
    (tmp_path / "model-fp16.onnx").write_bytes(DATA)
    refused(tmp_path / "modl-fp16.onnx", "no such file", "did you mean", "model-fp16.onnx")
    refused(tmp_path / "zzz", "holds model-fp16.onnx")
    refused(tmp_path / "absent" / "m.onnx", "the folder", "does not exist")


def test_directory(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(DATA)
    refused(tmp_path, "is a directory", "m.onnx")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "not a regular file")


def test_paths_that_no_file_can_have() -> None:
    refused("a\0b", "cannot be read")
    refused("n" * 5000, "cannot be read")


def test_other_objects() -> None:
    refused(3, "cannot load a model from int")
    refused(None, "cannot load a model from NoneType")
    refused(io.StringIO("text"), "binary mode")
    closed = io.BytesIO(DATA)
    closed.close()
    refused(closed, "cannot be read")


def torch_file() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as z:
        z.writestr("archive/data.pkl", b"x")
    return file.getvalue()


def zipped_model() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as z:
        z.writestr("inner.onnx", DATA)
    return file.getvalue()


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git lfs pull"),
        (b"<!DOCTYPE html>\n<html><body>Not found</body></html>", "HTML page"),
        (b"\n  <html><body>Not found</body></html>", "HTML page"),
        (torch_file(), "PyTorch file"),
        (zipped_model(), "zip archive that holds inner.onnx"),
        (b"PK\x03\x04 broken", "zip archive"),
        (pickle.dumps({"a": 1}, protocol=2), "PyTorch"),
        (gzip.compress(DATA), "gzip"),
        (npy(), "NumPy array"),
        (b"\x1c\0\0\0TFL3" + b"\0" * 40, "TensorFlow Lite"),
        (b"\x1c\0\0\0ORTM" + b"\0" * 40, "ORT's own"),
        (b"GGUF\x03\0\0\0", "GGUF"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b'\x10\0\0\0\0\0\0\0{"a":{"dtype":"F32"}}', "safetensors"),
        (b'{"irVersion": "8"}', "JSON text"),
        (b'<?xml version="1.0"?><net name="m">', "XML"),
        (b"hello", "is not an ONNX model"),
        (b"\0" * 100, "is not an ONNX model"),
        (DATA[: len(DATA) // 2], "cut short"),
        (helper.make_opsetid("", 3).SerializeToString(), "is not an ONNX model"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_says_what_a_file_is_instead(tmp_path: Path, data: bytes, word: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    refused(path, str(path), word)
    refused(data, "<bytes>", word)


def test_every_truncation_is_a_model_error_or_a_model() -> None:
    for end in range(len(DATA)):
        try:
            load(DATA[:end])
        except ModelError:
            continue


def test_random_bytes() -> None:
    rng = random.Random(0)
    for size in (1, 2, 8, 100, 10_000, 1_000_000):
        refused(rng.randbytes(size), "<bytes>")
