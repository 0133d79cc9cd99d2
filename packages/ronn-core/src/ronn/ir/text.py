"""The text form of graphs: ``print_graph`` writes it, ``parse`` reads it back exactly.

    opset {"": 18, "com.microsoft": 1}
    graph main(%x: f32[N,20]) {
      %w: f32[20,10] = const #0f1e2d3c4b5a6978
      %b: f32[2] = const {0.5, -1.0}
      %h: f32[N,10] = Gemm(%x, %w, %b) {transB=1}  @cpu  # name="fc"
      %a: f32[N,5], _ = Split:13(%h)
      return %a as "logits"
    }

``%b = const f32[2]{0.5, -1.0}`` is the same constant. Large ones are printed as a digest; ``parse`` then needs their
arrays (``graph_constants`` collects them). An operator's version follows its name where it differs from the opset
line. ``//`` starts a comment.
``%^x`` is an ``x`` of a graph further out than the innermost graph that has one. What inference derives
(``shape_data``) is not printed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from ronn.ir.graph import Attr, AttrRef, Graph, Node, Value
from ronn.ir.literals import MAX_INLINE, content_hash, format_elements, format_name, quote
from ronn.ir.types import DType, MapType, OptionalType, SequenceType, SparseTensorType, TensorType


def print_graph(graph: Graph) -> str:
    """The text of ``graph``, subgraphs included."""
    versions = _common_versions(graph)
    header = ", ".join(f"{quote(d)}: {v}" for d, v in sorted(versions.items()))
    printer = _Printer(versions)
    body = printer.graph(graph, "")
    return (f"opset {{{header}}}\n" if header else "") + body + "\n"


def print_node(node: Node) -> str:
    """The line of one node as it stands in its graph's text; subgraphs are shortened to ``graph name(...)``."""
    return _Printer({node.domain: node.version}, brief=True).node(node, "")


def parse(text: str, constants: Mapping[str, np.ndarray] | None = None) -> Graph:
    """The graph that ``text`` describes.

    ``constants`` maps digests to the arrays of large constants. ModelError, with line and column, when the text is
    not well formed, uses an unknown value, or names a constant that ``constants`` lacks.
    """
    from ronn.ir.text_parser import Parser

    return Parser(text, {} if constants is None else constants).module()


def graph_constants(graph: Graph) -> dict[str, np.ndarray]:
    """Digest -> array of the large constants and tensor attributes of ``graph``: what ``parse`` needs."""
    found: dict[str, np.ndarray] = {}
    for value in graph.initializers.values():
        if value.data is not None:
            _collect(value.data, found)
    for node in graph:
        for attr in node.attributes.values():
            _collect(attr, found)
    return found


def _collect(attr: Attr, found: dict[str, np.ndarray]) -> None:
    if isinstance(attr, np.ndarray) and attr.size > MAX_INLINE:
        found[content_hash(attr)] = attr
    elif isinstance(attr, Graph):
        found.update(graph_constants(attr))
    elif isinstance(attr, list):
        for item in attr:
            _collect(item, found)


def _common_versions(graph: Graph) -> dict[str, int]:
    """For each domain the version that most nodes have (the newest of equally frequent ones)."""
    counts: dict[str, Counter[int]] = {}
    for node in graph.all_nodes():
        counts.setdefault(node.domain, Counter())[node.version] += 1
    return {d: max(c.items(), key=lambda item: (item[1], item[0]))[0] for d, c in counts.items()}


class _Printer:
    def __init__(self, versions: dict[str, int], brief: bool = False) -> None:
        self.versions = versions
        self.brief = brief
        self.scopes: list[dict[str, Value]] = []  # per open graph, innermost last: what a name means there

    def graph(self, graph: Graph, indent: str) -> str:
        inner = indent + "  "
        own: dict[str, Value] = {}
        head = f"graph {format_name(graph.name)}" if graph.name else "graph "
        outside = "" if self.scopes else self.captured(graph)
        self.scopes.append(own)
        for value in graph.inputs:
            own[value.name] = value
        lines = [f"{head}({', '.join(self.declared(v) for v in graph.inputs)}){outside} {{"]
        for value in graph.initializers.values():
            if own.setdefault(value.name, value) is value:
                untyped = ": ?" if value.type is None else ""
                lines.append(f"{inner}{self.declared(value)}{untyped} = {self.constant(value)}")
        for node in graph:
            lines.append(inner + self.node(node, inner))
            own.update((v.name, v) for v in node.outputs if v.name)
        returned = [self.returned(v, n) for v, n in zip(graph.outputs, graph.output_names, strict=True)]
        lines.append(f"{inner}return {', '.join(returned)}".rstrip())
        self.scopes.pop()
        return "\n".join([*lines, indent + "}"])

    def captured(self, graph: Graph) -> str:
        values = graph.captures()
        if not values:
            return ""
        self.scopes.append({v.name: v for v in values})
        return f" captures ({', '.join(self.declared(v) for v in values)})"

    def declared(self, value: Value) -> str:
        name = f"%{format_name(value.name)}" if value.name else "_"
        return name if value.type is None else f"{name}: {value.type}"

    def constant(self, value: Value) -> str:
        data = value.data
        if data is None:
            return "const"
        exact = TensorType(DType.of(data.dtype), data.shape)
        return f"const {'' if value.type == exact else exact}{_elements(data)}"

    def returned(self, value: Value, name: str) -> str:
        return self.used(value) + ("" if name == value.name else f" as {quote(name)}")

    def used(self, value: Value | None) -> str:
        if value is None:
            return "_"
        skipped = 0
        for scope in reversed(self.scopes):
            found = scope.get(value.name)
            if found is value:
                break
            skipped += found is not None
        else:
            skipped = 0
        return f"%{'^' * skipped}{format_name(value.name)}"

    def node(self, node: Node, indent: str) -> str:
        op = format_name(node.op)
        if node.domain:
            op = f"{format_name(node.domain)}::{op}"
        if node.version != self.versions.get(node.domain):
            op += f":{node.version}"
        outs = ", ".join(self.declared(v) for v in node.outputs)
        line = f"{outs} = {op}({', '.join(self.used(v) for v in node.inputs)})"
        if node.attributes:
            nested = not self.brief and any(True for _ in node.subgraphs())
            deeper = indent + "  " if nested else indent
            attrs = [f"{format_name(k)}={self.attr(a, deeper)}" for k, a in node.attributes.items()]
            if nested:
                line += " {\n" + ",\n".join(deeper + a for a in attrs) + "\n" + indent + "}"
            else:
                line += f" {{{', '.join(attrs)}}}"
        if node.provider is not None:
            line += f"  @{format_name(node.provider)}"
        return line + _notes(node)

    def attr(self, attr: Attr, indent: str) -> str:
        match attr:
            case Graph():
                return f"graph {attr.name}(...)" if self.brief else self.graph(attr, indent)
            case list() | tuple():
                return f"[{', '.join(self.attr(a, indent) for a in attr)}]"
            case AttrRef(name=name):
                return f"&{format_name(name)}"
            case str():
                return quote(attr)
            case bytes():
                return repr(attr)
            case np.ndarray():
                return f"{TensorType(DType.of(attr.dtype), attr.shape)}{_elements(attr)}"
            case TensorType() | SequenceType() | OptionalType() | MapType() | SparseTensorType():
                return f"type({attr})"
            case bool() | int() | np.integer():
                return str(int(attr))
            case float() | np.floating():
                return repr(float(attr))
        return f"<{type(attr).__name__}>"


def _elements(array: np.ndarray) -> str:
    return f"{{{format_elements(array)}}}" if array.size <= MAX_INLINE else f"#{content_hash(array)}"


def _notes(node: Node) -> str:
    notes: list[tuple[str, Any]] = [
        ("name", node.name), ("overload", node.overload), ("reason", node.reason), ("tags", node.tags),
    ]  # fmt: skip
    parts = [
        f"{key}={quote(note) if isinstance(note, str) else '[' + ', '.join(map(quote, note)) + ']'}"
        for key, note in notes
        if note
    ]
    return f"  # {' '.join(parts)}" if parts else ""
