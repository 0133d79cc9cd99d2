"""Passes about some operators: for a graph that has none of these they are neither run nor imported."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ronn.cached import cached_property
from ronn.records import dataclass

if TYPE_CHECKING:
    from ronn.ir.graph import Graph
    from ronn.passes.manager import FunctionPass, PassContext


@dataclass(frozen=True)
class DeferredPass:
    """The pass ``name`` of ``module``, where it is called the same with underscores. It would do nothing to a graph
    without an operator whose name begins with one of ``about``. The other fields are those of the pass."""

    module: str
    name: str
    about: tuple[str, ...]
    requires_types: bool = False
    required: bool = False
    keeps_types: bool = False
    late: bool = False
    local: bool = False

    @cached_property
    def loaded(self) -> FunctionPass:
        """The pass itself."""
        found: FunctionPass = getattr(import_module(self.module), self.name.replace("-", "_"))
        return found

    @property
    def summary(self) -> str:
        """The first line of the pass's docstring."""
        return self.loaded.summary

    def __call__(self, graph: Graph, context: PassContext) -> bool:
        return any(node.op.startswith(self.about) for node in graph.all_nodes()) and self.loaded(graph, context)


def about(package: str, name: str, operators: str, **fields: Any) -> DeferredPass:
    """The pass ``name`` of ``package``, which needs types and is about ``operators`` (words), with its other fields."""
    module = f"{package}.{name.replace('-', '_')}"
    return DeferredPass(module, name, tuple(operators.split()), requires_types=True, **fields)
