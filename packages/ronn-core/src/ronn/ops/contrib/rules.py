"""Shape rules of the ``com.microsoft`` operators."""

from __future__ import annotations

from collections.abc import Sequence

from ronn.ir.dims import Dim, Shape, ceildiv, floordiv
from ronn.ir.types import DType
from ronn.ops.infer import InferContext, infer_as, rule
from ronn.ops.rules.common import broadcast, unify

DOMAIN = "com.microsoft"


@rule("Gelu", "FastGelu", "BiasGelu", "QuickGelu", "BiasAdd", "BiasSoftmax", "GroupNorm", "RotaryEmbedding",
      "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax", "Trilu", "Inverse", domain=DOMAIN)  # fmt: skip
def same_as_first(c: InferContext) -> None:
    c.set(0, c.dtype(0), c.shape(0))


@rule("BiasSplitGelu", domain=DOMAIN)
def bias_split_gelu(c: InferContext) -> None:
    shape = c.shape(0)
    c.set(
        0, c.dtype(0), None if shape is None else (*shape[:-1], None if shape[-1] is None else floordiv(shape[-1], 2))
    )


def matmul_shape(c: InferContext, a: Shape | None, b: Shape | None) -> Shape | None:
    """The shape of ``a @ b``."""
    if a is None or b is None or not a or not b:
        return None
    unify(c, a[-1], b[-2 if len(b) > 1 else 0], "the sizes that are summed over")
    if len(a) == 1:
        return (*b[:-2], b[-1]) if len(b) > 1 else ()
    if len(b) == 1:
        return a[:-1]
    batch = broadcast(c, a[:-2], b[:-2])
    return None if batch is None else (*batch, a[-2], b[-1])


def _swapped(shape: Shape | None, trans: int, batch: int = 0) -> Shape | None:
    if shape is None or len(shape) < 2:
        return shape
    if batch:
        shape = (*shape[1:-1], shape[0], shape[-1])
    return (*shape[:-2], shape[-1], shape[-2]) if trans else shape


@rule("FusedMatMul", "TransposeMatMul", domain=DOMAIN)
def fused_matmul(c: InferContext) -> None:
    a = _swapped(c.shape(0), c.attr("transA", 0), c.attr("transBatchA", 0))
    b = _swapped(c.shape(1), c.attr("transB", 0), c.attr("transBatchB", 0))
    c.set(0, c.dtype(0), matmul_shape(c, a, b))


@rule("FusedGemm", "QGemm", domain=DOMAIN)
def gemm(c: InferContext) -> None:
    quantised = c.node.op == "QGemm"
    a, b = _swapped(c.shape(0), c.attr("transA", 0)), _swapped(c.shape(3 if quantised else 1), c.attr("transB", 0))
    dtype = (c.dtype(8) if c.has(8) else DType.FLOAT32) if quantised else c.dtype(0)
    c.set(0, dtype, matmul_shape(c, a, b))


@rule("DynamicQuantizeMatMul", "MatMulIntegerToFloat", domain=DOMAIN)
def integer_matmul(c: InferContext) -> None:
    dtype = c.dtype(2) if c.node.op == "MatMulIntegerToFloat" else c.dtype(0)
    c.set(0, dtype, matmul_shape(c, c.shape(0), c.shape(1)))


@rule("MatMulNBits", domain=DOMAIN)
def matmul_nbits(c: InferContext) -> None:
    a = c.shape(0)
    c.set(0, c.dtype(0), None if a is None else (*a[:-1], c.attr("N")))


@rule("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain=DOMAIN)
def skip_norm(c: InferContext) -> None:
    shape = c.shape(0)
    kept = None if shape is None else (*shape[:-1], 1)
    c.set(0, c.dtype(0), shape)
    c.set(1, DType.FLOAT32, kept)
    c.set(2, DType.FLOAT32, kept)
    c.set(3, c.dtype(0), shape)


@rule("EmbedLayerNormalization", domain=DOMAIN)
def embed(c: InferContext) -> None:
    ids, words = c.shape(0), c.shape(2)
    shape = None if ids is None else (*ids, None if words is None else words[-1])
    c.set(0, c.dtype(2), shape)
    c.set(1, DType.INT32, None if ids is None else ids[:1])
    c.set(2, c.dtype(2), shape)


def _plus(a: Dim | None, b: Dim | None) -> Dim | None:
    return None if a is None or b is None else a + b


@rule("Attention", "QAttention", domain=DOMAIN)
def attention(c: InferContext) -> None:
    x, w = c.shape(0), c.shape(1)
    past_at = 8 if c.node.op == "QAttention" else 4
    dtype = c.dtype(3) if c.node.op == "QAttention" else c.dtype(0)
    if x is None or len(x) != 3:
        c.set(0, dtype, None)
        return
    sizes = c.attr("qkv_hidden_sizes")
    width = w[1] if w is not None and len(w) == 2 else None
    hidden: Dim | None = sizes[2] if sizes else None if width is None else floordiv(width, 3)
    c.set(0, dtype, (x[0], x[1], hidden))
    heads = c.attr("num_heads")
    past = c.shape(past_at) if c.has(past_at) else None
    before = None if c.has(past_at) and past is None else 0 if past is None else past[3]
    c.set(1, dtype, (2, x[0], heads, _plus(before, x[1]), None if hidden is None else floordiv(hidden, heads)))


@rule("MultiHeadAttention", domain=DOMAIN)
def multi_head_attention(c: InferContext) -> None:
    q, k, v = (c.shape(i) if c.has(i) else None for i in range(3))
    heads = c.attr("num_heads")
    if q is None:
        c.set(0, c.dtype(0), None)
        return
    if len(q) not in (3, 5):
        raise c.fail(f"the query has rank {len(q)}, not 3 or 5")
    if len(q) == 5:  # packed [B, S, heads, 3, size]
        unify(c, q[2], heads, "heads of the query and num_heads")
        unify(c, q[3], 3, "parts of the packed query and 3")
        c.set(0, c.dtype(0), (q[0], q[1], None if q[4] is None else q[2] if q[2] is None else q[2] * q[4]))
        return
    for name, other in (("keys", k), ("values", v)):
        if other is not None:
            if len(other) not in (3, 4, 5):
                raise c.fail(f"the {name} have rank {len(other)}, not 3, 4 or 5")
            unify(c, q[0], other[0], f"batches of query and {name}")
    if k is not None and len(k) == 5:
        unify(c, k[2], heads, "heads of the keys and num_heads")
        unify(c, k[3], 2, "parts of the packed keys and 2")
    if k is not None and v is not None and len(k) == len(v):
        unify(c, k[2 if len(k) == 4 else 1], v[2 if len(v) == 4 else 1], "lengths of keys and values")
    if v is not None and len(v) == 4:
        width = None if v[3] is None or v[1] is None else v[1] * v[3]
    else:
        width = v[2] if v is not None else q[2]
    c.set(0, c.dtype(0), (q[0], q[1], width))
    if len(c.node.outputs) < 2 or k is None or v is None:
        return
    before = c.shape(6) if c.has(6) else None
    length = k[2] if len(k) == 4 else k[1]
    total = length if not c.has(6) or len(k) == 4 else _plus(None if before is None else before[2], length)
    for out, source in ((1, k), (2, v)):
        size = source[3] if len(source) == 4 else None if source[-1] is None else floordiv(source[-1], heads)
        c.set(out, c.dtype(0), (q[0], heads, total, size))


@rule("GroupQueryAttention", domain=DOMAIN)
def group_query_attention(c: InferContext) -> None:
    q, past = c.shape(0), c.shape(3) if c.has(3) else None
    heads, kv_heads = c.attr("num_heads"), c.attr("kv_num_heads")
    if q is None:
        c.set(0, c.dtype(0), None)
        return
    packed = not c.has(1)
    size = None if q[2] is None else floordiv(q[2], heads + 2 * kv_heads if packed else heads)
    c.set(0, c.dtype(0), (q[0], q[1], None if size is None else size * heads))
    total = c.dims(6)
    length = None
    if total and isinstance(total[0], int) and past is not None and isinstance(past[2], int):
        length = max(total[0], past[2])
    for out in (1, 2):
        c.set(out, c.dtype(0), (q[0], kv_heads, length, size))


@rule("DynamicQuantizeLSTM", domain=DOMAIN)
def lstm(c: InferContext) -> None:
    x, r = c.shape(0), c.shape(2)
    steps, batch = (x[0], x[1]) if x is not None else (None, None)
    directions = 2 if c.attr("direction") == "bidirectional" else 1
    hidden: Dim | None = c.attr("hidden_size")
    if hidden is None and r is not None:
        hidden = r[1]
    c.set(0, DType.FLOAT32, (steps, directions, batch, hidden))
    c.set(1, DType.FLOAT32, (directions, batch, hidden))
    c.set(2, DType.FLOAT32, (directions, batch, hidden))


@rule("QLinearAdd", "QLinearMul", domain=DOMAIN)
def quantised_binary(c: InferContext) -> None:
    c.set(0, c.dtype(0), broadcast(c, c.shape(0), c.shape(3)))


@rule("QLinearWhere", domain=DOMAIN)
def quantised_where(c: InferContext) -> None:
    c.set(0, c.dtype(1), broadcast(c, c.shape(0), broadcast(c, c.shape(1), c.shape(4))))


@rule("QLinearConcat", domain=DOMAIN)
def quantised_concat(c: InferContext) -> None:
    shapes = [c.shape(i) for i in range(2, len(c.node.inputs), 3)]
    first = shapes[0]
    if first is None or any(s is None or len(s) != len(first) for s in shapes):
        c.set(0, c.dtype(1), None)
        return
    axis = c.attr("axis") % len(first)
    total: Dim | None = 0
    for s in shapes:
        assert s is not None
        total = _plus(total, s[axis])
        for i, (x, y) in enumerate(zip(first, s, strict=True)):
            if i != axis:
                unify(c, x, y, f"sizes at axis {i}")
    c.set(0, c.dtype(1), (*first[:axis], total, *first[axis + 1 :]))


@rule("QLinearGlobalAveragePool", domain=DOMAIN)
def global_average_pool(c: InferContext) -> None:
    x = c.shape(0)
    if x is None:
        c.set(0, c.dtype(0), None)
    elif c.attr("channels_last"):
        c.set(0, c.dtype(0), (x[0], *(1 for _ in x[1:-1]), x[-1]))
    else:
        c.set(0, c.dtype(0), (*x[:2], *(1 for _ in x[2:])))


def window_dims(
    spatial: Sequence[Dim | None], kernel: Sequence[int], c: InferContext, dilations: Sequence[int] | None = None
) -> list[Dim | None]:
    """Spatial output dims of a convolution or pool with the node's pads, strides, dilations and rounding."""
    n = len(kernel)
    strides = c.attr("strides") or [1] * n
    dilations = dilations or c.attr("dilations") or [1] * n
    pads = c.attr("pads") or [0] * (2 * n)
    auto = c.attr("auto_pad", "NOTSET")
    out: list[Dim | None] = []
    for i, size in enumerate(spatial):
        extent = dilations[i] * (kernel[i] - 1) + 1
        if size is None:
            out.append(None)
        elif auto in ("SAME_UPPER", "SAME_LOWER"):
            out.append(ceildiv(size, strides[i]))
        else:
            free = size - extent if auto == "VALID" else size + pads[i] + pads[i + n] - extent
            whole = ceildiv(free, strides[i]) if c.attr("ceil_mode", 0) else floordiv(free, strides[i])
            out.append(whole + 1)
    return out


@rule("QLinearAveragePool", "NhwcMaxPool", domain=DOMAIN)
def pool(c: InferContext) -> None:
    x = c.shape(0)
    if x is None:
        c.set(0, c.dtype(0), None)
    elif c.node.op == "NhwcMaxPool" or c.attr("channels_last"):
        c.set(0, c.dtype(0), (x[0], *window_dims(x[1:-1], c.attr("kernel_shape"), c), x[-1]))
    else:
        c.set(0, c.dtype(0), (*x[:2], *window_dims(x[2:], c.attr("kernel_shape"), c)))


@rule("FusedConv", domain=DOMAIN)
def fused_conv(c: InferContext) -> None:
    infer_as("Conv", c)


@rule("QuantizeLinear", domain=DOMAIN)
def quantize(c: InferContext) -> None:
    c.set(0, c.dtype(2) if c.has(2) else DType.UINT8, c.shape(0))


@rule("DequantizeLinear", domain=DOMAIN)
def dequantize(c: InferContext) -> None:
    c.set(0, c.dtype(1), c.shape(0))


@rule("ExpandDims", domain=DOMAIN)
def expand_dims(c: InferContext) -> None:
    x, axis = c.shape(0), c.const(1)
    if x is None or axis is None:
        c.set(0, c.dtype(0), None if x is None else (None,) * (len(x) + 1))
        return
    at = int(axis.reshape(())) % (len(x) + 1)
    c.set(0, c.dtype(0), (*x[:at], 1, *x[at:]))


@rule("CDist", domain=DOMAIN)
def cdist(c: InferContext) -> None:
    a, b = c.shape(0), c.shape(1)
    c.set(0, c.dtype(0), None if a is None or b is None else (a[0], b[0]))


@rule("Unique", domain=DOMAIN)
def unique(c: InferContext) -> None:
    c.set(0, c.dtype(0), (None,))
    c.set(1, DType.INT64, c.shape(0))
    c.set(2, DType.INT64, (None,))


@rule("Range", domain=DOMAIN)
def range_rule(c: InferContext) -> None:
    c.set(0, c.dtype(0), (None,))


@rule("Pad", domain=DOMAIN)
def pad(c: InferContext) -> None:
    x, pads = c.shape(0), c.dims(1)
    if x is None or pads is None or len(pads) != 2 * len(x):
        c.set(0, c.dtype(0), None if x is None else (None,) * len(x))
        return
    n = len(x)
    c.set(0, c.dtype(0), (_plus(_plus(x[i], pads[i]), pads[i + n]) for i in range(n)))


@rule("Tokenizer", domain=DOMAIN)
def tokenizer(c: InferContext) -> None:
    x = c.shape(0)
    c.set(0, DType.STRING, None if x is None else (*x, None))


@rule("MurmurHash3", domain=DOMAIN)
def murmur(c: InferContext) -> None:
    c.set(0, DType.UINT32 if c.attr("positive", 1) else DType.INT32, c.shape(0))


@rule("GridSample", domain=DOMAIN)
def grid_sample(c: InferContext) -> None:
    x, grid = c.shape(0), c.shape(1)
    c.set(0, c.dtype(0), None if x is None or grid is None else (x[0], x[1], *grid[1:-1]))


@rule("SimplifiedLayerNormalization")
def simplified_layer_normalization(c: InferContext) -> None:
    shape = c.shape(0)
    c.set(0, c.dtype(0), shape)
    if shape is not None and shape:
        axis = c.attr("axis", -1) % len(shape)
        shape = (*shape[:axis], *(1 for _ in shape[axis:]))
    c.set(1, DType.FLOAT32, shape)
