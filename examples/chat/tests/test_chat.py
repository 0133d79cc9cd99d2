"""The decoder against the formulas, its caches, the file's weights and words, and the command."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ronn
from examples.chat import __main__ as command
from examples.chat import forms, weights
from examples.chat.decoder import build
from examples.chat.generate import Decoder, Full, choose, generate
from examples.chat.tests import tiny

TOKENS = np.random.default_rng(5).integers(3, tiny.SHAPE.vocabulary, 40).tolist()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chat")


@pytest.fixture(scope="module")
def stored(folder: Path) -> dict[str, np.ndarray]:
    return tiny.write_gguf(folder / "tiny.gguf", tiny.random_weights())


@pytest.fixture(scope="module")
def checkpoint(folder: Path, stored: dict[str, np.ndarray]) -> weights.Checkpoint:
    return weights.read(folder / "tiny.gguf")


@pytest.fixture(scope="module")
def session(checkpoint: weights.Checkpoint) -> ronn.Session:
    return ronn.Session(build(checkpoint.floats(), checkpoint.shape), providers=["cpu"], options={"threads": 1})


def test_a_file_is_read_as_it_is(checkpoint: weights.Checkpoint, stored: dict[str, np.ndarray]) -> None:
    assert replace(checkpoint.shape, epsilon=tiny.SHAPE.epsilon) == tiny.SHAPE  # it is float32 in files
    assert checkpoint.shape.epsilon == pytest.approx(tiny.SHAPE.epsilon)
    floats = checkpoint.floats()
    assert set(floats) == set(stored)
    for name, expected in stored.items():
        if name.endswith(("attn_q.weight", "attn_k.weight")):
            order = np.arange(16).reshape(8, 2).T.reshape(-1)  # of one head: even ones first
            expected = expected.reshape(-1, 16, tiny.SHAPE.width)[:, order].reshape(expected.shape)
        np.testing.assert_allclose(floats[name], expected, atol=1e-6)


def test_words_become_tokens_and_back(checkpoint: weights.Checkpoint) -> None:
    found = checkpoint.tokenizer.encode("<|im_start|>hello 12\n", add_special_tokens=False)
    assert found.tokens == ["<|im_start|>", "hel", "l", "o", "Ġ", "1", "2", "Ċ"]
    assert checkpoint.tokenizer.decode(found.ids) == "hello 12\n"


@pytest.mark.parametrize("name", ["float", "gguf"])
def test_logits_are_those_of_the_formulas(
    checkpoint: weights.Checkpoint, stored: dict[str, np.ndarray], folder: Path, name: str
) -> None:
    expected = tiny.logits(stored, TOKENS)
    path = forms.make(checkpoint, name, folder)
    found = ronn.Session(path, providers=["cpu"]).run(forms.feed(checkpoint.shape, np.array(TOKENS)))["logits"]
    np.testing.assert_allclose(found[0], expected, atol=2e-4 * np.abs(expected).max())


def test_prompts_of_any_length_and_single_tokens_give_the_same(
    session: ronn.Session, stored: dict[str, np.ndarray]
) -> None:
    expected = tiny.logits(stored, TOKENS)
    decoder = Decoder(session, tiny.SHAPE, room=128)
    for parts in ([40], [1] * 20, [17, 1, 22], [33, 3, 1]):
        decoder.rewind(0)
        for size in parts:
            at = decoder.length
            found = decoder.read(TOKENS[at : at + size])
            np.testing.assert_allclose(found, expected[at + size - 1], atol=2e-4 * np.abs(expected).max())
    decoder.rewind(10)  # what came after is forgotten
    np.testing.assert_allclose(decoder.read(TOKENS[10:12]), expected[11], atol=2e-4 * np.abs(expected).max())
    stats = session.stats()
    assert stats.plans == 3  # one token, a short piece, a long one: whatever the length of what was read
    assert stats.copies_in == stats.copies_out == 0


def test_caches_have_an_end(session: ronn.Session) -> None:
    decoder = Decoder(session, tiny.SHAPE, room=128)
    decoder.read([5] * 120)
    with pytest.raises(Full, match="120 of 128 tokens are taken, and 9 more do not fit"):
        decoder.read([5] * 9)
    decoder.read([5] * 7)
    assert len(list(generate(decoder, [5], end=-1))) == 1  # the last one has room to be said, none to be read
    with pytest.raises(ValueError, match="room for 100 tokens"):
        Decoder(session, tiny.SHAPE, room=100)


def test_choosing() -> None:
    logits = np.array([0, 3, 1, 2.5], np.float32)
    random = np.random.default_rng(0)
    assert choose(logits, 0, 40, random) == 1
    drawn = [choose(logits, 1.0, 2, random) for _ in range(300)]
    assert set(drawn) == {1, 3} and 150 < drawn.count(1) < 230  # e**0.5 to 1: 187 of 300
    assert {choose(logits, 50.0, 40, random) for _ in range(100)} == {0, 1, 2, 3}


def test_answers_end_with_the_mark_or_the_count(session: ronn.Session) -> None:
    decoder = Decoder(session, tiny.SHAPE, room=128)
    found = list(generate(decoder, TOKENS, end=-1, most=5))
    assert len(found) == 5
    decoder.rewind(0)
    assert list(generate(decoder, TOKENS, end=found[2], most=5)) == found[: found.index(found[2])]


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> int:
    monkeypatch.setattr(command, "checkpoint_path", lambda console, folder: folder / "tiny.gguf")
    given = ["chat", *words, "--folder", str(folder), "--tokens", "6", "--room", "256", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", given)
    return command.main()


def test_the_command_answers(
    checkpoint: weights.Checkpoint, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, folder, "hello", "--provider", "cpu") == 0
    assert "tokens a second" in capsys.readouterr().out
    assert run(monkeypatch, folder, "hello", "--provider", "cpux") == 1
    assert "cpux" in capsys.readouterr().out


def test_ctrl_c_ends_the_answer_and_not_the_conversation(
    checkpoint: weights.Checkpoint, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = iter(["one", "two"])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("rich.console.Console.input", lambda self, prompt: next(said))
    given, real = [], command.generate

    def interrupted(*args: object, **options: object):  # type: ignore[no-untyped-def]
        given.append(args[1])
        yield from list(real(*args, **{**options, "most": 2}))  # type: ignore[arg-type]
        if len(given) == 1:
            raise KeyboardInterrupt

    def ended(self: object, prompt: str) -> str:
        try:
            return next(said)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("rich.console.Console.input", ended)
    monkeypatch.setattr(command, "generate", interrupted)
    assert run(monkeypatch, folder, "--provider", "cpu") == 0
    assert "stopped" in capsys.readouterr().out and len(given) == 2
