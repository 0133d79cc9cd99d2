"""The kernel door: NumPy-like functions become a provider.

A kernel is ``fn(ctx, *inputs, attribute=...)``. Inputs are arrays (None for an omitted optional one); keyword-only
parameters that are called as attributes of the operator are bound once, at compile time, with the schema's default
where the model gives none. It returns an array, or a tuple for several outputs.

    @kernel("LeakyRelu", since=6, dtypes="float32 float64")
    def leaky_relu(ctx, x, *, alpha):
        return np.where(x < 0, x * x.dtype.type(alpha), x)

``prepare=True`` makes the function a factory instead: ``fn(ctx, attribute=...) -> callable(*inputs)``, called once per
node at compile time with constants (``ctx.const(i)``) and types (``ctx.inputs[i].type``) at hand: it packs weights.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ronn.cached import cached_property
from ronn.families import Families
from ronn.ops.schema import OpSchema, schema_of
from ronn.provider.contract import Call, CompiledPart, Device, No, Part, Provider, Support, Yes
from ronn.records import dataclass

if TYPE_CHECKING:
    import numpy as np

    from ronn.ir.graph import Node, Value
    from ronn.ir.types import DType

F = TypeVar("F", bound=Callable[..., Any])


class KernelContext:
    """What a kernel knows about its node. Made once per node at compile time; read-only afterwards."""

    __slots__ = ("inputs", "node", "options", "outputs", "schema", "wanted")

    def __init__(self, node: Node, schema: OpSchema | None, options: Mapping[str, Any]) -> None:
        self.node = node
        self.schema = schema
        self.options = options
        self.inputs = node.inputs
        self.outputs = node.outputs
        # Outputs that somebody uses; a kernel may return None for the others.
        self.wanted = tuple(bool(v.name) for v in node.outputs)

    def attr(self, name: str, default: Any = None) -> Any:
        """The attribute, else the schema's default, else ``default``."""
        value = self.node.attributes.get(name)
        if value is None and self.schema is not None:
            value = self.schema.defaults.get(name)
        return default if value is None else value

    def const(self, index: int) -> np.ndarray | None:
        """The array of input ``index`` when it is a constant, else None."""
        value = self.node.input(index)
        return None if value is None else value.data

    def dtype(self, output: int = 0) -> np.dtype:
        """The NumPy dtype of an output."""
        dtype = self.outputs[output].dtype
        if dtype is None:
            raise TypeError(f"output {output} of {self.node.label!r} has no known dtype")
        return dtype.numpy

    @property
    def since(self) -> int:
        """The schema version that applies to the node."""
        return self.node.version if self.schema is None else self.schema.since

    @property
    def n_outputs(self) -> int:
        """How many outputs the node has, omitted ones included."""
        return len(self.outputs)


@dataclass(frozen=True)
class Kernel:
    """A registered kernel: which nodes it takes, and its function."""

    fn: Callable[..., Any]
    op: str
    domain: str
    since: int
    until: int | None
    dtypes: Mapping[str, frozenset[str]]  # type variable, or "" for input 0 -> allowed dtype names
    when: Callable[[Node], bool | str] | None
    prepare: bool
    into: bool
    inplace: tuple[int, ...]
    view: int | None
    note: str

    @cached_property
    def keywords(self) -> tuple[str, ...]:
        """The parameters that are attributes of the operator."""
        params = inspect.signature(self.fn).parameters.values()
        return tuple(p.name for p in params if p.kind is p.KEYWORD_ONLY and p.name != "out")

    @cached_property
    def _taken(self) -> Yes:
        return Yes(note=self.note)

    def accepts(self, node: Node, schema: OpSchema | None) -> Support:
        """Yes, or No with the dtype or condition that stands in the way."""
        for variable, allowed in self.dtypes.items():
            for value, where in _typed_as(node, schema, variable):
                if value.dtype is None:
                    if value.type is None:
                        return No(f"{where} has no known type")
                    return No(f"{where} is {value.type}, not a tensor")
                if value.dtype.numpy_name not in allowed and value.dtype.onnx_name not in allowed:
                    return No(f"{where} is {value.dtype.onnx_name}; this kernel takes {', '.join(sorted(allowed))}")
        if self.when is not None:
            verdict = self.when(node)
            if verdict is not True:
                return No(verdict if isinstance(verdict, str) else "the kernel's condition does not hold")
        return self._taken

    def bind(self, context: KernelContext) -> Callable[..., Any]:
        """The function of one node: attributes bound, context first; for ``prepare`` kernels, what the factory made."""
        bound = {k: context.attr(k) for k in self.keywords}
        if self.prepare:
            made: Callable[..., Any] = self.fn(context, **bound)
            return made
        return functools.partial(self.fn, context, **bound)


def _typed_as(node: Node, schema: OpSchema | None, variable: str) -> Iterable[tuple[Value, str]]:
    """The present inputs (and outputs) of ``node`` whose formal type is ``variable``; input 0 for ``""``."""
    if variable == "" or schema is None:
        first = next((v for v in node.inputs if v is not None), None)
        if first is not None:
            yield first, f"input {node.inputs.index(first)}"
        elif node.outputs:
            yield node.outputs[0], "output 0"
        return
    for i, value in enumerate(node.inputs):
        formal = schema.formal_input(i)
        if value is not None and formal is not None and formal.type == variable:
            yield value, f"input {i} ({formal.name})"
    for i, value in enumerate(node.outputs):
        formal = schema.formal_output(i)
        if formal is not None and formal.type == variable and value.name:
            yield value, f"output {i} ({formal.name})"


_GROUPS = {
    "float": "float32",
    "double": "float64",
    "floats": "float16 float32 float64",
    "allfloats": "float16 bfloat16 float32 float64",
    "ints": "int8 int16 int32 int64 uint8 uint16 uint32 uint64",
    "signed": "int8 int16 int32 int64",
    "numeric": "float16 bfloat16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64",
    "numpy": "float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool complex64 complex128",
}


def parse_dtypes(dtypes: str | Mapping[str, str] | None) -> dict[str, frozenset[str]]:
    """The element types that ``dtypes=`` allows, groups spelled out, by type variable (``""``: the first input)."""
    if dtypes is None:
        return {}
    if isinstance(dtypes, str):
        dtypes = {"": dtypes}
    out = {}
    for variable, names in dtypes.items():
        words: list[str] = []
        for word in names.split():
            words += _GROUPS.get(word, word).split()
        out[variable] = frozenset("object" if w == "string" else w for w in words)
    return out


def kernel(
    op: str,
    *,
    domain: str = "",
    since: int = 1,
    until: int | None = None,
    dtypes: str | Mapping[str, str] | None = None,
    when: Callable[[Node], bool | str] | None = None,
    prepare: bool = False,
    into: bool = False,
    inplace: Sequence[int] = (),
    view: int | None = None,
    note: str = "",
) -> Callable[[F], F]:
    """Marks a function as the kernel of ``op`` for schema versions ``since`` to ``until`` (open end by default).

    dtypes: names, separated by spaces, that input 0 may have (``float32 int64``; groups: ``floats`` = f16 f32 f64,
        ``allfloats`` = with bf16, ``ints``, ``signed``, ``numeric`` = allfloats + ints, ``numpy`` = all that NumPy has
        but strings), or a mapping from the schema's type variables (``{"T": "floats", "Tind": "int64"}``). None: any.
    when: narrows the claim; returns True, or False, or the reason why not.
    prepare: the function is a factory (see the module's text).
    into: the (bound) function takes ``out=`` (array or None) and fills and returns it.
    inplace: inputs that output 0 may share memory with, when dtype and shape are equal; implies that elements are read
        before they are written.
    view: the input that the outputs may be views of (all of them: Split).
    note: shown in placements, for instance that the kernel computes in a wider type.
    One function may carry several ``@kernel`` marks.
    """

    def mark(fn: F) -> F:
        allowed = parse_dtypes(dtypes)
        made = Kernel(fn, op, domain, since, until, allowed, when, prepare, into, tuple(inplace), view, note)
        fn.__dict__.setdefault("__ronn_kernels__", []).append(made)
        return fn

    return mark


def without(*attributes: str) -> Callable[[Node], bool | str]:
    """A condition for ``when=``: the node sets none of these attributes."""

    def condition(node: Node) -> bool | str:
        given = [a for a in attributes if node.attributes.get(a)]
        return f"attribute {given[0]} is not implemented" if given else True

    return condition


class KernelSet:
    """Kernels by operator, those of ``families`` among them. ``select`` finds the one for a node."""

    def __init__(self, kernels: Iterable[Kernel] = (), families: Families | None = None) -> None:
        self._families = families
        self._by_op: dict[tuple[str, str], list[Kernel]] = {}
        self.extend(kernels)

    @classmethod
    def from_module(cls, *modules: Any) -> KernelSet:
        """Every ``@kernel`` function of the modules."""
        return cls(k for module in modules for k in marked(module))

    def add(self, k: Kernel) -> None:
        """Puts one more kernel among those of its operator; newer versions are asked first."""
        self._by_op[k.domain, k.op] = sorted([*self._candidates(k.domain, k.op), k], key=lambda k: -k.since)

    def extend(self, kernels: Iterable[Kernel]) -> None:
        """Puts several kernels in."""
        for k in kernels:
            self.add(k)

    def __iter__(self) -> Iterator[Kernel]:
        for module in () if self._families is None else self._families.all():
            for k in marked(module):
                self._candidates(k.domain, k.op)
        return (k for ks in list(self._by_op.values()) for k in ks)

    def _candidates(self, domain: str, op: str) -> list[Kernel]:
        found = self._by_op.get((domain, op))
        if found is None:
            modules = () if self._families is None else self._families.modules(domain, op)
            found = [k for module in modules for k in marked(module) if k.op == op and k.domain == domain]
            found.sort(key=lambda k: -k.since)
            self._by_op[domain, op] = found
        return found

    def select(self, node: Node) -> tuple[Kernel | None, Support]:
        """The kernel for ``node`` (newest ``since`` first) and Yes, or None and the reason."""
        candidates = self._candidates(node.domain, node.op)
        if not candidates:
            return None, No(f"no kernel for {node.op_id}")
        schema = schema_of(node)
        since = node.version if schema is None else schema.since
        refusal: Support | None = None
        for k in candidates:
            if since < k.since or (k.until is not None and since > k.until):
                continue
            verdict = k.accepts(node, schema)
            if isinstance(verdict, Yes):
                return k, verdict
            refusal = verdict
        return None, No(f"no kernel for {node.op_id} of version {since}") if refusal is None else refusal


def marked(module: Any) -> Iterator[Kernel]:
    """Every ``@kernel`` function of a module."""
    for obj in vars(module).values():
        if getattr(obj, "__module__", None) == getattr(module, "__name__", ""):
            yield from getattr(obj, "__ronn_kernels__", ())


class KernelProvider(Provider):
    """A provider made of kernels: methods of the subclass marked ``@kernel``, and those of ``kernels()``."""

    def __init__(self) -> None:
        self._kernels: KernelSet | None = None

    def kernels(self) -> KernelSet:
        """Kernels from elsewhere: ``KernelSet.from_module(...)``, or ``KernelSet(families=...)`` for a package of many.
        Called once, when first needed."""
        return KernelSet()

    @property
    def kernel_set(self) -> KernelSet:
        """All kernels of this provider."""
        if self._kernels is None:
            found = self.kernels()
            for name in dir(type(self)):
                method = getattr(type(self), name)
                for k in getattr(method, "__ronn_kernels__", ()):
                    found.add(_bind_method(k, self))
            self._kernels = found
        return self._kernels

    def supports(self, node: Node, device: Device) -> Support:
        return self.kernel_set.select(node)[1]

    def compile(self, part: Part, device: Device, options: Mapping[str, Any]) -> CompiledPart:
        return CompiledPart([self.kernel_call(node, options) for node in part.nodes])

    def kernel_call(self, node: Node, options: Mapping[str, Any]) -> Call:
        """The call of the kernel for ``node``. ValueError for a node that no kernel takes."""
        k, verdict = self.kernel_set.select(node)
        if k is None:
            raise ValueError(f"{self.name} was handed {node!r}, which it refuses: {verdict}")
        fn = k.bind(KernelContext(node, schema_of(node), options))
        viewed = k.view if k.view is not None and k.view < len(node.inputs) else None
        view_of = {} if viewed is None else dict.fromkeys(range(len(node.outputs)), viewed)
        return Call(fn, node.inputs, node.outputs, (node,), k.into, k.inplace, view_of)


def _bind_method(k: Kernel, owner: Any) -> Kernel:
    import dataclasses

    return dataclasses.replace(k, fn=functools.partial(k.fn, owner))


def dtype_names(dtypes: Iterable[DType]) -> str:
    """Names for messages: ``float32, int64``."""
    return ", ".join(sorted(d.numpy_name for d in dtypes))
