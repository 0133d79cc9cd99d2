"""What is registered: operators by domain, name and version."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ronn.custom import shapes
from ronn.custom.signature import REQUIRED, Signature, read_signature
from ronn.errors import OptionError, nearest
from ronn.ir.types import DType
from ronn.ops.custom import NEWEST, changed, find_for, registered, table
from ronn.ops.infer import InferContext, forget_rule, rule, rule_of
from ronn.ops.schema import Formal, OpSchema, find_schema, forget_schema, register_schema
from ronn.provider.kernels import parse_dtypes
from ronn.records import dataclass

if TYPE_CHECKING:
    from ronn.ir.graph import Function, Node

F = TypeVar("F", bound=Callable[..., Any])

LOOPS = ("elementwise", "rows")


@dataclass(frozen=True, eq=False)
class CustomOp:
    """A registered operator: one version of it. ``body`` is what stands for it in graphs; ``loop`` says how its
    function is written as a native loop (``elementwise`` or ``rows``), and ``loop_fn`` what is written as one."""

    domain: str
    name: str
    since: int
    fn: Callable[..., Any]
    signature: Signature
    schema: OpSchema
    shape: shapes.Rule | None
    dtypes: Mapping[str, frozenset[str]]
    body: Function | None = None
    loop: str | None = None
    loop_fn: Callable[..., Any] | None = None

    @property
    def op_id(self) -> str:
        return f"{self.domain}::{self.name}" if self.domain else self.name

    @property
    def where(self) -> str:
        """``Python function squash in my_module``"""
        return f"Python function {self.fn.__qualname__} in {self.fn.__module__}"

    @property
    def note(self) -> str:
        """What placements say."""
        return f"custom op {'.'.join(p for p in (self.domain, self.name) if p)} ({self.where})"

    def refusal(self, node: Node) -> str:
        """Why the function does not take a node: the constraint on types that it breaks. Empty when it takes it."""
        for i, value in enumerate(node.inputs):
            formal = self.schema.formal_input(i)
            if value is None or formal is None or value.dtype is None:
                continue
            allowed = self.dtypes.get(formal.type)
            if allowed is not None and value.dtype.numpy_name not in allowed and value.dtype.onnx_name not in allowed:
                takes = ", ".join(sorted(allowed))
                return f"input {i} ({formal.name}) is {value.dtype.onnx_name}; {self.op_id} takes {takes}"
        return ""

    def infer(self, c: InferContext) -> None:
        """The shape rule; ModelError for a node that the function cannot be called for."""
        self.signature.check(c.node)
        attributes = self.signature.bind(c.node)
        wrong = self.refusal(c.node)
        if wrong:
            raise c.fail(wrong, f"dtypes= of ronn.op({self.domain!r}, {self.name!r}) says what it takes")
        if self.shape is not None:
            self.shape(c, attributes)


_lock = threading.RLock()


def op(
    domain: str,
    name: str,
    since: int = 1,
    *,
    outputs: int | Sequence[str] | None = None,
    shape: str | Callable[..., Any] | None = None,
    dtypes: str | Mapping[str, str] | None = None,
    body: Any = None,
    loop: str | None = None,
    loop_fn: Callable[..., Any] | None = None,
    pure: bool = True,
) -> Callable[[F], F]:
    """Registers a NumPy function as an operator, for every session of this process::

        @ronn.op("my.domain", "Squash", 1, shape="T[...] -> T[...]")
        def squash(x, *, scale: float = 1.0):
            return x * scale / (1 + np.abs(x * scale))

    The function's positional parameters are the inputs (``= None``: optional; ``*args``: variadic), its keyword-only
    ones the attributes, with their defaults and types. It gets read-only arrays and gives one, or a tuple of several.

    domain, name, since: the operator, and the version of the domain that it begins with.
    outputs: how many there are, or their names; by default the return annotation (``tuple[...]``) tells, else one.
    shape: what the outputs are: ``"T[N, M], T[M] -> T[N]"``, or a function of the inputs' types (``TensorType``) that
        gives a ``TensorType`` or a pair (dtype, shape) for each output. Without it they are found out at each run, and
        what stands behind the node is planned then.
    dtypes: element types that the inputs may have: names and groups for the first one (``"floats int64"``), or a
        mapping from names of inputs, or of the rule's type variables, to such.
    body: what the operator stands for, in other operators: an ``onnx.FunctionProto``, text in ONNX's or RONN's own
        form, or a list of ``onnx.NodeProto``. It is put in the node's place wherever no provider takes the node whole.
    loop: ``"elementwise"`` or ``"rows"`` (results hang on one row along the last axis): the function is followed, and
        written as a native loop together with its neighbours, where a provider can. ``loop_fn``: what is followed
        instead of the function.
    pure: whether the outputs depend on inputs and attributes alone. Others are neither folded nor merged.

    Several threads may call the function at once: it must not keep its arguments nor change anything shared without a
    lock. Registering the same function again (a cell of a notebook, a reload) replaces it; sessions made before should
    be made anew. Raises OptionError for a function that no operator can have, or an operator that there is already.
    """

    def register(fn: F) -> F:
        _add(_make(fn, domain, name, since, outputs, shape, dtypes, body, loop, loop_fn, pure))
        return fn

    return register


def remove_op(domain: str, name: str, since: int | None = None) -> None:
    """Takes an operator out again: one version, or all. OptionError when there is none."""
    with _lock:
        versions = table.get((domain, name), {})
        gone = [since] if since is not None else list(versions)
        if not gone or any(v not in versions for v in gone):
            known = [o.op_id for o in registered()]
            near = nearest(f"{domain}::{name}", known)
            raise OptionError(
                f"no operator {domain}::{name}{'' if since is None else f' of version {since}'} is registered",
                hint=f"did you mean {near!r}?" if near else f"registered: {', '.join(known) if known else 'none'}",
            )
        for v in gone:
            _forget(versions[v])


def _forget(known: CustomOp) -> None:
    versions = table[known.domain, known.name]
    del versions[known.since]
    forget_schema(known.domain, known.name, known.since)
    if not versions:
        del table[known.domain, known.name]
        forget_rule(known.domain, known.name)
    changed()


def _add(made: CustomOp) -> None:
    with _lock:
        known = table.get((made.domain, made.name), {}).get(made.since)
        if known is not None and not _same_function(known.fn, made.fn):
            raise OptionError(
                f"{made.op_id} of version {made.since} is registered already: {known.where}; this is {made.where}",
                hint=f"ronn.remove_op({made.domain!r}, {made.name!r}) takes it out; "
                "another version of the operator has another third argument",
            )
        if known is None:
            _check_free(made)
        register_schema(made.schema)
        table.setdefault((made.domain, made.name), {})[made.since] = made
        rule(made.name, domain=made.domain)(_infer)
        changed()


def _infer(c: InferContext) -> None:
    found = find_for(c.node)
    if found is not None:
        found.infer(c)


def _same_function(a: Callable[..., Any], b: Callable[..., Any]) -> bool:
    """Whether ``b`` is a newer ``a``: the same name in the same module, or the same place of the same file."""
    if (a.__module__, a.__qualname__) == (b.__module__, b.__qualname__):
        return True
    places = [(c.co_filename, c.co_firstlineno, c.co_name) for f in (a, b) if (c := getattr(f, "__code__", None))]
    return len(places) == 2 and places[0] == places[1]


def _check_free(made: CustomOp) -> None:
    """OptionError for an operator that ONNX, RONN or a plugin has."""
    known = find_schema(made.domain, made.name, NEWEST)
    own = table.get((made.domain, made.name), {})
    if known is not None and known.since not in own:
        owner = "ONNX" if made.domain == "" or made.domain.startswith("ai.onnx") else "RONN or a plugin"
        raise OptionError(
            f"{made.op_id} is an operator of {owner} (version {known.since})",
            hint="give yours a domain of its own; for another implementation of a known operator write a provider "
            "(`ronn new-provider`)",
        )
    if not own and rule_of(made.domain, made.name) is not None and made.shape is not None:
        raise OptionError(
            f"{made.op_id} has a shape rule already, registered with ronn.ops.infer.rule", hint="leave shape= out"
        )


def _make(
    fn: Callable[..., Any],
    domain: str,
    name: str,
    since: int,
    outputs: int | Sequence[str] | None,
    shape: str | Callable[..., Any] | None,
    dtypes: str | Mapping[str, str] | None,
    body: Any,
    loop: str | None,
    loop_fn: Callable[..., Any] | None,
    pure: bool,
) -> CustomOp:
    if not isinstance(domain, str) or not isinstance(name, str) or not name.isidentifier():
        raise OptionError(f"ronn.op({domain!r}, {name!r}): a domain and the name of an operator")
    if callable(since) or isinstance(since, bool) or not isinstance(since, int) or since < 1:
        raise OptionError(
            f"ronn.op({domain!r}, {name!r}, {since!r}): versions are numbers from 1 on",
            hint='it is used as @ronn.op("my.domain", "MyOp", 1)',
        )
    if loop is not None and loop not in LOOPS:
        near = nearest(str(loop), LOOPS)
        raise OptionError(f"loop={loop!r} is not known", hint=f"did you mean {near!r}?" if near else f"one of {LOOPS}")
    signature = read_signature(fn, outputs)
    many = bool(signature.inputs) and signature.inputs[-1].variadic
    if loop is not None and len(signature.outputs) > 1:
        raise OptionError(f"loop={loop!r}: {fn.__qualname__} has {len(signature.outputs)} outputs; loops have one")
    chosen: shapes.Rule | None
    if isinstance(shape, str):
        chosen = shapes.parse_rule(shape, len(signature.inputs), len(signature.outputs), many)
    elif shape is not None:
        if not callable(shape):
            raise OptionError(f"shape={shape!r}: a text such as 'T[N, M] -> T[N]', or a function of types")
        chosen = shapes.rule_of_function(shape, len(signature.outputs))
    else:
        chosen = {"elementwise": shapes.elementwise, "rows": shapes.like_first, None: None}[loop]
    schema, allowed = _schema(domain, name, since, signature, chosen, dtypes, pure)
    made = CustomOp(domain, name, since, fn, signature, schema, chosen, allowed, None, loop, loop_fn)
    if body is not None:
        from dataclasses import replace

        from ronn.custom.body import read_body

        made = replace(made, body=read_body(body, made))
    return made


def _schema(
    domain: str,
    name: str,
    since: int,
    signature: Signature,
    rule: shapes.Rule | None,
    dtypes: str | Mapping[str, str] | None,
    pure: bool,
) -> tuple[OpSchema, dict[str, frozenset[str]]]:
    """The schema, and the element types allowed by type variable."""
    if isinstance(rule, shapes.TextRule):
        taken, given = [o.type_text for o in rule.inputs], [o.type_text for o in rule.outputs]
    else:
        taken = [f"T{i}" for i in range(len(signature.inputs))]
        given = [f"U{i}" for i in range(len(signature.outputs))]
    constraints = {"": dtypes} if isinstance(dtypes, str) else {} if dtypes is None else dict(dtypes)
    places = {p.name: t for p, t in zip(signature.inputs, taken, strict=True)}
    variables = dict.fromkeys(t for t in (*taken, *given) if "(" not in t)
    allowed: dict[str, frozenset[str]] = {}
    for key, names in parse_dtypes(constraints).items():
        variable = key if key in variables else places.get(key) if key else next(iter(taken), None)
        if variable is None or "(" in variable:
            known = [*places, *(v for v in variables if isinstance(rule, shapes.TextRule))]
            near = nearest(key, known)
            raise OptionError(
                f"dtypes= of {name} speaks of {key!r}, which is no input without a type of its own",
                hint=f"did you mean {near!r}?" if near else f"inputs and type variables: {', '.join(known)}",
            )
        for n in names:
            shapes.dtype_named("str" if n == "object" else n)
        allowed[variable] = allowed.get(variable, names) & names
    known_types = {d.numpy_name: f"tensor({d.onnx_name})" for d in DType}
    types = {
        v: tuple(sorted(known_types.get(n, f"tensor({n})") for n in allowed[v]))
        if v in allowed
        else tuple(sorted(known_types.values()))
        for v in variables
    }
    attributes = {a.name: a.kind for a in signature.attributes.values()}
    defaults = {a.name: a.default for a in signature.attributes.values() if a.default not in (REQUIRED, None)}
    required = frozenset(a.name for a in signature.attributes.values() if a.default is REQUIRED)
    inputs = tuple(Formal(p.name, t, p.optional, p.variadic) for p, t in zip(signature.inputs, taken, strict=True))
    last = len(signature.outputs) - 1
    formals = tuple(
        Formal(n, t, variadic=signature.variadic and i == last)
        for i, (n, t) in enumerate(zip(signature.outputs, given, strict=True))
    )
    schema = OpSchema(
        domain, name, since, inputs, formals, defaults, attributes, required, types,
        min_inputs=signature.least, max_inputs=signature.most, deterministic=pure,
    )  # fmt: skip
    return schema, allowed
