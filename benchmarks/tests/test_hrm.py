"""What the goals of routing are measured with: streams, baselines, networks, pictures. On scikit-learn's digits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import ronn
from benchmarks.hrm import __main__ as program
from benchmarks.hrm import digits, kept, mail, networks, populations, report, streams
from benchmarks.hrm.baselines import Figures, baselines, figures, first_times
from benchmarks.hrm.goal import Goal
from ronn_hrm.guarantee import Guarantee, empirical, violations


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's digits in the middle of pictures of 28 x 28."""
    from sklearn.datasets import load_digits

    data = load_digits()
    x = np.pad(np.kron(data.images / 16, np.ones((1, 3, 3))), ((0, 0), (2, 2), (2, 2)))
    return x.reshape(len(x), -1).astype(np.float32), data.target.astype(np.int64)


def test_images_are_moved_and_turned(images) -> None:
    x = images[0][:20]
    assert np.allclose(digits.rotated(x, 0), x)
    turned = digits.rotated(x, 90).reshape(-1, 28, 28)
    # Row up, column left: a quarter turn of a square is exact.
    assert min(np.abs(turned - np.rot90(x.reshape(-1, 28, 28), k, (1, 2))).max() for k in (1, 3)) < 1e-5
    moved = digits.shifted(x, np.random.default_rng(0)).reshape(-1, 28, 28)
    for before, after in zip(x.reshape(-1, 28, 28), moved, strict=True):
        ways = [np.roll(np.roll(before, a, 0), b, 1) for a in (-1, 0, 1) for b in (-1, 0, 1)]
        assert any(np.allclose(after, way) for way in ways)


def test_networks_learn_and_are_the_same_as_onnx(images) -> None:
    x, labels = images
    rows = slice(0, 1200)
    for few_bits in (False, True):
        layers = networks.train(
            x[rows], digits.as_targets(labels[rows]), (32,), epochs=8, seed=0, few_bits=few_bits, rate=3e-3
        )
        expected = networks.forward(layers, x[1200:])[-1]
        assert (expected.argmax(axis=1) == labels[1200:]).mean() > 0.8
        if few_bits:
            assert all(len(np.unique(column)) <= 3 for weight, _ in layers for column in weight.T)
        with ronn.Session(networks.as_onnx(layers, "g", hidden=True)) as session:
            found = session.run(x[1200:1210])
            assert np.allclose(found["scores"], expected[:10], atol=1e-4)
            assert found["hidden"].shape == (10, 32)


def test_arrays_are_made_once_for_code_and_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RONN_ZOO_CACHE", str(tmp_path))
    made = []

    def make(size: int) -> dict[str, np.ndarray]:
        made.append(size)
        return {"a": np.arange(size)}

    for size in (3, 3, 4):
        assert len(kept.kept("x", make, (), size=size)["a"]) == size
    kept.kept("x", make, (), [1], size=3)
    assert made == [3, 4, 3]


def test_a_stream_repeats_and_drifts(images) -> None:
    x, labels = images
    stream = streams.drifting(x, labels, seed=1, phase=2000, warm_up=1000, hot=50)
    assert len(stream) == 7000
    assert stream.counted.sum() == 6000
    assert stream.starts(1) == 3000
    repeats = 1 - first_times(stream.item).mean()
    assert 0.45 < repeats < 0.52
    again = streams.drifting(x, labels, seed=1, phase=2000, warm_up=1000, hot=50)
    assert np.array_equal(stream.item, again.item)
    assert np.array_equal(stream.x, again.x)
    # Hot items are the same digit before and after the change, and other pixels.
    assert np.array_equal(stream.labels[:50], stream.labels[50:100])
    assert not np.allclose(stream.x[:50], stream.x[50:100])
    hot = [set(stream.item[(stream.phase == p) & (stream.item < 100)].tolist()) for p in (0, 1, 2)]
    assert max(hot[0]) < 50 <= min(hot[1])
    assert min(hot[2]) < 50 <= max(hot[2])
    counts = np.bincount(streams.zipf(20000, 10, np.random.default_rng(0)), minlength=10)
    assert counts[0] / counts[4] == pytest.approx(5, rel=0.15)


def test_baselines_on_a_stream(images) -> None:
    x, labels = images
    stream = streams.drifting(x, labels, seed=0, phase=1000, warm_up=1000, hot=40)
    rng = np.random.default_rng(0)
    full = rng.normal(0, 1, (len(stream.x), 10)).astype(np.float32)
    full[np.arange(len(full)), stream.labels] += 6
    fast = full + rng.normal(0, 3, full.shape).astype(np.float32)
    found = {r.name: (r, figures(r, stream)) for r in baselines(stream, fast, full, 0.02)}
    everything, nothing = found["always System 2"][1], found["always System 1"][1]
    assert (everything.calls, everything.overall, nothing.calls, nothing.fast) == (1.0, 0.0, 0.0, 1.0)
    disagree = (fast.argmax(1) != full.argmax(1))[stream.item]
    assert nothing.overall == pytest.approx(disagree[stream.counted].mean())
    cache = found["exact cache + System 2"]
    assert cache[0].called.sum() == len(np.unique(stream.item))
    assert cache[1].calls + cache[1].cache == pytest.approx(1)
    oracle = found["oracle + cache"][1]
    assert oracle.overall == 0
    assert oracle.calls < cache[1].calls
    tuned, with_cache = found["tuned once"][1], found["tuned once + cache"][1]
    assert with_cache.calls < tuned.calls
    assert with_cache.overall == tuned.overall
    assert 0 < tuned.overall < 0.06
    rule = found["size, variance and rank + cache"][1]
    assert oracle.calls < rule.calls <= cache[1].calls


def test_a_population_keeps_its_bound_and_the_plain_threshold_does_not() -> None:
    found = populations.small_digits()
    guarantee = Guarantee(alpha=0.02)
    ours = violations(found.scores, found.losses, guarantee, 500, 200)
    plain = violations(found.scores, found.losses, guarantee, 500, 200, by=empirical)
    assert ours.rate <= ours.allowed(0.1) < plain.rate
    assert ours.share > 0.5


def test_mail_is_text_without_markup() -> None:
    raw = (
        "Subject: Win &amp; more\nContent-Type: text/html\n\n<html><style>p {}</style><p>Dear  friend,</p>\n"
        "<b>buy</b> now &lt;here&gt;" + " x" * 2000
    )
    text = mail.text_of(raw)
    assert text.startswith("Win &amp; more. Dear friend, buy now <here> x")
    assert len(text) == mail.CHARACTERS


def test_goals_are_shown_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    goal = Goal("G9", "a goal")
    goal.add("something", "1.0", target="<= 2", prototype="3", met=True)
    goal.add("more", "5.0", target="<= 2", met=False)
    report.show([goal], {"load_average": [0.5], "cpu": "a processor", "usable_cores": 2})
    shown = capsys.readouterr().out
    assert "1 of 2 targets met" in shown
    assert "missed" in shown
    monkeypatch.setattr(program, "RESULT", tmp_path / "hrm.json")
    program.keep([goal], {"cpu": "a processor"})
    goal.rows.clear()
    program.keep([Goal("G1", "another")], {"cpu": "another"})
    found = json.loads((tmp_path / "hrm.json").read_text(encoding="utf-8"))
    assert list(found["goals"]) == ["G1", "G9"]
    assert found["goals"]["G9"]["rows"][0]["met"] is True
    with pytest.raises(SystemExit):
        program.main(["--only", "g77"])


def test_pictures_have_what_was_measured() -> None:
    windows = [
        {"at": at, "full": 0.2, "cache": 0.5, "fast": 0.3, "called": 0.2, "wrong": 0.01, "certified": 0.6}
        for at in range(0, 42000, 1000)
    ]
    timeline = {
        "step": 1000, "windows": windows, "phases": {"clean": 6000, "rotated": 18000, "mixed": 30000},
        "events": [[18050, "alarm"], [19000, "sleep"], [19000, "certificate"]],
    }  # fmt: skip
    picture = report.stream_over_time(timeline)
    assert picture.count("<rect") == 3 * len(windows) + 5
    assert "request 18050: alarm" in picture
    assert "rotated" in picture
    sizes = report.memory_sizes({"cache_bytes": 1_000_000, "episode_bytes": 2_500_000})
    assert "2.50" in sizes


def test_figures_count_what_came_after_the_change(images) -> None:
    stream = streams.drifting(*images, seed=0, phase=1000, warm_up=500, hot=40)
    routed = baselines(stream, *(np.eye(10, dtype=np.float32)[stream.labels] for _ in range(2)), 0.02)[1]
    routed.wrong[stream.starts(1) + 3] = True
    found = figures(routed, stream)
    assert isinstance(found, Figures)
    assert (found.after, found.right) == (1, 1.0)
    assert found.disagreement == [0.0, 0.001, 0.0]
