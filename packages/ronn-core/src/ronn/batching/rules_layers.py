"""What layers (products, convolutions, normalisations, recurrent ones, attention, trees) do to the rows of a batch."""

from __future__ import annotations

from ronn.batching.rows import Kind, RowContext, State
from ronn.batching.rules import broadcast, rows


def leading(c: RowContext, *others: int) -> State:
    """The first input has its rows along axis 0, and so may ``others``; what else there is must be shared."""
    for i in range(len(c.node.inputs)):
        axis = c.axis(i)
        if i and i not in others and axis is not None:
            raise c.refuse(f"input {i} differs from request to request")
        if axis not in (None, 0):
            raise c.refuse(f"input {i} has its rows along axis {axis} instead of 0")
    if c.axis(0) is None:
        raise c.refuse("only its parameters differ from request to request")
    return 0


# --- products


def product_of(c: RowContext, a: int, b: int, a_turned: bool = False, b_turned: bool = False) -> State:
    """Of matrices: rows may lie in leading dims, or along the rows of the left or the columns of the right operand."""
    left, right = c.axis(a), c.axis(b)
    ranks = c.known_rank(a), c.known_rank(b)
    if min(ranks) < 2:
        if ranks[1] == 1 and right is None and left is not None and left < ranks[0] - 1:
            return left
        raise c.refuse("a product with a vector")
    out = len(c.out_shape())
    if left is not None and right is not None:
        if left - ranks[0] != right - ranks[1] or left - ranks[0] >= -2:
            raise c.refuse("both operands have rows, and not along the same leading axis")
        return out + left - ranks[0]
    turned, axis, rank, other = (a_turned, left, ranks[0], b) if left is not None else (b_turned, right, ranks[1], a)
    assert axis is not None
    place = axis - rank
    if place < -2:
        shape = c.shape(other)
        if shape is None or (len(shape) >= -place and shape[place] != 1):
            raise c.refuse(f"input {other} is shared, but has as many matrices as the batch")
        return out + place
    summed = -2 if (left is None) != turned else -1
    if place == summed:
        raise c.refuse("it sums over the rows")
    return out - (2 if left is not None else 1)


@rows("MatMul MatMulInteger")
def matmul(c: RowContext) -> State:
    c.shared(2, 3)
    if c.has(2) and c.rank(2) != 0 and c.shape(2) != (1,):
        raise c.refuse("its left zero point is one for each row")
    return product_of(c, 0, 1)


@rows("QLinearMatMul")
def qlinear_matmul(c: RowContext) -> State:
    c.shared(1, 2, 4, 5, 6, 7)
    if c.rank(1) != 0 and c.shape(1) != (1,):
        raise c.refuse("its left scale is one for each row")
    return product_of(c, 0, 3)


@rows("Gemm")
@rows("FusedGemm", "com.microsoft")
def gemm(c: RowContext) -> State:
    out = product_of(c, 0, 1, bool(c.attr("transA", 0)), bool(c.attr("transB", 0)))
    if c.has(2):
        addend = c.axis(2)
        place = int(out) - 2 if isinstance(out, int) else 0
        shape = c.shape(2)
        if addend is not None:
            if addend - c.known_rank(2) != place:
                raise c.refuse("its addend has rows along another axis")
        elif shape is None or (len(shape) >= -place and shape[place] != 1):
            raise c.refuse("its addend is shared, but has as many rows as the batch")
    return out


@rows("FusedMatMul", "com.microsoft")
def fused_matmul(c: RowContext) -> State:
    if c.attr("transBatchA", 0) or c.attr("transBatchB", 0):
        raise c.refuse("it transposes the batch")
    return product_of(c, 0, 1, bool(c.attr("transA", 0)), bool(c.attr("transB", 0)))


@rows("MatMulNBits", "com.microsoft")
def matmul_nbits(c: RowContext) -> State:
    c.shared(*range(1, len(c.node.inputs)))
    own = c.axis(0)
    assert own is not None
    if own == c.known_rank(0) - 1:
        raise c.refuse("it sums over the rows")
    return own


@rows("Einsum")
def einsum(c: RowContext) -> State:
    text = "".join(str(c.attr("equation", "")).split())
    if "..." in text or "->" not in text:
        raise c.refuse(f"the equation {text!r} is not of letters and an arrow")
    terms, _, out = text.partition("->")
    letters = set()
    for i, term in enumerate(terms.split(",")):
        axis = c.axis(i)
        if axis is not None:
            letters.add(term[axis])
    (letter, *more) = letters
    for i, term in enumerate(terms.split(",")):
        if term.count(letter) != (c.axis(i) is not None):
            raise c.refuse(f"{letter!r} of {text!r} is in an operand that is shared, or twice in one")
    if more or out.count(letter) != 1:
        raise c.refuse(f"{text!r} sums over the rows, or has them along different letters")
    return out.index(letter)


# --- convolutions and pools


@rows("Conv ConvTranspose ConvInteger")
@rows("FusedConv", "com.microsoft")
@rows("GlobalAveragePool GlobalMaxPool GlobalLpPool AveragePool LpPool LRN InstanceNormalization GroupNormalization")
@rows("DepthToSpace SpaceToDepth Col2Im STFT")
@rows("GroupNorm NhwcMaxPool QLinearAveragePool QLinearGlobalAveragePool", "com.microsoft")
def layer(c: RowContext) -> State:
    return leading(c, *((3,) if c.node.op == "FusedConv" else ()))


@rows("QLinearConv")
def qlinear_conv(c: RowContext) -> State:
    return leading(c)


@rows("MaxPool")
def max_pool(c: RowContext) -> State:
    own = leading(c)
    if len(c.node.outputs) > 1 and c.node.outputs[1].name:
        raise c.refuse("its indices count through all rows")
    return own


@rows("GridSample")
@rows("GridSample", "com.microsoft")
def grid_sample(c: RowContext) -> State:
    if c.axis(1) != 0:
        raise c.refuse("its grid is shared")
    return leading(c, 1)


@rows("DeformConv")
def deform_conv(c: RowContext) -> State:
    if c.axis(2) != 0 or (c.has(4) and c.axis(4) != 0):
        raise c.refuse("its offsets or its mask are shared")
    return leading(c, 2, 4)


@rows("Resize Upsample")
def resize(c: RowContext) -> State:
    own = c.axis(0)
    if own is None or (c.shape(0) or ())[own] != c.out_shape()[own]:
        raise c.refuse("it resizes the batch")
    for i in range(1, len(c.node.inputs)):
        if c.state(i) is Kind.SIZE and i == 3:
            continue  # sizes, which name the number of rows: that is what stays
        c.shared(i)
    if str(c.attr("mode", "nearest")) != "nearest" and own > c.known_rank(0) - 3 and c.known_rank(0) > 2:
        raise c.refuse("the rows lie among the axes that it resizes")
    if str(c.attr("coordinate_transformation_mode", "")) == "tf_crop_and_resize":
        raise c.refuse("its region may cut the batch")
    c.sized()
    return own


@rows("RoiAlign MaxRoiPool NonMaxSuppression MaxUnpool")
def by_index(c: RowContext) -> State:
    raise c.refuse("it works with indices into the batch")


# --- normalisation


@rows("BatchNormalization")
def batch_normalization(c: RowContext) -> State:
    if c.attr("training_mode", 0) or sum(bool(v.name) for v in c.node.outputs) > 1:
        raise c.refuse("it takes statistics over all rows")
    return leading(c)


@rows("LayerNormalization RMSNormalization SimplifiedLayerNormalization")
def layer_normalization(c: RowContext) -> State:
    c.shared(*range(1, len(c.node.inputs)))
    own, rank, axis = c.axis(0), c.known_rank(0), int(c.attr("axis", -1))
    assert own is not None
    if own >= (axis + rank if axis < 0 else axis):
        raise c.refuse("it takes statistics over the rows")
    return own


@rows("SkipLayerNormalization SkipSimplifiedLayerNormalization", "com.microsoft")
def skip_layer_normalization(c: RowContext) -> State:
    c.shared(*range(2, len(c.node.inputs)))
    own = broadcast(c, 0, 1)
    if own == len(c.out_shape()) - 1:
        raise c.refuse("it takes statistics over the rows")
    return own


@rows("MeanVarianceNormalization")
def mean_variance_normalization(c: RowContext) -> State:
    own = c.axis(0)
    assert own is not None
    axes = c.attr("axes", [0, 2, 3])
    if own in {a + c.known_rank(0) if a < 0 else a for a in axes}:
        raise c.refuse("it takes statistics over the rows")
    return own


# --- recurrent layers, attention


@rows("LSTM GRU RNN")
def recurrent(c: RowContext) -> State | list[State]:
    along = 0 if c.attr("layout", 0) else 1
    c.shared(1, 2, 3, 7)
    for index, axis in ((0, along), (4, 0), (5, along), (6, along)):
        if c.has(index) and c.axis(index) != axis:
            raise c.refuse(f"input {index} has its rows along axis {c.axis(index)} instead of {axis}")
    found: list[State] = [0 if along == 0 else 2, along, along]
    return found[: len(c.node.outputs)]


@rows("Attention")
def attention(c: RowContext) -> State | list[State]:
    rank = c.known_rank(0)
    for i in range(len(c.node.inputs)):
        if not c.has(i) or i == 3:
            continue
        if c.axis(i) != 0:
            raise c.refuse(f"input {i} does not have its rows along axis 0")
    if c.has(3):
        mask = c.axis(3)
        shape = c.shape(3)
        if mask is None:
            if shape is None or (len(shape) == 4 and shape[0] != 1):
                raise c.refuse("its mask is shared, but has as many rows as the batch")
        elif mask != 0 or c.rank(3) != 4:
            raise c.refuse("its mask does not have its rows along axis 0")
    if rank not in (3, 4):
        raise c.refuse("nothing is known of its layout")
    return 0


@rows("RotaryEmbedding")
def rotary_embedding(c: RowContext) -> State:
    own = leading(c, 3, 1, 2)
    if not c.has(3) and (c.rank(1) != 3 or c.axis(1) != 0 or c.axis(2) != 0):
        raise c.refuse("its caches do not have rows along axis 0")
    if c.has(3) and (c.axis(1) is not None or c.axis(2) is not None or c.axis(3) != 0):
        raise c.refuse("its positions do not have rows along axis 0, or its caches do")
    return own


@rows("EmbedLayerNormalization", "com.microsoft")
def embed_layer_normalization(c: RowContext) -> State | list[State]:
    for i in (0, 1, 7, 8):
        if c.has(i) and c.axis(i) != 0:
            raise c.refuse(f"input {i} does not have its rows along axis 0")
    c.shared(2, 3, 4, 5, 6)
    return 0


# --- classical models


@rows(
    "LinearClassifier LinearRegressor SVMClassifier SVMRegressor TreeEnsemble TreeEnsembleClassifier "
    "TreeEnsembleRegressor Normalizer",
    "ai.onnx.ml",
)
@rows("TfIdfVectorizer")
def of_samples(c: RowContext) -> State:
    if c.known_rank(0) != 2:
        raise c.refuse("its input is not one sample a row")
    return leading(c)


@rows("ZipMap", "ai.onnx.ml")
def zip_map(c: RowContext) -> State:
    """A list of maps, one for each row."""
    if c.known_rank(0) != 2:
        raise c.refuse("its input is not one sample a row")
    return leading(c)


@rows("OneHotEncoder", "ai.onnx.ml")
def one_hot_encoder(c: RowContext) -> State:
    return c.state(0)


@rows("FeatureVectorizer", "ai.onnx.ml")
def feature_vectorizer(c: RowContext) -> State:
    if any(c.axis(i) != 0 or c.rank(i) != 2 for i in range(len(c.node.inputs))):
        raise c.refuse("not all of its inputs have one sample a row")
    return 0
