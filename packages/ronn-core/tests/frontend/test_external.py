"""External data: mapped, bounded, and never from outside the model's folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from hostile import W, external_model, put
from onnx import numpy_helper

from ronn.errors import ModelError
from ronn.frontend.onnx import load
from ronn.mapped import file_of


def weights(path: Path) -> np.ndarray:
    data = load(path).graph.initializers["w"].data
    assert data is not None
    return data


def refused(path: Path, *words: str) -> None:
    with pytest.raises(ModelError) as e:
        load(path)
    for word in (str(path), "'w'", *words):
        assert word in str(e.value)


def test_mapped_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    w = weights(put(tmp_path, external_model("w.bin")))
    assert w.tolist() == W.tolist() and not w.flags.writeable
    assert file_of(w) is not None
    monkeypatch.setenv("RONN_MAP_FILES", "0")
    w = weights(put(tmp_path, external_model("w.bin")))
    assert w.tolist() == W.tolist() and not w.flags.writeable and file_of(w) is None


def test_offset_and_missing_length(tmp_path: Path) -> None:
    assert weights(put(tmp_path, external_model("w.bin", 8), b"\1" * 8 + W.tobytes())).tolist() == W.tolist()
    assert weights(put(tmp_path, external_model("w.bin", 8, None), b"\1" * 8 + W.tobytes())).tolist() == W.tolist()


def test_misaligned_offset_gives_an_aligned_array(tmp_path: Path) -> None:
    w = weights(put(tmp_path, external_model("w.bin", 3), b"abc" + W.tobytes()))
    assert w.tolist() == W.tolist() and w.flags.aligned and not w.flags.writeable


def test_subfolder(tmp_path: Path) -> None:
    path = put(tmp_path, external_model("sub/w.bin"))
    put(tmp_path / "sub", b"")
    assert weights(path).tolist() == W.tolist()


def test_empty_tensor_of_an_empty_file(tmp_path: Path) -> None:
    assert weights(put(tmp_path, external_model("w.bin", 0, 0, (0,)), b"")).shape == (0,)


def test_same_file_is_mapped_once(tmp_path: Path) -> None:
    from ronn.frontend.external import ExternalData

    data = ExternalData(put(tmp_path, b""))
    assert data.map("w.bin") is data.map("w.bin")


def test_written_by_onnx(tmp_path: Path) -> None:
    big = np.arange(5000, dtype=np.int64)
    proto = onnx.load_from_string(external_model("unused"))
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(big, "w"))
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="w.data")
    assert weights(tmp_path / "m.onnx").tolist() == big.tolist()


@pytest.mark.parametrize(
    ("location", "word"),
    [
        ("../secret.bin", "'..'"),
        ("sub/../../secret.bin", "'..'"),
        ("..\\secret.bin", "'..'"),
        ("/etc/hostname", "absolute"),
        ("C:\\secret.bin", "absolute"),
        ("\\\\host\\secret.bin", "absolute"),
        ("", "not a file name"),
        ("a\0b", "not a file name"),
        ("absent.bin", "missing"),
        (".", "cannot be opened|regular"),
        ("n" * 5000, "cannot be reached"),
    ],
)
def test_locations_that_are_refused(tmp_path: Path, location: str, word: str) -> None:
    (tmp_path / "secret.bin").write_bytes(W.tobytes())
    path = put(tmp_path / "models", external_model(location))
    with pytest.raises(ModelError, match=word):
        load(path)


def test_symlink_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(W.tobytes())
    path = put(tmp_path / "models", external_model("link.bin"))
    (path.parent / "link.bin").symlink_to(tmp_path / "secret.bin")
    refused(path, "leads out of the model's folder")
    (path.parent / "loop").symlink_to(path.parent / "loop")
    path.write_bytes(external_model("loop"))
    refused(path, "cannot be reached")


def test_symlinked_folder_out_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", b"")
    path = put(tmp_path / "models", external_model("dir/w.bin"))
    (path.parent / "dir").symlink_to(tmp_path / "elsewhere")
    refused(path, "leads out of the model's folder")


def test_symlink_inside_the_folder_is_fine(tmp_path: Path) -> None:
    path = put(tmp_path, external_model("link.bin"))
    (tmp_path / "link.bin").symlink_to("w.bin")
    assert weights(path).tolist() == W.tolist()


def test_download_cache_of_symlinks(tmp_path: Path) -> None:
    """A snapshot folder of links into a folder of blobs: the model and its data lead to the same place."""
    blobs = tmp_path / "blobs"
    put(blobs, external_model("w.bin"), name="b2").rename(blobs / "b1")
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (snapshot / "m.onnx").symlink_to("../blobs/b1")
    (snapshot / "w.bin").symlink_to("../blobs/b2")
    assert weights(snapshot / "m.onnx").tolist() == W.tolist()


def test_hard_links_are_read(tmp_path: Path) -> None:
    """Installers link package files from their cache."""
    path = put(tmp_path / "models", external_model("link.bin"))
    os.link(path.parent / "w.bin", path.parent / "link.bin")
    assert weights(path).tolist() == W.tolist()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipe_is_refused_at_once(tmp_path: Path) -> None:
    path = put(tmp_path, external_model("pipe"))
    os.mkfifo(tmp_path / "pipe")
    refused(path, "not a regular file")


@pytest.mark.parametrize(
    ("offset", "length", "word"),
    [
        (1, 24, "has 24 bytes"),
        (2**62, 24, "has 24 bytes"),
        (-1, 24, "not a number"),
        ("1e3", 24, "not a number"),
        ("٣", 24, "not a number"),
        (0, 25, "takes 24 bytes"),
        (0, 2**63, "takes 24 bytes"),
        (0, 8, "takes 24 bytes"),
        (10**30, 24, "not a number"),
    ],
)
def test_ranges_that_are_refused(tmp_path: Path, offset: object, length: object, word: str) -> None:
    refused(put(tmp_path, external_model("w.bin", offset, length)), word)


def test_claimed_size_beyond_the_file_allocates_nothing(tmp_path: Path) -> None:
    refused(put(tmp_path, external_model("w.bin", 0, None, (2**40,))), "has 24 bytes")


def test_without_a_path_there_is_no_folder(tmp_path: Path) -> None:
    path = put(tmp_path, external_model("w.bin"))
    with pytest.raises(ModelError, match="load the model by its path"):
        load(path.read_bytes())
    with path.open("rb") as file, pytest.raises(ModelError, match="load the model by its path"):
        load(file)
    with pytest.raises(ModelError, match="load the model by its path"):
        load(onnx.load(path, load_external_data=False))
