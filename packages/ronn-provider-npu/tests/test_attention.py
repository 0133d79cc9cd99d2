"""Attention on OpenCL against the CPU provider: masks, caches, heads that share keys; on devices of all kinds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from held import held
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_dtypes import bfloat16
from npu_runs import on_device, one_node, same

from ronn.records import replace
from ronn_codegen.clike.kernel import Target
from ronn_codegen.clike.opencl import OpenCL
from ronn_codegen.clike.templates.attention import ATTENTION, ATTENTION_FEW, tiles

MS = "com.microsoft"
CLOSE = 2e-5


def _array(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    how=st.sampled_from(["alone", "vectors"]), batch=st.integers(1, 2), kv_heads=st.integers(1, 2),
    share=st.integers(1, 3),
    queries=st.integers(1, 40), keys=st.integers(2, 80), size=st.integers(1, 40), v_size=st.integers(1, 70),
    causal=st.booleans(), cap=st.sampled_from([0.0, 1.5]), mask=st.sampled_from(["none", "bool", "float"]),
    lead=st.sampled_from([(), (1, 1), (1, 0), (0, 1), (0, 0)]), seed=st.integers(0, 9),
)  # fmt: skip
def test_of_any_size(
    how: str, batch: int, kv_heads: int, share: int, queries: int, keys: int, size: int, v_size: int, causal: bool,
    cap: float, mask: str, lead: tuple[int, ...], seed: int,
) -> None:  # fmt: skip
    heads = kv_heads * share
    q, k, v = (
        _array((batch, h, s, n), seed + i)
        for i, (h, s, n) in enumerate([(heads, queries, size), (kv_heads, keys, size), (kv_heads, keys, v_size)])
    )
    given: list[np.ndarray | None] = [q, k, v]
    if mask != "none":
        whole = [batch, heads]
        shape = (*(whole[i] if one else 1 for i, one in enumerate(lead)), queries, keys)
        numbers = _array(shape, seed + 7)
        given.append(numbers > -1 if mask == "bool" else numbers)
    with held(how):
        same("Attention", given, within=CLOSE, opset=23, is_causal=int(causal), softcap=cap)


@pytest.mark.parametrize(("how", "queries"), [("vectors", 1), ("groups", 7), ("alone", 7)])
def test_behind_a_cache(how: str, queries: int) -> None:
    q, k, v = _array((2, 4, queries, 9), 1), _array((2, 2, queries, 9), 2), _array((2, 2, queries, 5), 3)
    past = [_array((2, 2, 11, 9), 4), _array((2, 2, 11, 5), 5)]
    with held(how):
        same("Attention", [q, k, v, None, *past], within=CLOSE, outputs=3, opset=23, is_causal=1)


@pytest.mark.parametrize("mode", range(4))
def test_shows_its_scores(mode: int) -> None:
    q, k, v = _array((2, 4, 3, 6), 1), _array((2, 2, 5, 6), 2), _array((2, 2, 5, 4), 3)
    mask = np.random.default_rng(4).random((2, 1, 3, 5)) > 0.3
    mask[0, 0, 1] = False  # a query without a key
    with held("alone"):
        same(
            "Attention", [q, k, v, mask], within=CLOSE, outputs=4, opset=23, qk_matmul_output_mode=mode, softcap=2.0,
        )  # fmt: skip


def test_lengths_of_keys_end_them() -> None:
    q, k, v = _array((3, 2, 2, 8), 1), _array((3, 2, 6, 8), 2), _array((3, 2, 6, 8), 3)
    lengths = np.array([0, 3, 6], np.int64)
    for causal in (0, 1):
        same("Attention", [q, k, v, None, None, None, lengths], within=CLOSE, opset=24, is_causal=causal)


def test_of_com_microsoft() -> None:
    packed, bias = _array((2, 5, 2, 3, 4), 1), _array((24,), 2)
    same("MultiHeadAttention", [packed, None, None, bias], within=CLOSE, domain=MS, num_heads=2)
    q, kv, padding = _array((2, 3, 8), 3), _array((2, 5, 2, 2, 4), 4), np.int32([[1, 1, 1, 0, 0], [1] * 5])
    same("MultiHeadAttention", [q, kv, None, None, padding], within=CLOSE, domain=MS, num_heads=2)
    same("MultiHeadAttention", [q, q, q], within=CLOSE, domain=MS, num_heads=2, unidirectional=1)


@pytest.mark.parametrize("rule", ["linear", "gated", "delta", "gated_delta"])
def test_layers_that_carry_a_state(rule: str) -> None:
    q, k, v = _array((2, 5, 12), 1), _array((2, 5, 6), 2), _array((2, 5, 10), 3)
    past, decay, beta = _array((2, 2, 3, 5), 4), -abs(_array((2, 5, 6), 5)), abs(_array((2, 5, 2), 6))
    given = [q, k, v, past, decay if "gated" in rule else None, beta if "delta" in rule else None]
    attributes: dict[str, Any] = {"q_num_heads": 4, "kv_num_heads": 2, "update_rule": rule}
    same("LinearAttention", given, within=CLOSE, outputs=2, opset=27, **attributes)


@pytest.mark.parametrize("steps", [1, 6])
def test_a_convolution_behind_a_state(steps: int) -> None:
    x, w, bias, past = _array((2, 3, steps), 1), _array((3, 1, 4), 2), _array((3,), 3), _array((2, 3, 3), 4)
    for operands in ([x, w, bias, past], [x, w]):
        same("CausalConvWithState", operands, within=CLOSE, outputs=2, opset=27, activation="silu")


@pytest.mark.parametrize(("dtype", "ulp"), [(np.dtype(np.float16), 2.0**-10), (np.dtype(bfloat16), 2.0**-7)])
def test_halves_are_computed_in_float32(dtype: np.dtype, ulp: float) -> None:
    q, k, v = (_array((1, 2, 5, 8), i).astype(dtype) for i in range(3))
    model, fed = one_node("Attention", [q, k, v], opset=23, is_causal=1, fixed=[1])
    (got,) = on_device(model, fed)
    model, fed = one_node("Attention", [x.astype(np.float32) for x in (q, k, v)], opset=23, is_causal=1)
    (want,) = on_device(model, fed)
    assert got.dtype == dtype
    np.testing.assert_allclose(got.astype(np.float32), want, rtol=ulp, atol=1e-6)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(group=st.integers(1, 1024), local_bytes=st.integers(64, 1 << 17))
def test_tiles_fit_the_local_memory(group: int, local_bytes: int) -> None:
    target = Target(OpenCL(), group=group, local_bytes=local_bytes)
    for few in (False, True):
        t = tiles(target, few)
        taken = 4 * (t["BQ"] * t["DEPTH"] + t["DEPTH"] * t["WIDE"] + t["BQ"] * t["BK"] + t["BQ"] * t["TX"])
        assert taken <= local_bytes
        assert t["TX"] * t["TY"] <= group
        assert (t["RQ"] * t["TY"], t["RK"] * t["TX"], t["RV"] * t["TX"]) == (t["BQ"], t["BK"], t["BV"])
        assert t["BK"] % t["DEPTH"] == 0


def test_the_text_says_its_tiles() -> None:
    target = Target(OpenCL(), group=64, local_bytes=32 << 10, width=1)
    assert "enum { BQ = 32, BK = 64, BV = 64," in ATTENTION.source("attend", target)
    assert "enum { BQ = 4, BK = 64, BV = 64," in ATTENTION_FEW.source("attend", target)
    assert "LOAD_f32x8" in ATTENTION.source("attend", replace(target, width=8))
    assert "LOAD_f32x8" not in ATTENTION.source("attend", replace(target, width=8, local_bytes=512))
