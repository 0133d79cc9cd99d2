"""Attention of ai.onnx, its previews and com.microsoft, in float32: all but the call of the kernel, which a device has
of its own (``Call``)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ronn.ir.types import DType
from ronn.records import dataclass
from ronn_codegen.lowering import BOOL, F32, I32, I64, Lowering, Operand, Temporary
from ronn_codegen.templates.attention_layout import MASK_ADDED, MASK_BOOLEAN, MASK_NONE

_MODULE = "ronn_codegen.templates.attention"
_SCORES = "ronn_codegen.templates.attention_scores"


@dataclass(frozen=True)
class Heads:
    """Rows of ``size`` elements for each batch, head and step; ``strides`` of those, in elements."""

    source: Operand | Temporary
    batch: int
    heads: int
    steps: int
    size: int
    strides: tuple[int, int, int]
    offset: int = 0  # bytes

    @property
    def address(self) -> Any:
        return self.source.at(self.offset) if self.offset else self.source


def split(c: Lowering, x: Operand, heads: int) -> Heads:
    """``x[batch, heads, steps, size]``, or ``x[batch, steps, heads * size]``."""
    c.require(x.rank in (3, 4), f"an operand of shape {x.shape}")
    if x.rank == 4:
        b, h, s, size = x.shape
        return Heads(x, b, h, s, size, (h * s * size, s * size, size))
    b, s, width = x.shape
    c.require(heads > 0 and width % heads == 0, f"{width} elements in {heads} heads")
    return Heads(x, b, heads, s, width // heads, (s * width, width // heads, width))


Call = Callable[[Lowering, Heads, Heads, Heads, dict[str, Any]], None]
"""Calls the kernel for (lowering, q, k, v, arguments): those of ``attention_f32`` that every device has."""


def attend(
    c: Lowering,
    call: Call,
    q: Heads,
    k: Heads,
    v: Heads,
    y: Heads,
    *,
    scale: float,
    cap: float = 0.0,
    mask: Operand | Temporary | None = None,
    kind: int = MASK_NONE,
    mask_strides: tuple[int, int, int] = (0, 0, 0),
    causal: bool = False,
    offset: int = 0,
    nonpad: Operand | None = None,
) -> None:
    """The call of ``attention_f32``. Of one step, queries that share keys are taken as steps: keys are read once."""
    c.require(q.heads % k.heads == 0 and k.heads == v.heads, f"{q.heads} heads over {k.heads} and {v.heads}")
    c.require(q.batch == k.batch == v.batch and q.size == k.size and k.steps <= v.steps, "operands that do not fit")
    c.require((y.batch, y.heads, y.steps, y.size) == (q.batch, q.heads, q.steps, v.size), "a result that does not fit")
    c.require(nonpad is None or nonpad.shape == (q.batch,), "not one length of keys a sequence")
    if q.steps == 1 and causal:
        if nonpad is None:
            k = Heads(k.source, k.batch, k.heads, min(k.steps, offset + 1), k.size, k.strides, k.offset)
        causal = False
    if q.steps == 1 < q.heads // k.heads and not mask_strides[1]:
        q, y = _shared(q, k.heads), _shared(y, k.heads)
        mask_strides = (mask_strides[0], 0, 0)
    names = [f"{t}_{n}" for t in "qkvy" for n in "bhs"]
    strides = dict(zip(names, (*q.strides, *k.strides, *v.strides, *y.strides), strict=True))
    m_b, m_h, m_q = mask_strides
    call(c, q, k, v, {
        "q": q.address, "k": k.address, "v": v.address, "y": y.address, "batch": q.batch, "heads": q.heads,
        "kv_heads": k.heads, "queries": q.steps, "keys": k.steps, "size": q.size, "v_size": v.size, **strides,
        "scale": scale, "cap": cap, "mask": 0 if mask is None else mask, "kind": kind, "m_b": m_b, "m_h": m_h,
        "m_q": m_q, "causal": int(causal), "offset": offset, "nonpad": 0 if nonpad is None else nonpad,
    })  # fmt: skip


def _shared(x: Heads, heads: int) -> Heads:
    """The heads of one step as steps of ``heads`` heads."""
    steps, (batch, head, _) = x.heads // heads, x.strides
    return Heads(x.source, x.batch, heads, steps, x.size, (batch, steps * head, head), x.offset)


def copy(c: Lowering, x: Heads, to: Heads, bias: Any = 0, bias_h: int = 0) -> None:
    """The call that copies x, with a bias for each head, to the first steps of ``to``."""
    rows = x.batch * x.heads * x.steps
    names = [f"{t}_{n}" for t in "xy" for n in "bhs"]
    c.call(
        _MODULE, "rows_copy_f32", x=x.address, y=to.address, batch=x.batch, heads=x.heads, steps=x.steps, size=x.size,
        **dict(zip(names, (*x.strides, *to.strides), strict=True)), bias=bias, bias_h=bias_h, chunks=rows,
        cost=rows * (3 + 0.2 * x.size), bytes=8 * rows * x.size,
    )  # fmt: skip


def present(c: Lowering, past: Operand | None, x: Heads, out: Operand | None) -> Heads:
    """``x`` behind ``past[batch, heads, steps, size]``, in the output ``out`` where that is wanted."""
    if past is None and out is None:
        return x
    fits = past is None or (past.rank == 4 and (*past.shape[:2], past.shape[3]) == (x.batch, x.heads, x.size))
    c.require(fits, "past values that do not fit")
    before = 0 if past is None else past.shape[2]
    steps = before + x.steps
    strides = (x.heads * steps * x.size, steps * x.size, x.size)
    whole_shape = (x.batch, x.heads, steps, x.size)
    c.require(out is None or out.shape == whole_shape, "an output that does not fit")
    to: Operand | Temporary = c.temp(4 * x.batch * strides[0]) if out is None else out
    whole = Heads(to, x.batch, x.heads, steps, x.size, strides)
    if past is not None and past.size:
        copy(c, split(c, past, x.heads), whole)
    copy(c, x, Heads(to, x.batch, x.heads, steps, x.size, strides, 4 * before * x.size))
    return whole


def mask_of(c: Lowering, mask: Operand | None, q: Heads, keys: int) -> tuple[dict[str, Any], int]:
    """The arguments of ``attend`` for a mask, and how many keys it leaves."""
    if mask is None:
        return {}, keys
    c.require(mask.dtype in (F32, BOOL), f"a mask of {mask.dtype}")
    c.require(1 <= mask.rank <= 4, f"a mask of rank {mask.rank}")
    shape = (1,) * (4 - mask.rank) + mask.shape
    width = shape[3]
    c.require(width == keys or 1 < width < keys, f"a mask for {width} of {keys} keys")
    strides = []
    step = width
    for size, whole in zip(shape[2::-1], (q.steps, q.heads, q.batch), strict=True):
        c.require(size in (1, whole), f"a mask {mask.shape} for {q.batch}, {q.heads}, {q.steps}, {keys}")
        strides.append(0 if size == 1 else step)
        step *= size
    m_q, m_h, m_b = strides
    kind = MASK_BOOLEAN if mask.dtype == BOOL else MASK_ADDED
    return {"mask": mask, "kind": kind, "mask_strides": (m_b, m_h, m_q)}, width


def output(c: Lowering, index: int) -> Operand | None:
    """An output; None where it is beyond the last or nobody wants it."""
    return c.outputs[index] if index < len(c.outputs) else None


def floats(c: Lowering, *operands: Operand | None) -> None:
    """Refuses operands that are not float32."""
    for given in operands:
        c.require(given is None or given.dtype == F32, f"only float32, not {given and given.dtype}")


def attention(c: Lowering, call: Call) -> None:
    """Attention of ai.onnx."""
    query, key, value = c.inputs[:3]
    y, nonpad = c.outputs[0], c.input(6)
    assert query is not None and key is not None and value is not None
    c.require(y is not None, "the result is not used")
    assert y is not None
    past_key, past_value = c.input(4), c.input(5)
    floats(c, query, key, value, past_key, past_value)
    c.require(query.size and key.size and value.size, "no elements")
    precision = c.attr("softmax_precision")
    c.require(not precision or DType.from_code(int(precision)).numpy == F32, "softmax in another precision")
    c.require(nonpad is None or (nonpad.dtype == I64 and past_key is None), "past beside lengths of keys")
    heads, kv_heads = c.attr("q_num_heads", 0), c.attr("kv_num_heads", 0)
    c.require(query.rank == 4 or (heads and kv_heads), "numbers of heads")
    q, k, v = split(c, query, heads), split(c, key, kv_heads), split(c, value, kv_heads)
    c.require(past_key is None or past_key.rank == 4, "past keys that do not fit")
    offset = 0 if past_key is None else past_key.shape[2]
    k = present(c, past_key, k, output(c, 1))
    v = present(c, past_value, v, output(c, 2))
    scale = c.attr("scale")
    scale, cap = float(1 / math.sqrt(q.size) if scale is None else scale), float(c.attr("softcap", 0.0))
    masked, keys = mask_of(c, c.input(3), q, k.steps)
    causal, shown = bool(c.attr("is_causal", 0)), output(c, 3)
    c.require(q.batch == k.batch and q.size == k.size and q.heads % max(k.heads, 1) == 0, "keys that do not fit")
    c.require(k.steps == v.steps, "values that do not fit")
    c.require(nonpad is None or nonpad.shape == (q.batch,), "not one length of keys a sequence")
    if shown is not None or max(c.attr("left_window_size", -1), c.attr("right_window_size", -1)) >= 0:
        masked = written(c, masked, keys, q, k.steps, causal, offset, nonpad)
        keys, causal, offset, nonpad = k.steps, False, 0, None
    if shown is not None:
        show(c, q, k, shown, scale, cap, masked)
    if keys < k.steps:
        k = Heads(k.source, k.batch, k.heads, keys, k.size, k.strides, k.offset)
    made = split(c, y, q.heads)
    attend(c, call, q, k, v, made, scale=scale, cap=cap, causal=causal, offset=offset, nonpad=nonpad, **masked)


def written(
    c: Lowering, masked: dict[str, Any], width: int, q: Heads, keys: int, causal: bool, offset: int,
    nonpad: Operand | None,
) -> dict[str, Any]:  # fmt: skip
    """The arguments of ``attend`` for a mask that is written out with all that hides keys; none where nothing does."""
    left, right = (int(c.attr(name, -1)) for name in ("left_window_size", "right_window_size"))
    if not masked and not causal and nonpad is None and left < 0 and right < 0:
        return {}
    m_b, m_h, m_q = masked.get("mask_strides", (0, 0, 0))
    batch = q.batch if m_b or nonpad is not None else 1
    heads = q.heads if m_h else 1
    to = c.temp(4 * batch * heads * q.steps * keys)
    c.call(
        _SCORES, "attention_mask_f32", mask=masked.get("mask", 0), kind=masked.get("kind", MASK_NONE), m_b=m_b, m_h=m_h,
        m_q=m_q, width=width, batch=batch, heads=heads, queries=q.steps, keys=keys, causal=int(causal), left=left,
        right=right, offset=offset, nonpad=0 if nonpad is None else nonpad, y=to, chunks=batch * heads * q.steps,
        cost=2.0 * batch * heads * q.steps * keys,
    )  # fmt: skip
    strides = (heads * q.steps * keys if batch > 1 else 0, q.steps * keys if heads > 1 else 0, keys)
    return {"mask": to, "kind": MASK_ADDED, "mask_strides": strides}


def show(c: Lowering, q: Heads, k: Heads, y: Operand, scale: float, cap: float, masked: dict[str, Any]) -> None:
    """The call that puts the scores to an output, as far as ``qk_matmul_output_mode`` says."""
    c.require(y.dtype == F32, f"scores in {y.dtype}")
    m_b, m_h, m_q = masked.get("mask_strides", (0, 0, 0))
    rows = q.batch * q.heads * q.steps
    names = [f"{t}_{n}" for t in "qk" for n in "bhs"]
    c.call(
        _SCORES, "attention_scores_f32", q=q.address, k=k.address, y=y, batch=q.batch, heads=q.heads, kv_heads=k.heads,
        queries=q.steps, keys=k.steps, size=q.size, **dict(zip(names, (*q.strides, *k.strides), strict=True)),
        scale=scale, cap=cap, mask=masked.get("mask", 0), m_b=m_b, m_h=m_h, m_q=m_q,
        mode=int(c.attr("qk_matmul_output_mode", 0)), chunks=rows, cost=rows * k.steps * (5 + 0.1 * q.size),
    )  # fmt: skip


def flex_attention(c: Lowering, call: Call) -> None:
    """FlexAttention without modifiers."""
    query, key, value = c.inputs[:3]
    y = c.outputs[0]
    assert query is not None and key is not None and value is not None and y is not None
    floats(c, query, key, value)
    c.require(not any(True for _ in c.node.subgraphs()), "modifier subgraphs")
    precision = c.attr("softmax_precision")
    c.require(not precision or DType.from_code(int(precision)).numpy == F32, "softmax in another precision")
    q = split(c, query, 1)
    scale = c.attr("scale")
    scale = 1 / math.sqrt(q.size) if scale is None else scale
    attend(c, call, q, split(c, key, 1), split(c, value, 1), split(c, y, q.heads), scale=scale)


def _unpacked(c: Lowering, heads: int) -> tuple[Heads, Heads, Heads, bool]:
    """Query, key and value of MultiHeadAttention, and whether key and value are projected already per head."""
    query, key, value = (c.input(i) for i in range(3))
    assert query is not None
    if query.rank == 5:  # (batch, steps, heads, 3, size)
        b, s, h, parts, size = query.shape
        c.require(h == heads and parts == 3, f"a query of shape {query.shape}")
        strides = (s * h * 3 * size, 3 * size, h * 3 * size)
        q, k, v = (Heads(query, b, h, s, size, strides, 4 * i * size) for i in range(3))
        return q, k, v, False
    assert key is not None
    q = split(c, query, heads)
    if key.rank == 5:  # (batch, steps, heads, 2, size)
        b, s, h, parts, size = key.shape
        c.require(h == heads and parts == 2, f"keys of shape {key.shape}")
        strides = (s * h * 2 * size, 2 * size, h * 2 * size)
        k, v = (Heads(key, b, h, s, size, strides, 4 * i * size) for i in range(2))
        return q, k, v, False
    assert value is not None
    return q, split(c, key, heads), split(c, value, heads), key.rank == 4


def multi_head_attention(c: Lowering, call: Call) -> None:
    """MultiHeadAttention of com.microsoft, without masks beyond key padding and an added bias."""
    heads, y = c.attr("num_heads"), c.outputs[0]
    assert y is not None
    floats(c, c.input(0), c.input(1), c.input(2), c.input(3), c.input(5), c.input(6), c.input(7))
    c.require(c.input(8) is None and c.input(9) is None, "a shared buffer of past keys")
    c.require(output(c, 3) is None, "the scores are an output")
    q, k, v, crossed = _unpacked(c, heads)
    bias = c.input(3)
    if bias is not None:
        c.require(bias.shape == (heads * (q.size + k.size + v.size),), f"a bias of shape {bias.shape}")
        q = _biased(c, q, bias, 0)
        if not crossed:
            k, v = _biased(c, k, bias, heads * q.size), _biased(c, v, bias, heads * (q.size + k.size))
    past_key, past_value = (None, None) if crossed else (c.input(6), c.input(7))
    k, v = present(c, past_key, k, output(c, 1)), present(c, past_value, v, output(c, 2))
    causal = bool(c.attr("unidirectional", 0))
    c.require(not causal or q.steps <= k.steps, "more queries than keys")
    scale = c.attr("scale")
    masked = _masked(c, c.input(4), c.input(5), q, k.steps)
    attend(
        c, call, q, k, v, split(c, y, heads), scale=scale if scale else 1 / math.sqrt(q.size), causal=causal,
        offset=k.steps - q.steps, **masked,
    )  # fmt: skip


def _biased(c: Lowering, x: Heads, bias: Operand, first: int) -> Heads:
    strides = (x.heads * x.steps * x.size, x.steps * x.size, x.size)
    to = Heads(c.temp(4 * x.batch * strides[0]), x.batch, x.heads, x.steps, x.size, strides)
    copy(c, x, to, bias.at(4 * first), x.size)
    return to


def _masked(c: Lowering, padding: Operand | None, extra: Operand | None, q: Heads, keys: int) -> dict[str, Any]:
    """The arguments of ``attend`` for a mask of keys (int32 [batch, keys]) or an added bias."""
    c.require(padding is None or extra is None, "both a mask and an added bias")
    if padding is None:
        return mask_of(c, extra, q, keys)[0]
    c.require(padding.dtype == I32 and padding.shape == (q.batch, keys), f"a mask {padding.dtype}{padding.shape}")
    to = c.temp(4 * q.batch * keys)
    filler = float(c.attr("mask_filter_value", -10000.0))
    c.call(_MODULE, "key_mask_f32", mask=padding, y=to, count=q.batch * keys, filler=filler, cost=1.0 * q.batch * keys)
    return {"mask": to, "kind": MASK_ADDED, "mask_strides": (keys, 0, 0)}
