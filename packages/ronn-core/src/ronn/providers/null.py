"""A provider that compiles everything and computes nothing: for timing the runtime itself, and for its tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ronn.ir.types import OptionalType, SequenceType
from ronn.provider import Call, CompiledPart, Device, No, Part, Provider, Support, Yes

if TYPE_CHECKING:
    from ronn.ir.graph import Node, Value


class NullProvider(Provider):
    """Claims every node and returns zeros of the inferred type. It is used only where it is asked for by name.

    A dim that is still unknown when the plan is made (it depends on data) becomes 0; an output of unknown rank becomes
    a vector of length 0, a sequence an empty list, an optional None.
    """

    name = "null"

    def supports(self, node: Node, device: Device) -> Support:
        for index, value in enumerate(node.outputs):
            if value.name and value.type is None:
                return No(f"the type of output {index} is unknown, so no zeros can be made for it")
        return Yes(note="not computed: zeros")

    def compile(self, part: Part, device: Device, options: Mapping[str, Any]) -> CompiledPart:
        return CompiledPart([Call(_zeros_for(node), node.inputs, node.outputs, (node,)) for node in part.nodes])


def _zeros_for(node: Node) -> Callable[..., Any]:
    makers = [_maker(v) for v in node.outputs]
    if len(makers) == 1:
        (make,) = makers
        return lambda *inputs: make()

    def run(*inputs: Any) -> Sequence[Any]:
        return tuple(make() for make in makers)

    return run


def _maker(value: Value) -> Callable[[], Any]:
    import numpy as np

    if isinstance(value.type, SequenceType):
        return list
    if isinstance(value.type, OptionalType):
        return lambda: None
    dtype, shape = value.dtype, value.tensor.shape
    numpy_dtype = np.dtype(np.float32) if dtype is None else dtype.numpy
    size = (0,) if shape is None else tuple(d if isinstance(d, int) else 0 for d in shape)
    if numpy_dtype == np.dtype(object):
        return lambda: np.full(size, "", dtype=object)
    return lambda: np.zeros(size, numpy_dtype)
