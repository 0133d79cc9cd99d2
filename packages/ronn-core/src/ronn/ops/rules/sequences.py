"""Sequences and optionals."""

from __future__ import annotations

from ronn.ir.types import DType, OptionalType, SequenceType, TensorType, Type
from ronn.ops.infer import InferContext, rule
from ronn.ops.rules.common import axis_of, dtype_of_code, element_of, join_types, replaced, unknown


@rule("SequenceConstruct")
def sequence_construct(c: InferContext) -> None:
    element = c.type(0)
    for i in range(1, len(c.node.inputs)):
        element = join_types(element, c.type(i))
    c.set_type(0, SequenceType(element))


@rule("SequenceEmpty")
def sequence_empty(c: InferContext) -> None:
    c.set_type(0, SequenceType(TensorType(dtype_of_code(c, c.attr("dtype", 1)), None)))


@rule("SequenceInsert")
def sequence_insert(c: InferContext) -> None:
    sequence, new = c.type(0), c.type(1)
    if not isinstance(sequence, SequenceType):
        c.set_type(0, None)
        return
    # A sequence that starts empty has elements of no known shape: what is put in then says nothing about the others.
    c.set_type(0, SequenceType(join_types(sequence.element, new) if new is not None else sequence.element))


@rule("SequenceErase")
def sequence_erase(c: InferContext) -> None:
    c.set_type(0, c.type(0))


@rule("SequenceAt")
def sequence_at(c: InferContext) -> None:
    c.set_type(0, element_of(c.type(0)))


@rule("SequenceLength")
def sequence_length(c: InferContext) -> None:
    c.set(0, DType.INT64, ())


@rule("SplitToSequence")
def split_to_sequence(c: InferContext) -> None:
    shape = c.shape(0)
    if shape is None:
        c.set_type(0, SequenceType(TensorType(c.dtype(0), None)))
        return
    axis = axis_of(c, c.attr("axis", 0), len(shape))
    sizes = c.dims(1)
    if not c.has(1):
        rest = (*shape[:axis], *shape[axis + 1 :])
        c.set_type(0, SequenceType(TensorType(c.dtype(0), replaced(shape, axis, 1) if c.attr("keepdims", 1) else rest)))
        return
    equal = sizes is not None and len(sizes) > 0 and len(set(sizes)) == 1
    part = sizes[0] if equal and sizes is not None else None
    if c.rank(1) == 0:  # one size for all parts, the last may be smaller
        whole = shape[axis]
        part = part if isinstance(part, int) and isinstance(whole, int) and part > 0 and whole % part == 0 else None
    c.set_type(0, SequenceType(TensorType(c.dtype(0), replaced(shape, axis, part))))


@rule("ConcatFromSequence")
def concat_from_sequence(c: InferContext) -> None:
    element = element_of(c.type(0))
    if not isinstance(element, TensorType) or element.shape is None:
        c.set(0, element.dtype if isinstance(element, TensorType) else None, None)
        return
    if c.attr("new_axis", 0):
        axis = axis_of(c, c.attr("axis", 0), len(element.shape) + 1)
        c.set(0, element.dtype, (*element.shape[:axis], None, *element.shape[axis:]))
    else:
        axis = axis_of(c, c.attr("axis", 0), len(element.shape))
        c.set(0, element.dtype, replaced(element.shape, axis, None))


@rule("Optional")
def optional(c: InferContext) -> None:
    declared: Type | None = c.node.attributes.get("type")
    c.set_type(0, OptionalType(c.type(0) if c.has(0) else declared))


@rule("OptionalHasElement")
def optional_has_element(c: InferContext) -> None:
    c.set(0, DType.BOOL, ())


@rule("OptionalGetElement")
def optional_get_element(c: InferContext) -> None:
    given = c.type(0)
    c.set_type(0, given.element if isinstance(given, OptionalType) else given)


@rule("StringSplit")
def string_split(c: InferContext) -> None:
    shape = c.shape(0)
    c.set(0, DType.STRING, None if shape is None else (*shape, None))
    c.set(1, DType.INT64, shape)


@rule("StringNormalizer")
def string_normalizer(c: InferContext) -> None:
    shape = c.shape(0)
    whole = shape and isinstance(shape[-1], int) and shape[-1] > 0 and not c.attr("stopwords")
    c.set(0, DType.STRING, shape if whole else unknown(c.rank(0)))


@rule("RegexFullMatch")
def regex_full_match(c: InferContext) -> None:
    c.set(0, DType.BOOL, c.shape(0))
