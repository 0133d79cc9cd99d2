"""What operators do to the rows of a batch. A rule is called when an input of the node is not shared, and gives the
states of the outputs; see ``rows.py``."""

from __future__ import annotations

from collections.abc import Callable

from ronn.batching.rows import Kind, Numbers, RowContext, RowRule, State, of_size
from ronn.ir.dims import product

_RULES: dict[tuple[str, str], RowRule] = {}


def rows(ops: str, domain: str = "") -> Callable[[RowRule], RowRule]:
    """Registers a rule for operators, given as words."""

    def register(fn: RowRule) -> RowRule:
        for op in ops.split():
            _RULES[domain, op] = fn
        return fn

    return register


def rule_of(domain: str, op: str) -> RowRule | None:
    """The rule of an operator; None when there is none."""
    from ronn.batching import rules_layers  # noqa: F401  (registers its rules)

    return _RULES.get((domain, op))


# --- element by element


def broadcast(c: RowContext, *indexes: int) -> State:
    """Operands that are aligned at their last dim: the rows of all of them must come to lie in one place."""
    rank = len(c.out_shape())
    places = {}
    for i in indexes:
        axis = c.axis(i)
        if axis is not None:
            places[i] = axis - c.known_rank(i)
    if not places:
        return Kind.SHARED
    place = next(iter(places.values()))
    if any(p != place for p in places.values()):
        raise c.refuse("its operands have their rows along different axes")
    for i in indexes:
        if i not in places and c.has(i):
            shape = c.shape(i)
            if shape is None or (len(shape) >= -place and shape[place] != 1):
                raise c.refuse(f"input {i} is shared, but has as many rows as the batch, or an unknown shape")
    return rank + place


@rows(
    "Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast Ceil Celu "
    "Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN "
    "LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal RegexFullMatch Relu "
    "Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt StringConcat Sub Sum Swish Tan Tanh "
    "ThresholdedRelu Where Xor"
)
@rows("Gelu FastGelu BiasGelu QuickGelu BiasAdd", "com.microsoft")
@rows("Binarizer Imputer Scaler LabelEncoder CategoryMapper CastMap", "ai.onnx.ml")
def elementwise(c: RowContext) -> State:
    return broadcast(c, *range(len(c.node.inputs)))


@rows("CastLike")
def cast_like(c: RowContext) -> State:
    return c.state(0)


@rows("Dropout")
def dropout(c: RowContext) -> State:
    training = c.const(2)
    if c.has(2) and (training is None or bool(training)):
        raise c.refuse("it is in training mode")
    return c.state(0)


@rows("QuantizeLinear DequantizeLinear")
@rows("QuantizeLinear DequantizeLinear", "com.microsoft")
def quantize(c: RowContext) -> State:
    axis, rank = c.axis(0), c.known_rank(0)
    c.shared(1, 2)
    if (c.rank(1) != 0 and c.shape(1) != (1,)) and _index(c.attr("axis", 1), rank) == axis:
        raise c.refuse("it has a scale for each row")
    return Kind.SHARED if axis is None else axis


@rows("DynamicQuantizeLinear")
@rows("DynamicQuantizeMatMul DynamicQuantizeLSTM", "com.microsoft")
def dynamic_quantize(c: RowContext) -> State:
    raise c.refuse("one scale is taken over all rows")


# --- shapes


@rows("Shape")
def shape(c: RowContext) -> State:
    return of_size(c.node.outputs[0], c.batch)


@rows("Size")
def size(c: RowContext) -> State:
    return Kind.SIZE


def keeps_numbers(rule: RowRule) -> RowRule:
    """A rule that moves whole rows: numbers of rows stay what they are."""

    def keep(c: RowContext) -> State | list[State]:
        own = c.found(0)
        if not isinstance(own, Numbers) or own.tuples:
            return rule(c)
        value = c.node.inputs[0]
        assert value is not None
        moved = rule(RowContext(c.node, {**c.states, value: own.axis}, c.batch))
        return Numbers(moved) if isinstance(moved, int) else moved

    return keep


@rows("Reshape Flatten Squeeze Unsqueeze")
@keeps_numbers
def reshape(c: RowContext) -> State:
    """The elements of a request stay together when as many of them lie before its rows as did."""
    axis = c.axis(0)
    if axis is None:
        raise c.refuse("what is shared would be cut by the number of rows")
    # One unknown dim is as large as is left to it, whatever the number of rows.
    place = c.rows_of_output(unknown=1)
    before = (c.shape(0) or ())[:axis]
    out = c.out_shape()[:place]
    if None in (*before, *out) or product(before) != product(out):  # type: ignore[arg-type]
        raise c.refuse(f"{c.node.inputs[0].type} to {c.node.outputs[0].type} may tear requests apart")  # type: ignore[union-attr]
    return place


@rows("Transpose")
def transpose(c: RowContext) -> State:
    axis, rank = c.axis(0), c.known_rank(0)
    perm = c.attr("perm")
    perm = list(range(rank))[::-1] if perm is None else [int(p) for p in perm]
    assert axis is not None
    return perm.index(axis)


@rows("Expand Tile")
@keeps_numbers
def repeat(c: RowContext) -> State:
    axis = c.axis(0)
    place = c.rows_of_output()
    given = c.shape(0)
    if axis is None:
        if given is None or len(given) > len(c.out_shape()):
            raise c.refuse("nothing is known of the shape of its input")
        behind = place - len(c.out_shape())
        if len(given) >= -behind and given[behind] != 1:
            raise c.refuse("what is shared would be repeated for each row, and has several of its own")
        return place
    if axis - c.known_rank(0) != place - len(c.out_shape()) or (given or ())[axis] != c.out_shape()[place]:
        raise c.refuse("it repeats the batch")
    return place


@rows("ConstantOfShape")
def constant_of_shape(c: RowContext) -> State:
    return c.rows_of_output()


# --- along an axis


def _index(axis: int, rank: int) -> int:
    return int(axis) + rank if axis < 0 else int(axis)


def beside(c: RowContext, axis: int, what: str = "it works along the rows") -> int:
    """The rows of the first input; MixesRows when they lie along ``axis``. Further inputs must be shared."""
    own = c.axis(0)
    if own is None:
        raise c.refuse("only its parameters differ from request to request")
    if _index(axis, c.known_rank(0)) == own:
        raise c.refuse(what)
    c.shared(*range(1, len(c.node.inputs)))
    return own


@rows("ArgMax ArgMin")
def arg(c: RowContext) -> State:
    axis = _index(c.attr("axis", 0), c.known_rank(0))
    own = beside(c, axis)
    return own - (axis < own and not c.attr("keepdims", 1))


@rows("CumSum CumProd")
def cumulative(c: RowContext) -> State:
    axis = c.dims(1)
    if axis is None or not isinstance(axis[0], int):
        raise c.refuse("its axis is not constant")
    return beside(c, axis[0])


@rows("TopK")
def top(c: RowContext) -> State:
    return beside(c, c.attr("axis", -1))


@rows("LpNormalization")
def lp_normalization(c: RowContext) -> State:
    return beside(c, c.attr("axis", -1))


@rows("Softmax LogSoftmax Hardmax")
def softmax(c: RowContext) -> State:
    if c.since >= 13:
        return beside(c, c.attr("axis", -1))
    own = beside(c, -1)
    if own >= _index(c.attr("axis", 1), c.known_rank(0)):  # older ones flatten everything from the axis on
        raise c.refuse("it works along the rows")
    return own


@rows("Split")
def split(c: RowContext) -> State:
    return beside(c, c.attr("axis", 0))


@rows("Concat")
def concat(c: RowContext) -> State:
    first = c.found(0)
    if isinstance(first, Numbers):
        last, shape = c.known_rank(0) - 1, c.shape(0) or ()
        if first.tuples or _index(c.attr("axis", 1), last + 1) != last or shape[last] != 1 or first.axis == last:
            raise c.refuse("it computes with the numbers of rows")
        if any(c.axis(i) != first.axis for i in range(1, len(c.node.inputs))):
            raise c.refuse("not all that it joins has rows along the same axis")
        return Numbers(first.axis, tuples=True)
    found = [c.axis(i) for i in range(len(c.node.inputs))]
    own = next(a for a in found if a is not None)
    if any(a != own for a in found):
        raise c.refuse("not all that it joins has rows along the same axis")
    if _index(c.attr("axis", 1), c.known_rank(0)) == own:
        raise c.refuse("it joins along the rows")
    return own


@rows(
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare"
)
def reduce(c: RowContext) -> State:
    own, rank = c.axis(0), c.known_rank(0)
    assert own is not None
    axes = c.attr("axes")
    if axes is None and c.has(1):
        axes = c.dims(1)
        if axes is None:
            raise c.refuse("its axes are not constant")
    if not axes:
        if c.attr("noop_with_empty_axes", 0):
            return own
        raise c.refuse("it reduces all axes, the rows among them")
    reduced = {_index(a, rank) for a in axes}
    if own in reduced:
        raise c.refuse("it reduces along the rows")
    return own if c.attr("keepdims", 1) else own - sum(a < own for a in reduced)


@rows("Slice")
def slice_(c: RowContext) -> State:
    own, rank = c.axis(0), c.known_rank(0)
    if own is None:
        raise c.refuse("it cuts by the number of rows")
    if c.since < 10:
        starts, axes, steps = c.attr("starts"), c.attr("axes"), None
    else:
        starts, axes, steps = c.dims(1), c.dims(3), c.dims(4)
        if (c.has(3) and axes is None) or (c.has(4) and steps is None):
            raise c.refuse("its axes or steps are not constant")
    cut = list(range(rank)) if axes is None else [_index(a, rank) for a in axes]
    for i in range(1, len(c.node.inputs) if c.since >= 10 else 1):
        if c.state(i) is not Kind.SHARED and own not in cut:
            c.shared(i)
    if own in cut:
        at = cut.index(own)
        whole = (c.shape(0) or ())[own] == c.out_shape()[own]
        if not whole or starts is None or starts[at] != 0 or (steps is not None and steps[at] != 1):
            raise c.refuse("it cuts along the rows")
    c.sized()
    return own


@rows("Pad")
@rows("Pad", "com.microsoft")
def pad(c: RowContext) -> State:
    own, rank = c.axis(0), c.known_rank(0)
    assert own is not None
    pads = c.attr("pads") if c.since < 11 and not c.node.domain else c.dims(1)
    axes = c.dims(3) if c.has(3) else tuple(range(rank))
    if pads is None or axes is None:
        raise c.refuse("its pads are not constant")
    c.shared(*range(2, len(c.node.inputs)))
    padded = {_index(a, rank): (pads[i], pads[i + len(axes)]) for i, a in enumerate(axes)}  # type: ignore[arg-type]
    if padded.get(own, (0, 0)) != (0, 0):
        raise c.refuse("it pads along the rows")
    c.sized()
    return own


@rows("Trilu Det")
@rows("Trilu Inverse", "com.microsoft")
def of_matrices(c: RowContext) -> State:
    own = beside(c, -1)
    if own == c.known_rank(0) - 2:
        raise c.refuse("its matrices have the rows in them")
    return own


@rows("ReverseSequence")
def reverse_sequence(c: RowContext) -> State:
    own = c.axis(0)
    if own is None or own != c.attr("batch_axis", 1) or c.axis(1) != 0:
        raise c.refuse("its batch axis is not that of the rows")
    return own


# --- picking elements


@rows("Gather")
def gather(c: RowContext) -> State:
    data, indices = c.axis(0), c.axis(1)
    axis = _index(c.attr("axis", 0), c.known_rank(0))
    if indices is None:
        assert data is not None
        if axis == data:
            raise c.refuse("it picks among the rows")
        return data if data < axis else data - 1 + c.known_rank(1)
    if data is not None:
        raise c.refuse("both its data and its indices have rows")
    return axis + indices


@rows("GatherElements ScatterElements Scatter")
def elements(c: RowContext) -> State:
    found = {c.axis(i) for i in range(len(c.node.inputs))}
    own = c.axis(0)
    if own is None or found != {own}:
        raise c.refuse("not all of its inputs have rows along the same axis")
    if _index(c.attr("axis", 0), c.known_rank(0)) == own:
        raise c.refuse("it picks among the rows")
    return own


@rows("Range")
def row_numbers(c: RowContext) -> State:
    limit = c.dims(1)
    if c.dims(0) != (0,) or c.dims(2) != (1,) or limit is None or str(limit[0]) != c.batch:
        raise c.refuse("it counts through the rows")
    return Numbers(0)


@rows("GatherND")
def gather_nd(c: RowContext) -> State:
    own = c.found(1)
    if isinstance(own, Numbers):
        if not own.tuples or c.axis(0) != 0 or c.attr("batch_dims", 0):
            raise c.refuse("its indices begin with the number of the row, and its data have rows elsewhere")
        return own.axis
    data, indices = c.axis(0), c.axis(1)
    if data is None and indices is not None and indices < c.known_rank(1) - 1 and not c.attr("batch_dims", 0):
        return indices
    if data == indices and data is not None and data < c.attr("batch_dims", 0):
        return data
    raise c.refuse("it picks among the rows")


@rows("OneHot")
def one_hot(c: RowContext) -> State:
    own = c.axis(0)
    c.shared(1, 2)
    assert own is not None
    axis = _index(c.attr("axis", -1), c.known_rank(0) + 1)
    return own if own < axis else own + 1


@rows("Compress")
def compress(c: RowContext) -> State:
    if c.attr("axis") is None:
        raise c.refuse("it picks among all elements")
    return beside(c, c.attr("axis"))


@rows("ArrayFeatureExtractor", "ai.onnx.ml")
def extract_features(c: RowContext) -> State:
    if c.state(0) is Kind.SHARED:
        return c.rows_of_output()
    return beside(c, -1)
