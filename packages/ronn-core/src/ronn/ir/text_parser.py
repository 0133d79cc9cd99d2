"""Reads the text form of graphs (see ``ronn.ir.text``)."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from ronn.errors import ModelError
from ronn.ir.dims import Dim, parse_dim
from ronn.ir.graph import Attr, AttrRef, Graph, Node, Value
from ronn.ir.literals import NAME, join_elements, parse_element
from ronn.ir.types import (
    DType,
    MapType,
    OptionalType,
    SequenceType,
    SparseTensorType,
    TensorType,
    Type,
)

_MAX_NESTING = 64
_JSON = json.JSONDecoder()
_BLANK = re.compile(r"(?:\s|//[^\n]*)*")
_NUMBER = re.compile(r"-?(?:inf|nan|\d+(?:\.\d*)?(?:e[+-]?\d+)?)")
_ELEMENT = re.compile(r"0x[0-9a-f]+|true|false|[-+0-9a-z.]+(?::[-+0-9a-z.]+)?")
_BYTES = re.compile(r"""b'(?:[^'\\\n]|\\.)*'|b"(?:[^"\\\n]|\\.)*\"""")
_DIGEST = re.compile(r"[0-9a-f]{16}")
_DTYPE = re.compile(r"\?|[a-z][a-z0-9]*")
_DIM_PART = re.compile(r"""[^'"()\[\],]+|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")


class Parser:
    """A recursive descent over the text; ``pos`` is always at the start of a token or at the end."""

    def __init__(self, text: str, constants: Mapping[str, np.ndarray]) -> None:
        self.text = text
        self.constants = constants
        self.versions: dict[str, int] = {}
        self.scopes: list[dict[str, Value]] = []
        self.typed = False  # whether the value declared last had a type
        self.pos = 0
        self.blank()

    # --- tokens

    def fail(self, message: str, pos: int | None = None) -> NoReturn:
        at = self.pos if pos is None else pos
        line = self.text.count("\n", 0, at) + 1
        column = at - self.text.rfind("\n", 0, at)
        whole = self.text.split("\n")[line - 1]
        raise ModelError(f"line {line}, column {column}: {message}", detail=f"  {whole}\n  {' ' * (column - 1)}^")

    def blank(self) -> None:
        found = _BLANK.match(self.text, self.pos)
        assert found is not None
        self.pos = found.end()

    def at(self, token: str) -> bool:
        return self.text.startswith(token, self.pos)

    def accept(self, token: str) -> bool:
        if not self.at(token):
            return False
        self.pos += len(token)
        self.blank()
        return True

    def expect(self, token: str) -> None:
        if not self.accept(token):
            found = self.text[self.pos : self.pos + 20].split("\n")[0]
            self.fail(f"expected {token!r}, found {found!r}" if found else f"expected {token!r}, found the end")

    def take(self, pattern: re.Pattern[str], what: str) -> str:
        found = pattern.match(self.text, self.pos)
        if found is None:
            self.fail(f"expected {what}")
        self.pos = found.end()
        self.blank()
        return found.group()

    def word(self, keyword: str) -> bool:
        found = NAME.match(self.text, self.pos)
        return found is not None and found.group() == keyword and self.accept(keyword)

    def string(self) -> str:
        if not self.at('"'):
            self.fail("expected a string")
        try:
            found, end = _JSON.raw_decode(self.text, self.pos)
        except ValueError as e:
            self.fail(f"bad string: {e}")
        self.pos = end
        self.blank()
        return str(found)

    def name(self, what: str = "a name") -> str:
        return self.string() if self.at('"') else self.take(NAME, what)

    def integer(self) -> int:
        return int(self.take(re.compile(r"-?\d{1,80}"), "an integer"))

    def separated(self, close: str, item: Callable[[], Any]) -> list[Any]:
        """Items between here and ``close``, separated by commas."""
        items: list[Any] = []
        while not self.accept(close):
            if items:
                self.expect(",")
            items.append(item())
        return items

    # --- graphs

    def module(self) -> Graph:
        if self.word("opset"):
            if self.accept("{"):
                for domain, version in self.separated("}", self.opset):
                    self.versions[domain] = version
            else:
                self.versions[""] = self.integer()
        graph = self.graph()
        if self.pos < len(self.text):
            self.fail("expected the end")
        return graph

    def opset(self) -> tuple[str, int]:
        domain = self.string()
        self.expect(":")
        return domain, self.integer()

    def graph(self) -> Graph:
        if len(self.scopes) > _MAX_NESTING:
            self.fail("graphs are nested too deeply")
        if not self.word("graph"):
            self.fail("expected 'graph'")
        graph = Graph("" if self.at("(") else self.name())
        self.expect("(")
        own: dict[str, Value] = {}
        inputs = self.separated(")", lambda: self.declare(own))
        if self.word("captures"):
            if self.scopes:
                self.fail("only an outermost graph lists its captures")
            outside: dict[str, Value] = {}
            self.expect("(")
            self.separated(")", lambda: self.declare(outside))
            self.scopes.append(outside)
        graph.inputs.extend(inputs)
        self.scopes.append(own)
        self.expect("{")
        while not self.word("return"):
            self.statement(graph, own)
        if not self.at("}"):
            while True:
                value = self.use()
                assert value is not None
                graph.add_output(value, self.string() if self.word("as") else None)
                if not self.accept(","):
                    break
        self.expect("}")
        self.scopes.pop()
        return graph

    def declare(self, own: dict[str, Value]) -> Value:
        """``%x: f32[2]``, a new value of ``own``."""
        start = self.pos
        if self.accept("_"):
            name = ""
        else:
            self.expect("%")
            name = self.name()
            if not name or name in own:
                self.fail(f"%{name} is declared twice" if name else "a value needs a name", start)
        self.typed = self.accept(":")
        value = Value(name, self.type() if self.typed else None)
        if name:
            own[name] = value
        return value

    def use(self) -> Value | None:
        start = self.pos
        if self.accept("_"):
            return None
        self.expect("%")
        skip = 0
        while self.accept("^"):
            skip += 1
        name = self.name()
        for scope in reversed(self.scopes):
            if name in scope:
                if not skip:
                    return scope[name]
                skip -= 1
        self.fail(f"%{name} is not defined here", start)

    def statement(self, graph: Graph, own: dict[str, Value]) -> None:
        start = self.pos
        made: dict[str, Value] = {}
        outputs: list[Value] = []
        if not self.accept("="):
            outputs.append(self.declare(made))
            while self.accept(","):
                outputs.append(self.declare(made))
            self.expect("=")
        if self.word("const"):
            self.const(graph, own, outputs, start)
            return
        node = self.node(outputs)
        for name, value in made.items():
            if name in own:
                self.fail(f"%{name} is declared twice", start)
            own[name] = value
        graph.append(node)

    def const(self, graph: Graph, own: dict[str, Value], outputs: list[Value], start: int) -> None:
        if len(outputs) != 1 or not outputs[0].name:
            self.fail("a constant has one name", start)
        value = outputs[0]
        declared = own.get(value.name)
        if declared is not None:
            if declared not in graph.inputs or value.name in graph.initializers:
                self.fail(f"%{value.name} is declared twice", start)
            value = declared
        inferred = not self.typed and value is not declared
        own[value.name] = value
        graph.initializers[value.name] = value
        if self.at("%") or self.word("return"):
            self.fail("expected the elements of a constant")
        given = value.type if self.at("{") or self.at("#") else self.type()
        value.data = self.tensor(given)
        if inferred:
            value.type = given

    def node(self, outputs: list[Value]) -> Node:
        start = self.pos
        domain, op = "", self.name("an operator")
        if self.accept("::"):
            domain, op = op, self.name("an operator")
        version = self.integer() if self.accept(":") else self.versions.get(domain)
        if version is None:
            self.fail(f"no opset version for domain {domain!r}: put one in an opset line", start)
        self.expect("(")
        inputs = self.separated(")", self.use)
        attributes: dict[str, Attr] = dict(self.separated("}", self.attribute)) if self.accept("{") else {}
        node = Node(op, inputs, outputs, attributes, domain=domain, version=version)
        if self.accept("@"):
            node.provider = self.name()
        if self.accept("#"):
            self.notes(node)
        return node

    def notes(self, node: Node) -> None:
        while True:
            start = self.pos
            if self.word("name"):
                self.expect("=")
                node.name = self.string()
            elif self.word("overload"):
                self.expect("=")
                node.overload = self.string()
            elif self.word("reason"):
                self.expect("=")
                node.reason = self.string()
            elif self.word("tags"):
                self.expect("=")
                self.expect("[")
                node.tags = tuple(self.separated("]", self.string))
            else:
                if self.pos == start and NAME.match(self.text, start) and not self.word_ahead("return"):
                    self.fail("a note is one of name, overload, reason and tags")
                return

    def word_ahead(self, keyword: str) -> bool:
        found = NAME.match(self.text, self.pos)
        return found is not None and found.group() in (keyword, "_")

    # --- attributes, types, tensors

    def attribute(self) -> tuple[str, Attr]:
        name = self.name()
        self.expect("=")
        return name, self.attr()

    def attr(self) -> Attr:
        if self.at('"'):
            return self.string()
        if self.accept("["):
            return self.separated("]", self.attr)
        if self.accept("&"):
            return AttrRef(self.name())
        if self.at("b'") or self.at('b"'):
            return ast.literal_eval(self.take(_BYTES, "bytes"))
        word = NAME.match(self.text, self.pos)
        if word is not None and word.group() == "graph":
            return self.graph()
        if self.word("type"):
            self.expect("(")
            made = self.type()
            self.expect(")")
            return made
        number = _NUMBER.match(self.text, self.pos)
        if number is None:
            return self.tensor(self.type())
        self.take(_NUMBER, "a number")
        text = number.group()
        return int(text) if text.lstrip("-").isdigit() and len(text) < 80 else float(text)

    def type(self) -> Type | None:
        """A type; ``?`` alone is an unknown one."""
        for keyword in ("seq", "opt", "map", "sparse"):
            if self.word(keyword):
                self.expect("(")
                made = self.composite(keyword)
                self.expect(")")
                return made
        start = self.pos
        short = self.take(_DTYPE, "a type")
        if short == "?":
            if not self.at("["):
                return None
            dtype = None
        else:
            try:
                dtype = DType.from_short(short)
            except KeyError:
                self.fail(f"there is no dtype {short!r}", start)
        self.expect("[")
        if self.accept("*"):
            self.expect("]")
            return TensorType(dtype, None)
        return TensorType(dtype, tuple(self.separated("]", self.dim)))

    def composite(self, keyword: str) -> Type:
        if keyword == "map":
            start = self.pos
            short = self.take(_DTYPE, "a dtype")
            try:
                key = DType.from_short(short)
            except KeyError:
                self.fail(f"there is no dtype {short!r}", start)
            self.expect(",")
            return MapType(key, self.type())
        inner = self.type()
        if keyword == "sparse":
            if not isinstance(inner, TensorType):
                self.fail("a sparse type is made of a tensor type")
            return SparseTensorType(inner.dtype, inner.shape)
        return SequenceType(inner) if keyword == "seq" else OptionalType(inner)

    def dim(self) -> Dim | None:
        start, depth, end = self.pos, 0, self.pos
        while end < len(self.text):
            char = self.text[end]
            if char in ",]" and not depth:
                break
            part = _DIM_PART.match(self.text, end)
            depth += (char == "(") - (char == ")")
            end = part.end() if part is not None else end + 1
        try:
            found = parse_dim(self.text[start:end])
        except ValueError as e:
            self.fail(str(e))
        self.pos = end
        self.blank()
        return found

    def tensor(self, type: Type | None) -> np.ndarray:
        start = self.pos
        if not isinstance(type, TensorType) or type.dtype is None or not type.is_static:
            self.fail("a constant needs a tensor type with known dtype and dims")
        shape = type.static_shape
        if self.accept("#"):
            digest = self.take(_DIGEST, "a digest of 16 hex digits")
            array = self.constants.get(digest)
            if array is None:
                self.fail(f"the array of constant #{digest} was not given (constants=)", start)
            if array.shape != shape or DType.of(array.dtype) is not type.dtype:
                self.fail(f"constant #{digest} is {array.dtype}{list(array.shape)}, not {type}", start)
            return array
        self.expect("{")
        dtype = type.dtype
        cells = self.separated("}", lambda: self.element(dtype))
        if len(cells) != type.size:
            self.fail(f"{type} has {type.size} elements, not {len(cells)}", start)
        return join_elements(cells, dtype, shape)

    def element(self, dtype: DType) -> Any:
        start = self.pos
        if dtype is DType.STRING:
            return self.string() if self.at('"') else ast.literal_eval(self.take(_BYTES, "a string"))
        try:
            return parse_element(self.take(_ELEMENT, "an element"), dtype)
        except (ValueError, KeyError, OverflowError) as e:
            self.fail(f"not an element of {dtype.short}: {e}", start)
