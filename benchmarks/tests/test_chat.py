"""The benchmark of a language model on a tiny one: contestants in processes of their own, bits, tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import chat
from benchmarks.chat_report import picture, table
from examples.chat import forms, weights
from examples.chat.tests import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("chat")
    stored = tiny.write_gguf(found / "tiny.gguf", tiny.random_weights())
    np.savez(found / "stored.npz", **stored)
    forms.make(weights.read(found / "tiny.gguf"), "float", found)
    return found


def test_contestants_read_write_and_agree(folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    both = chat.contestants(folder, folder / "tiny.gguf", ["float"], None)
    assert [c.engine for c in both] == ["ronn", "onnxruntime"]
    tokens = np.random.default_rng(3).integers(3, tiny.SHAPE.vocabulary, 200).tolist()
    rows = chat.speeds(both, tokens, 1, 1, None)
    assert all(r["decode"] > 0 and r["prompt"] > 0 and r["disk"] > 100_000 for r in rows)
    assert "onnxruntime float" in capsys.readouterr().out
    found = {"speed": rows, "machine": {"cpu": "a processor", "usable_cores": 2, "load_average": [0.5]}}
    assert "| float32 | RONN |" in table(found) and "a processor, 2 cores" in table(found)
    picture(found, tmp_path / "bars.svg")
    assert (tmp_path / "bars.svg").read_text(encoding="utf-8").count("<rect") == 2


def test_bits_are_those_of_the_formulas(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "PIECES", 2)
    checkpoint = weights.read(folder / "tiny.gguf")
    one = chat.contestants(folder, folder / "tiny.gguf", ["float"], None)
    (row,) = chat.quality(one, checkpoint, None)
    tokens = checkpoint.tokenizer.encode(forms.texts()[1]).ids
    bits = size = 0.0
    for start in (0, len(tokens) - chat.PIECE):
        piece = tokens[start : start + chat.PIECE]
        with np.load(folder / "stored.npz") as stored:
            logits = tiny.logits(dict(stored), piece)[:-1]
        bits += float((np.log(np.exp(logits).sum(1)) - logits[np.arange(len(logits)), piece[1:]]).sum() / np.log(2))
        size += len(checkpoint.tokenizer.decode(piece[1:]).encode())
    assert row["bits_per_byte"] == pytest.approx(bits / size, rel=1e-4)


def test_figures_of_some_forms_take_the_places_of_earlier_ones() -> None:
    old = [{"engine": "ronn", "form": f, "threads": 1, "decode": 1.0} for f in ("float", "2")]
    new = [{"engine": "ronn", "form": f, "threads": 1, "decode": 2.0} for f in ("2", "4")]
    assert [(r["form"], r["decode"]) for r in chat.merged(old, new)] == [("float", 1.0), ("4", 2.0), ("2", 2.0)]
