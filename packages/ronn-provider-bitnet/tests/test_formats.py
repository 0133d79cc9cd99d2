"""Readers of packed checkpoints against oracles of their own, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_files import I2_S, gguf_file, hf_file, hf_packed, i2s_packed, signs

from ronn.errors import ModelError
from ronn_provider_bitnet.formats import Ternary, pack_trits, read, read_gguf, read_safetensors, unpack_trits
from ronn_provider_bitnet.formats.ggml import unpack_i2s
from ronn_provider_bitnet.formats.huggingface import unpack_rows

SIZES = st.integers(1, 9)
SEEDS = st.integers(0, 2**32 - 1)
TQ = {"TQ1_0": gguf.GGMLQuantizationType.TQ1_0, "TQ2_0": gguf.GGMLQuantizationType.TQ2_0}
BITNET = {"quant_method": "bitnet"}


@pytest.mark.parametrize(("kind", "expected"), [("bitlinear", 1 / 1.25), ("autobitlinear", 1.25)])
def test_both_conventions_of_scales(tmp_path: Path, kind: str, expected: float) -> None:
    w = signs(12, 20)
    bias = np.arange(12, dtype=np.float32)
    tensors = {
        "m.q.weight": hf_packed(w), "m.q.weight_scale": np.array([1.25], np.float32), "m.q.bias": bias,
        "m.norm.weight": np.ones(20, np.float32),
    }  # fmt: skip
    file = hf_file(tmp_path, tensors, config={**BITNET, "linear_class": kind})
    for path in (file, tmp_path):
        found = read(path)
        assert list(found) == ["m.q"]
        layer = found["m.q"]
        np.testing.assert_array_equal(layer.dense(), w * np.float32(expected))
        assert layer.activations == 8 and layer.bias is not None and (layer.bias == bias).all()
    other = "autobitlinear" if kind == "bitlinear" else "bitlinear"
    assert read_safetensors(file, linear_class=other)["m.q"].scale[0, 0] == pytest.approx(1 / expected)


def test_silent_config_divides(tmp_path: Path) -> None:
    tensors = {"q.weight": hf_packed(signs(4, 4)), "q.weight_scale": np.array([4], np.float32)}
    assert read(hf_file(tmp_path, tensors, config=BITNET))["q"].scale[0, 0] == 0.25


@settings(max_examples=30, deadline=None)
@given(n=SIZES, k=SIZES, seed=SEEDS)
def test_rows_of_hugging_face(n: int, k: int, seed: int) -> None:
    w = signs(n, k, seed)
    codes = unpack_rows(hf_packed(w))
    assert codes.shape == (-(-n // 4) * 4, k)
    np.testing.assert_array_equal(codes[:n].astype(int) - 1, w)


def test_rows_that_packing_filled_up(tmp_path: Path) -> None:
    w = signs(10, 8)
    scale, bias = np.ones(1, np.float32), np.zeros(10, np.float32)
    tensors = {"q.weight": hf_packed(w), "q.weight_scale": scale, "q.bias": bias}
    np.testing.assert_array_equal(read(hf_file(tmp_path, tensors, config=BITNET))["q"].dense(), w)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_scales_of_half_precision(tmp_path: Path, dtype: type) -> None:
    w, scale = signs(8, 8), np.array([1.5], dtype)
    packed = hf_packed(w)
    header = json.dumps({
        "q.weight": {"dtype": "U8", "shape": packed.shape, "data_offsets": [0, 16]},
        "q.weight_scale": {"dtype": "F16" if dtype is np.float16 else "BF16", "shape": [1], "data_offsets": [16, 18]},
    }).encode()  # fmt: skip
    body = len(header).to_bytes(8, "little") + header + packed.tobytes() + scale.tobytes()
    (tmp_path / "model.safetensors").write_bytes(body)
    found = read_safetensors(tmp_path / "model.safetensors", linear_class="autobitlinear")
    np.testing.assert_array_equal(found["q"].dense(), w * np.float32(1.5))


@settings(max_examples=30, deadline=None)
@given(n=SIZES, blocks=st.integers(1, 2), order=st.sampled_from(["128", "64", "rows"]), seed=SEEDS)
def test_orders_of_i2s(n: int, blocks: int, order: str, seed: int) -> None:
    shape = (4 * n, 7 * blocks) if order == "rows" else (n, int(order) * blocks)
    w = signs(*shape, seed)
    packed = i2s_packed(w, 1.0, order)[:-32]
    np.testing.assert_array_equal(unpack_i2s(packed, shape, order).astype(int) - 1, w)  # type: ignore[arg-type]


@pytest.mark.parametrize("order", ["128", "64", "rows"])
def test_i2s_file(tmp_path: Path, order: str) -> None:
    w, bias = signs(8, 128), np.arange(8, dtype=np.float32)
    tensors = {
        "blk.0.ffn_up.weight": (i2s_packed(w, 0.75, order), (8, 128), I2_S), "blk.0.ffn_up.bias": (bias, (8,), 0),
        "output_norm.weight": (np.ones(128, np.float32), (128,), 0),
    }  # fmt: skip
    file = gguf_file(tmp_path / "m.gguf", tensors)
    layer = read_gguf(file, order=order)["blk.0.ffn_up"]  # type: ignore[arg-type]
    np.testing.assert_array_equal(layer.dense(), w * np.float32(0.75))
    assert layer.activations == 8 and layer.bias is not None and (layer.bias == bias).all()


@settings(max_examples=15, deadline=None)
@given(n=SIZES, blocks=st.integers(1, 3), kind=st.sampled_from(sorted(TQ)), seed=SEEDS)
def test_blocks_with_scales(
    tmp_path_factory: pytest.TempPathFactory, n: int, blocks: int, kind: str, seed: int
) -> None:
    scale = np.random.default_rng(seed).uniform(0.1, 2, (n, blocks, 1)).astype(np.float32)
    w = (signs(n, 256 * blocks, seed).reshape(n, blocks, 256) * scale).reshape(n, -1)
    raw = gguf.quants.quantize(w, TQ[kind])
    expected = gguf.quants.dequantize(raw, TQ[kind])
    file = tmp_path_factory.mktemp("tq") / "m.gguf"
    gguf_file(file, {"q.weight": (raw, w.shape, int(TQ[kind]))})
    layer = read(file)["q"]
    np.testing.assert_array_equal(layer.dense(), expected)
    np.testing.assert_allclose(layer.dense(), w, rtol=2**-10)
    assert (layer.group, layer.activations) == (256, 0)


def test_every_byte_of_tq1() -> None:
    """All bytes, those that no quantiser writes too."""
    from ronn_provider_bitnet.formats.ggml import unpack_tq1

    raw = (np.arange(256)[:, None] + np.arange(54) * 37).astype(np.uint8)
    raw[:, 52:] = np.array([1], "<f2").view(np.uint8)
    expected = gguf.quants.dequantize(raw, TQ["TQ1_0"])
    np.testing.assert_array_equal(unpack_tq1(raw[:, :52]).astype(int) - 1, expected)


def test_architecture_says_whether_activations_are_rounded(tmp_path: Path) -> None:
    raw = gguf.quants.quantize(signs(2, 256).astype(np.float32), TQ["TQ2_0"])
    file = gguf_file(tmp_path / "m.gguf", {"q.weight": (raw, (2, 256), 35)}, architecture="bitnet-b1.58")
    assert read(file)["q"].activations == 8


@settings(max_examples=50, deadline=None)
@given(n=SIZES, k=SIZES, seed=SEEDS)
def test_trits(n: int, k: int, seed: int) -> None:
    codes = (signs(n, k, seed) + 1).astype(np.uint8)
    packed = pack_trits(codes)
    assert packed.nbytes == -(-n * k // 5)
    np.testing.assert_array_equal(unpack_trits(packed, (n, k)), codes)


def test_bytes_that_are_no_trits() -> None:
    with pytest.raises(ModelError, match="243"):
        unpack_trits(np.array([243], np.uint8), (1, 5))
    with pytest.raises(ModelError, match="3 bytes"):
        unpack_trits(np.zeros(2, np.uint8), (3, 5))
    with pytest.raises(ModelError, match="3"):
        pack_trits(np.array([3], np.uint8))


def test_safetensors_that_are_refused(tmp_path: Path) -> None:
    good = {"q.weight": hf_packed(signs(8, 8)), "q.weight_scale": np.ones(1, np.float32)}
    file = hf_file(tmp_path, good)
    with pytest.raises(ModelError, match="which way the scales go") as raised:
        read(file)
    assert raised.value.hint is not None and "linear_class" in raised.value.hint
    with pytest.raises(ModelError, match="not BitNet's"):
        read(hf_file(tmp_path, good, config={"quant_method": "gptq"}))
    with pytest.raises(ModelError, match="RMSNorm"):
        read(hf_file(tmp_path, good, config={**BITNET, "use_rms_norm": True}))
    with pytest.raises(ModelError, match="'other'"):
        read(hf_file(tmp_path, good, config={**BITNET, "linear_class": "other"}))
    for change, words in (
        ({"q.weight_scale": None}, "no q.weight_scale"), ({"q.weight_scale": np.zeros(1, np.float32)}, "divided by 0"),
        ({"q.weight_scale": np.ones(2, np.float32)}, "2 numbers"), ({"q.weight": np.zeros(4, np.uint8)}, "shape"),
        ({"q.weight_scale": np.ones(1, np.int32)}, "type I32"), ({"q.bias": np.ones(3, np.float32)}, "bias of shape"),
        ({"q.weight": np.full((2, 8), 255, np.uint8)}, "codes of 3"),
        ({"q.weight_scale": np.full(1, np.nan, np.float32)}, "not a finite"),
        ({"q.weight": np.zeros((8, 8), np.float32)}, "no packed ternary"),
    ):  # fmt: skip
        tensors = {k: v for k, v in {**good, **change}.items() if v is not None}
        with pytest.raises(ModelError, match=words):
            read(hf_file(tmp_path, tensors, config=BITNET))
    whole = hf_file(tmp_path, good, config=BITNET).read_bytes()
    for size in (0, 5, 60, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(ModelError, match="cannot be read"):
            read(file)
    with pytest.raises(ModelError, match="no such"):
        read(tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match="not a checkpoint"):
        read(tmp_path / "model.bin")


def test_gguf_files_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    raw = i2s_packed(signs(4, 128), 1.0)
    whole = gguf_file(path, {"q.weight": (raw, (4, 128), I2_S)}).read_bytes()
    for size in range(0, len(whole) - len(raw) + 32, 7):
        path.write_bytes(whole[:size])
        with pytest.raises(ModelError, match=r"cannot be read|beyond"):
            read(path)
    for data, shape, kind, words in (
        (raw, (3, 100), I2_S, "whole blocks"), (raw, (512,), I2_S, "shape"), (raw, (2, 128), 35, "whole blocks of 256"),
        (raw, (1 << 20, 1 << 20), I2_S, "room for"), (np.zeros(16, np.float32), (4, 4), 0, "no ternary"),
        (np.full(160, 255, np.uint8), (4, 128), I2_S, "codes of 3"),
    ):  # fmt: skip
        with pytest.raises(ModelError, match=words):
            read(gguf_file(path, {"q.weight": (data, shape, kind)}))
    good = {"q.weight": (raw, (4, 128), I2_S)}
    with pytest.raises(ModelError, match="bias of type"):
        read(gguf_file(path, {**good, "q.bias": (np.zeros(4, np.int8), (4,), 24)}))
    with pytest.raises(ModelError, match="no order"):
        read_gguf(gguf_file(path, good), order="32")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="no such"):
        read(tmp_path / "none.gguf")


def test_scales_must_fit() -> None:
    codes = np.ones((4, 8), np.uint8)
    with pytest.raises(ModelError, match="groups of 4"):
        Ternary("q", codes, np.ones((4, 3), np.float32), group=4)
