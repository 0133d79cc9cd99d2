"""``ronn cache`` and ``ronn warmup``: what they ask of providers, and what they tell."""

from __future__ import annotations

import numpy as np
import pytest

from ronn.plugins import registry
from ronn.provider import CachedFile, Call, CompiledPart, Provider, Yes


class Keeping(Provider):
    """Keeps files in a folder; compiles three things for any model and five without one."""

    name = "keeping"

    def __init__(self, folder):
        self.folder = folder

    def supports(self, node, device):
        return Yes()

    def compile(self, part, device, options):
        def make(node):
            t = node.outputs[0].tensor
            return lambda *_: np.ones(t.static_shape, t.dtype.numpy)

        return CompiledPart([Call(make(n), n.inputs, n.outputs, (n,)) for n in part.nodes], compiles=3)

    def warm_up(self, device, progress=None):
        for i in range(6):
            progress(i, 5, f"thing{i}")
        return 5

    def cached_files(self):
        return [CachedFile(f, f"machine {f.name[0]}", f.name[0] == "a") for f in sorted(self.folder.iterdir())]

    def check_cached(self, file):
        return "is damaged" if b"bad" in file.path.read_bytes() else ""


@pytest.fixture
def keeping(tmp_path, monkeypatch):
    monkeypatch.setenv("RONN_CACHE_DIR", str(tmp_path))
    for name, data in (("a1", b"good"), ("a2", b"fine!"), ("b1", b"x" * 2000)):
        (tmp_path / name).write_bytes(data)
    registry().add(Keeping(tmp_path))
    yield tmp_path
    registry().remove("keeping")


def files(data):
    return [row for row in data["files"] if "machine " in row["group"]]


def test_ls_groups_files(ronn, keeping):
    data = ronn("cache", "--json").data
    assert data["folder"] == str(keeping)
    assert [(r["group"], r["bytes"], r["current"]) for r in files(data)] == [
        ("machine a", 4, True),
        ("machine a", 5, True),
        ("machine b", 2000, False),
    ]
    text = ronn("cache", "ls").out
    assert "machine a" in text and "2.0 kB" in text


def test_path(ronn, keeping):
    assert ronn("cache", "path").out == f"{keeping}\n"
    assert ronn("cache", "path", "--json").data == {"folder": str(keeping)}


def test_verify_fails_for_a_damaged_file(ronn, keeping):
    result = ronn("cache", "verify")
    assert result.code == 0 and "0 of them not sound" in result.out
    (keeping / "a2").write_bytes(b"bad")
    result = ronn("cache", "verify")
    assert result.code == 1 and "a2: is damaged" in result.out and "1 of them not sound" in result.out
    assert [r["problem"] for r in files(ronn("cache", "verify", "--json").data)] == ["", "is damaged", ""]


def test_clear_deletes(ronn, keeping):
    assert "deleted 3 files" in ronn("cache", "clear").out
    assert list(keeping.iterdir()) == []
    assert "nothing in" in ronn("cache", "ls").out


def test_an_unknown_action_is_a_wrong_command_line(ronn):
    assert ronn("cache", "burn").code == 2


def test_warmup_without_a_model_makes_the_library(ronn, keeping):
    result = ronn("warmup", "--provider", "keeping")
    assert result.code == 0, result.err
    assert "library of keeping: 5 compiled" in result.out and "compiled 5 in" in result.out


def test_warmup_of_models(ronn, keeping, classifier):
    data = ronn("warmup", classifier, "--provider", "keeping", "--dim", "batch=2", "--json").data
    assert [(row["what"], row["compiles"]) for row in data["compiled"]] == [(str(classifier), 3)]
    data = ronn("warmup", classifier, "--all", "--provider", "keeping", "--json").data
    assert [row["compiles"] for row in data["compiled"]] == [5, 3]
    assert "did you mean 'batch'" in ronn("warmup", classifier, "--provider", "keeping", "--dim", "bach=2").err
    assert "everything was there" in ronn("warmup", classifier, "--provider", "reference").out
