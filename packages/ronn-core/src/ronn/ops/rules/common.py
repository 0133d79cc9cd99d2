"""What the rules share: axes, broadcasting, merging, comparing, and arithmetic on dims that may be unknown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ronn.ir.dims import Dim, Shape, dim_broadcast, floordiv, is_nonnegative
from ronn.ir.types import DType, OptionalType, SequenceType, TensorType, Type
from ronn.ops.infer import InferContext

INT64_MAX = 2**63 - 1
BIG = 2**31 - 1  # exporters write it, or something larger, for "to the end"


def axis_of(c: InferContext, axis: int, rank: int) -> int:
    """``axis`` counted from the front; ModelError when it lies outside ``rank`` dims."""
    if not -rank <= axis < rank:
        raise c.fail(f"axis {axis} lies outside of rank {rank}")
    return axis + rank if axis < 0 else axis


def axes_of(c: InferContext, axes: Iterable[int], rank: int) -> list[int]:
    """Axes counted from the front; ModelError for one outside of the rank, or given twice."""
    found = [axis_of(c, a, rank) for a in axes]
    if len(set(found)) != len(found):
        raise c.fail(f"an axis is given twice: {found}")
    return found


def ints(c: InferContext, index: int) -> tuple[int, ...] | None:
    """The elements of an integer input when all of them are known numbers."""
    known = c.dims(index)
    if known is None:
        return None
    out = tuple(d for d in known if isinstance(d, int))
    return out if len(out) == len(known) else None


def length(c: InferContext, index: int) -> int | None:
    """The number of elements of a rank-1 input, when it is known."""
    shape = c.shape(index)
    return shape[0] if shape is not None and len(shape) == 1 and isinstance(shape[0], int) else None


def attr_or_input(c: InferContext, name: str, index: int) -> tuple[Dim | None, ...] | None:
    """A list that was an attribute in old opsets and is an input in newer ones; None when it is not known."""
    given = c.node.attributes.get(name)
    return tuple(given) if given is not None else c.dims(index)


def unknown(rank: int | None) -> Shape | None:
    """``rank`` unknown dims."""
    return None if rank is None else (None,) * rank


def broadcast(c: InferContext, a: Shape | None, b: Shape | None) -> Shape | None:
    """NumPy's broadcasting. Two different symbols give an unknown dim; ModelError for two different sizes."""
    if a == b or b == ():
        return a
    if a is None or b is None:
        return None
    if a == ():
        return b
    if len(a) < len(b):
        a, b = b, a
    out = list(a)
    offset = len(a) - len(b)
    for i, y in enumerate(b):
        x = out[offset + i]
        if x == y or y == 1:
            continue
        if x == 1:
            out[offset + i] = y
        elif isinstance(x, int):
            if isinstance(y, int):
                raise c.fail(f"shapes {_text(a)} and {_text(b)} do not broadcast: {x} against {y}")
        else:
            out[offset + i] = y if isinstance(y, int) else None if x is None or y is None else dim_broadcast(x, y)
    return tuple(out)


def _text(shape: Shape) -> str:
    return str(TensorType(None, shape))[1:]


def unify(c: InferContext, a: Dim | None, b: Dim | None, what: str) -> Dim | None:
    """One dim that two places must agree on: the better known of the two. ModelError when they cannot agree."""
    if a is None or a == b:
        return b
    if isinstance(a, int) and isinstance(b, int):
        raise c.fail(f"{what} differ: {a} against {b}")
    return b if isinstance(b, int) else a


def unify_shapes(c: InferContext, a: Shape | None, b: Shape | None, what: str) -> Shape | None:
    """One shape that two places must agree on."""
    if a is None or b is None:
        return b if a is None else a
    if len(a) != len(b):
        raise c.fail(f"{what} differ in rank: {_text(a)} against {_text(b)}")
    return tuple(unify(c, x, y, what) for x, y in zip(a, b, strict=True))


def join_types(a: Type | None, b: Type | None) -> Type | None:
    """The type of a value that is either an ``a`` or a ``b``: what differs is unknown."""
    if a == b:
        return a
    if isinstance(a, TensorType) and isinstance(b, TensorType):
        dtype = a.dtype if a.dtype is b.dtype else None
        if a.shape is None or b.shape is None or len(a.shape) != len(b.shape):
            return TensorType(dtype, None)
        return TensorType(dtype, tuple(x if x == y else None for x, y in zip(a.shape, b.shape, strict=True)))
    if isinstance(a, SequenceType) and isinstance(b, SequenceType):
        return SequenceType(join_types(a.element, b.element))
    if isinstance(a, OptionalType) and isinstance(b, OptionalType):
        return OptionalType(join_types(a.element, b.element))
    return None


def known_product(dims: Iterable[Dim | None]) -> Dim | None:
    """The product; None when a factor is unknown (and none is 0)."""
    out: Dim = 1
    missing = False
    for d in dims:
        if d is None:
            missing = True
        elif d == 0:
            return 0
        else:
            out = out * d
    return None if missing else out


def compare(a: Dim, b: Dim) -> int | None:
    """-1, 0 or 1 for ``a`` below, equal to or above ``b``; None where it depends on the names."""
    if a == b:
        return 0
    difference = a - b
    if isinstance(difference, int):
        return 1 if difference > 0 else -1
    if is_nonnegative(difference - 1):
        return 1
    if is_nonnegative(difference * -1 - 1):
        return -1
    return None


def checked(d: Dim | None) -> Dim | None:
    """``d``, unless it is a number that an int64 cannot hold."""
    return None if isinstance(d, int) and not -INT64_MAX - 1 <= d <= INT64_MAX else d


def divide(a: Dim, b: Dim) -> Dim | None:
    """Integer division as ONNX has it (towards zero); None where signs or a zero divisor make it unclear."""
    if isinstance(a, int) and isinstance(b, int):
        if b == 0:
            return None
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    if b == 0 or not is_nonnegative(a) or not is_nonnegative(b):
        return None
    return floordiv(a, b)


def dtype_of_code(c: InferContext, code: int | None) -> DType | None:
    """The dtype of an attribute that holds a TensorProto.DataType number; ModelError when there is none."""
    if code is None or code == 0:
        return None
    try:
        return DType.from_code(code)
    except KeyError:
        raise c.fail(f"{code} is no element type of ONNX") from None


def element_of(type: Type | None) -> Type | None:
    """What a sequence or optional holds."""
    return type.element if isinstance(type, SequenceType | OptionalType) else None


def replaced(shape: Sequence[Dim | None], axis: int, d: Dim | None) -> Shape:
    """``shape`` with another dim at ``axis``."""
    return (*shape[:axis], d, *shape[axis + 1 :])
