"""A pattern for products like 0.044715 * x * x * x, in whatever order and grouping they are written."""

from __future__ import annotations

from collections.abc import Iterator

from ronn.ir.graph import Node, Value
from ronn.passes.edit import scalar
from ronn.passes.rewrite import Bindings, Pattern
from ronn.records import dataclass

MAX_FACTORS = 8


@dataclass(frozen=True)
class Monomial(Pattern):
    """``coefficient * x ** power``, where ``x`` is a variable bound before; made of Mul and Pow nodes."""

    name: str
    power: int
    coefficient: float

    def match(self, value: Value | None, found: Bindings) -> Iterator[Bindings]:
        variable = found.values.get(self.name)
        if value is None or variable is None:
            return
        product = _product(value, variable, found.nodes[0] if found.nodes else None, 0)
        if product is None:
            return
        power, coefficient, nodes = product
        if power != self.power or not nodes or abs(coefficient / self.coefficient - 1) > 3e-4:
            return
        for node in nodes:
            found = found.add(node, None, False)
        yield found

    def __str__(self) -> str:
        return f"{self.coefficient:.6g}*{self.name}**{self.power}"


def _product(value: Value, variable: Value, root: Node | None, depth: int) -> tuple[int, float, list[Node]] | None:
    """Power, coefficient and nodes of a product of ``variable`` and numbers; None when it is something else."""
    if value is variable:
        return 1, 1.0, []
    number = scalar(value)
    if number is not None:
        return 0, float(number), []
    node = value.producer
    if node is None or node.domain != "" or depth > MAX_FACTORS or (root is not None and node.graph is not root.graph):
        return None
    if node.op not in ("Mul", "Pow") or len(node.inputs) != 2:
        return None
    left, right = node.inputs
    first = None if left is None else _product(left, variable, root, depth + 1)
    if first is None or right is None:
        return None
    if node.op == "Pow":
        exponent = scalar(right)
        if exponent is None or exponent not in (2, 3):
            return None
        return first[0] * int(exponent), first[1] ** int(exponent), [node, *first[2]]
    second = _product(right, variable, root, depth + 1)
    if second is None:
        return None
    return first[0] + second[0], first[1] * second[1], [node, *first[2], *second[2]]
