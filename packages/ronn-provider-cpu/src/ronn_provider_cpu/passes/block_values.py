"""Values that may lie in blocks of channels, and nodes that can work on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ronn.ir.graph import Node, Value
from ronn.ir.types import DType
from ronn.passes.edit import Builder
from ronn.records import dataclass, field

Shape = tuple[int, int, int, int]
"""N, C, H, W."""
Get = Callable[[Value], Value]
Make = Callable[[Builder, Get], Sequence[Value]]


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A node that can work on blocks.

    reads: inputs that it takes in blocks; other inputs stay as they are. makes: outputs that it gives in blocks; an
    output that is not among them is plain. gain: nanoseconds saved against the node on plain values. ``make`` builds it
    given how to get at inputs in blocks, and returns what stands for the node's outputs.
    """

    node: Node
    reads: tuple[Value, ...]
    makes: tuple[Value, ...]
    make: Make
    gain: float = 0.0


@dataclass
class Layouts:
    """The blocks: ``lanes`` channels each. Plain values have their channels on axis 1, or last: those in ``last``.

    A value of rank 3 counts as one of height 1. ``used`` are the values that candidates so far read or make in blocks.
    """

    lanes: int
    last: set[Value] = field(default_factory=set)
    used: set[Value] = field(default_factory=set)
    _shapes: dict[Value, tuple[int, ...] | None] = field(default_factory=dict)

    def shape(self, value: Value | None) -> Shape | None:
        """``[N, C, H, W]`` of a computed float32 value of known size with elements, however it lies. None for another,
        and for ranks but 3 and 4."""
        if value is None:
            return None
        lies = self._shapes[value] if value in self._shapes else self._look(value)
        if lies is None:
            return None
        n, channels, *pixels = (lies[0], lies[-1], *lies[1:-1]) if value in self.last else lies
        return (n, channels, pixels[0], pixels[1]) if len(pixels) == 2 else (n, channels, 1, pixels[0])

    def _look(self, value: Value) -> tuple[int, ...] | None:
        """The shape as it lies; types do not change while layouts are chosen."""
        found: tuple[int, ...] | None = None
        if value.data is None and value.dtype is DType.FLOAT32 and value.tensor.is_static:
            shape = value.tensor.static_shape
            if len(shape) in (3, 4) and 0 not in shape:
                found = shape
        self._shapes[value] = found
        return found

    def first(self, value: Value | None) -> Shape | None:
        """The same for a value with its channels on axis 1 only."""
        return None if value in self.last else self.shape(value)

    def axis(self, value: Value, axis: int) -> int:
        """The axis of ``[N, C, H, W]`` that an axis of ``value`` is."""
        if value.tensor.rank == 3:
            return ((0, 3, 1) if value in self.last else (0, 1, 3))[axis % 3]
        return (0, 2, 3, 1)[axis % 4] if value in self.last else axis % 4

    def follow(self, node: Node, source: Value) -> None:
        """The outputs of ``node`` have their channels where ``source`` has them."""
        if source in self.last:
            self.last.update(node.outputs)

    def is_ragged(self, shape: Shape) -> bool:
        """Whether the last block has lanes without a channel."""
        return shape[1] % self.lanes != 0


def again(node: Node, b: Builder, inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> Sequence[Value]:
    """The outputs of a node of the same operator."""
    made = b.node(
        node.op, inputs, dict(attributes), domain=node.domain, version=node.version, outputs=len(node.outputs)
    )
    for new, old in zip(made.outputs, node.outputs, strict=True):
        if not old.name:
            new.name = ""
    return made.outputs
