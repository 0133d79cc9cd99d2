"""Chains have the answers that NumPy gives, every contestant is held against them, and the page is of the results."""

from __future__ import annotations

import ctypes
import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.bench_report import RESULTS
from benchmarks.bitnet import __main__ as command
from benchmarks.bitnet import bitnet_cpp, llama, measure
from benchmarks.bitnet.chain import Chain, activations, long_chain
from benchmarks.bitnet.contestants import AVX2, BINARY, I2_S, NUMPY, ORT, TERNARY, TQ2, WIDE, everyone, own
from benchmarks.bitnet.measure import Case, Row, check, extremes, off_by, stages
from benchmarks.bitnet.picture import draw
from benchmarks.bitnet.report import text
from benchmarks.bitnet.sizes import Size, sizes
from benchmarks.bitnet.targets import targets

SMALL = Case("small", "in", (256, 128), 3, 2)


def test_answers_are_those_of_the_weights_of_each_product() -> None:
    chain = Chain((96, 32), 4)
    x = activations(5, 96)
    y = x.astype(np.float64)
    for w in chain.rolled(lambda w, scale: w * scale):
        y = y @ w.T
    np.testing.assert_allclose(chain.answer(x, "floats"), y, rtol=1e-6)
    assert len({w.tobytes() for w in chain.rolled(lambda w, scale: w)}) == 4


def test_answers_of_bytes_round_each_row_and_of_signs_know_one_and_minus_one() -> None:
    chain = Chain((64,), 1, binary=True)
    x = np.zeros((1, 64), np.float32)
    x[0, :3] = 1.27, 0.014, -0.016
    w = chain.matrix(0).astype(np.float64) * chain.scale(0)
    np.testing.assert_allclose(chain.answer(x, "bytes")[0], w[:, :3] @ [1.27, 0.01, -0.02], rtol=1e-6)
    signs = np.where(x < 0, -1, 1)
    np.testing.assert_allclose(chain.answer(x, "signs"), signs @ w.T)


def test_a_long_chain_has_the_bytes_in_whole_rounds() -> None:
    chain = long_chain((64, 32), 2, 10_000)
    assert chain.layers % 2 == 0 and 10_000 <= chain.weights / 4 < 10_000 + 2 * 64 * 32 / 4


@pytest.mark.parametrize("contestant", own(), ids=lambda c: c.name)
def test_everyone_is_right_about_one_product_and_about_the_largest_sums(contestant) -> None:
    assert check(contestant, SMALL) <= contestant.tolerance
    assert extremes([contestant], 256, 128)[contestant.name] <= contestant.tolerance


def test_a_wrong_answer_ends_the_run() -> None:
    honest = own()[0]
    wrong = replace(honest, make=lambda chain, threads, rows: honest.make(replace(chain, binary=True), threads, rows))
    with pytest.raises(SystemExit, match="NumPy, float32, small: off by"):
        check(wrong, SMALL)


def test_figures_page_and_picture_of_a_small_run(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(measure, "READ", 1 << 20)
    monkeypatch.setattr(measure, "PAUSE_S", 0.0)
    monkeypatch.setattr(measure, "BURST", 0.0)
    wanted = [c for c in own() if c.name in (NUMPY, ORT, TERNARY, AVX2, BINARY)]
    memory = replace(SMALL, name="streamed", kind="out", layers=0)
    found = command.run(wanted, [SMALL, memory], 0.0, 100_000, layer=256) | {"versions": {}, "missing": {TQ2: "pip"}}
    rows = [Row(**r) for r in json.loads(json.dumps(found))["rows"]]
    assert [(r.case, r.contestant) for r in rows] == [(c, w.name) for c in ("small", "streamed") for w in wanted]
    assert all(r.microseconds >= r.least > 0 and r.runs >= 3 and r.gbytes_per_second > 0 for r in rows)
    assert max(r.ratio for r in rows if r.contestant in (NUMPY, ORT) and r.kind == "out") == 1
    page, picture = text(found), draw(found)
    assert "- llama.cpp, TQ2_0 was not run: pip" in page and "streamed" in page and page.count("| RONN, binary |") == 2
    assert picture.count("<rect") == 6 and "RONN, ternary, AVX2 code, streamed" in picture


def row(contestant: str, kind: str, microseconds: float) -> Row:
    return Row(kind, kind, contestant, microseconds, microseconds, 3, 100 / microseconds, 1.0, 1.0, 0.925, 0.0, "")


def test_targets_are_met_in_all_cases_missed_or_not_measured() -> None:
    rows = [row(TERNARY, "out", 5), row(TERNARY, "out 2", 10), row(I2_S, "out", 10), row(I2_S, "in", 10)]
    made = {t.what: t for t in targets(rows, [Size("binary, packed in memory", 1, 31.5)])}
    ours = made["1 row from memory, ternary, over the best float32"]
    assert ours.found == (20, 10) and ours.met is False
    assert made["1 row from memory, ternary, over bitnet.cpp, I2_S"].found == (2,)
    assert made["1 row in cache, ternary, over bitnet.cpp, I2_S"].met is None
    assert made["1 row from memory, ternary, of the read test"].found == (92.5, 92.5)
    assert made["weights smaller than float32: binary"].met is True


def test_cases_that_share_chains_are_one_stage() -> None:
    assert [[c.kind for c in stage] for stage in stages(measure.CASES)][:2] == [["out", "few"], ["out 2"]]


def test_peers_that_are_not_there_are_told_with_the_way_to_get_them(monkeypatch) -> None:
    monkeypatch.setattr(llama, "find_libraries", lambda: None)
    names, missing = everyone(None, None)
    assert len(names) == len(own()) and missing == {TQ2: llama.INSTALL, I2_S: bitnet_cpp.INSTALL}


def test_wrong_libraries_are_told(tmp_path, capsys) -> None:
    with pytest.raises(SystemExit):
        command.main(["--llama", str(tmp_path)])
    assert "has no libggml-base and libggml-cpu; pip install llama-cpp-python" in capsys.readouterr().err


def kernel_in_python(n, s, bs, x, bx, y, by, nrc) -> None:
    """What ``ggml_vec_dot_i2_i8_s`` says it does, without its overflow."""
    packed = np.ctypeslib.as_array((ctypes.c_uint8 * (n // 4)).from_address(x)).reshape(-1, 32)
    codes = np.stack([packed >> shift & 3 for shift in (6, 4, 2, 0)], 1).reshape(-1).astype(np.int64)
    for i in range(nrc):
        values = np.ctypeslib.as_array((ctypes.c_int8 * n).from_address(y + i * by))
        ctypes.c_float.from_address(s + 4 * i * bs).value = float(codes @ values)


@pytest.mark.parametrize("m", [1, 8])
def test_the_loops_round_the_kernel_of_bitnet_cpp(m) -> None:
    product = bitnet_cpp.product_with(bitnet_cpp.KERNEL_TYPE(kernel_in_python))
    chain, x = Chain((256, 384), 2), activations(m, 256)
    runner = bitnet_cpp.BitnetCppRunner(product, chain)
    runner.feed(x)
    expected = chain.answer(x, "bytes")
    np.testing.assert_allclose(runner(), expected, atol=2e-4 * np.abs(expected).max())


def test_16_bit_activations_are_closer_than_8() -> None:
    chain, x = Chain((256,), 1), activations(2, 256)
    by_name = {c.name: replace(c, kept="floats") for c in own()}
    assert off_by(by_name[WIDE], chain, x) < 0.02 * off_by(by_name[TERNARY], chain, x)


def test_sizes_have_scales_within() -> None:
    found = {s.what: s for s in sizes(512)}
    assert found["ternary, packed in memory"].bytes >= 512 * (512 * 1.58 / 8 + 4)
    assert found["binary, packed in memory"].bytes >= 512 * (512 / 8 + 4)


def test_page_and_picture_are_of_the_results() -> None:
    page = command.PAGE.read_text(encoding="utf-8")
    told = page.split("<!-- bitnet: begin -->\n")[1].split("<!-- bitnet: end -->")[0]
    results = RESULTS / "bitnet.json"
    if not results.exists():
        assert told.startswith("No figures of a quiet machine are kept yet")
        return
    found = json.loads(results.read_text(encoding="utf-8"))
    assert told == text(found), "run: python -m benchmarks.bitnet --redraw"
    picture = command.PAGE.parent / command.PICTURE
    assert picture.read_text(encoding="utf-8") == draw(found), "run: python -m benchmarks.bitnet --redraw"
