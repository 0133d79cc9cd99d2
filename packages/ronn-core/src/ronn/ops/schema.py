"""Operator schemas: ONNX's own and those that plugins or RONN declare for other domains."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from ronn.ops import onnx_schemas
from ronn.records import dataclass, field

if TYPE_CHECKING:
    from ronn.ir.graph import Node

_REQUIRED = object()

# Operators whose result is not a function of their inputs, or that act on something outside the graph.
_IMPURE = frozenset(
    {
        ("", op)
        for op in ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")
    }
)


@dataclass(frozen=True, slots=True)
class Formal:
    """A formal input or output: name, type variable or type string, and whether it is optional or variadic."""

    name: str
    type: str
    optional: bool = False
    variadic: bool = False
    homogeneous: bool = True


@dataclass(frozen=True, slots=True)
class OpSchema:
    """One version of an operator. ``since`` is the opset version that introduced it."""

    domain: str
    op: str
    since: int
    inputs: tuple[Formal, ...]
    outputs: tuple[Formal, ...]
    defaults: dict[str, Any] = field(default_factory=dict)  # attributes with a default
    attributes: dict[str, str] = field(
        default_factory=dict
    )  # every attribute -> its ONNX type name ("INT", "FLOATS" ...)
    required: frozenset[str] = frozenset()
    types: dict[str, tuple[str, ...]] = field(default_factory=dict)  # type variable -> ONNX type strings
    deprecated: bool = False
    min_inputs: int = 0
    max_inputs: int = 2**31 - 1
    functions: tuple[int, ...] = ()  # opsets that ONNX has function bodies for
    deterministic: bool = True

    @property
    def pure(self) -> bool:
        """Whether the outputs depend on inputs and attributes alone."""
        return self.deterministic and (self.domain, self.op) not in _IMPURE

    def formal_input(self, index: int) -> Formal | None:
        return _formal(self.inputs, index)

    def formal_output(self, index: int) -> Formal | None:
        return _formal(self.outputs, index)


def _formal(formals: tuple[Formal, ...], index: int) -> Formal | None:
    if index < len(formals):
        return formals[index]
    return formals[-1] if formals and formals[-1].variadic else None


_extra: dict[tuple[str, str], list[OpSchema]] = {}


def register_schema(schema: OpSchema) -> None:
    """Declares an operator of a domain that ONNX does not define (newest version last wins for equal ``since``)."""
    versions = [s for s in _extra.get((schema.domain, schema.op), []) if s.since != schema.since]
    _extra[(schema.domain, schema.op)] = sorted([*versions, schema], key=lambda s: s.since)
    find_schema.cache_clear()


def forget_schema(domain: str, op: str, since: int) -> None:
    """Takes back what ``register_schema`` declared."""
    left = [s for s in _extra.get((domain, op), []) if s.since != since]
    if left:
        _extra[(domain, op)] = left
    else:
        _extra.pop((domain, op), None)
    find_schema.cache_clear()


@cache
def find_schema(domain: str, op: str, version: int) -> OpSchema | None:
    """The schema that opset ``version`` of ``domain`` gives ``op``; None when nobody declares it.

    An opset newer than any known one gets the newest schema known.
    """
    for schema in reversed(_extra.get((domain, op), [])):
        if schema.since <= version:
            return schema
    if domain == "ronn":
        from ronn.ops import fused

        return fused.find(op)
    if domain == "com.microsoft":
        from ronn.ops.contrib import find

        return find(op)
    found = _of_onnx(domain, op, version)
    if found is None and domain == "":
        from ronn.ops import contrib

        return contrib.find_in_onnx_domain(op)
    return found


def schema_of(node: Node) -> OpSchema | None:
    """The schema of ``node``; None when nobody declares its operator."""
    return find_schema(node.domain, node.op, node.version)


def max_opset(domain: str) -> int:
    """The newest opset of ``domain`` that RONN or the installed onnx knows; 0 for a domain that neither does."""
    return max(onnx_schemas.opset(domain), onnx_opset(domain))


def is_newer(domain: str, version: int) -> bool:
    """Whether an opset of a known domain is newer than any that RONN or the installed onnx knows."""
    return version > onnx_schemas.opset(domain) and 0 < max_opset(domain) < version


@cache
def onnx_opset(domain: str) -> int:
    """The newest opset of ``domain`` that the installed onnx defines; 0 for a domain that it does not know."""
    from onnx import defs

    if domain in ("", "ai.onnx.ml"):
        newest: int = defs.onnx_ml_opset_version() if domain else defs.onnx_opset_version()
        return newest
    return max((s.since_version for s in defs.get_all_schemas_with_history() if s.domain == domain), default=0)


def _of_onnx(domain: str, op: str, version: int) -> OpSchema | None:
    if version <= onnx_schemas.opset(domain):
        try:
            return onnx_schemas.find(domain, op, version)
        except KeyError:
            pass
    return from_onnx(domain, op, version)


def from_onnx(domain: str, op: str, version: int) -> OpSchema | None:
    """The schema that the installed onnx gives an operator; None when it has none."""
    import onnx

    try:
        raw = onnx.defs.get_schema(op, min(version, max(onnx_opset(domain), 1)), domain)
    except onnx.defs.SchemaError:
        return None
    option = onnx.defs.OpSchema.FormalParameterOption

    def formals(params: Any) -> tuple[Formal, ...]:
        return tuple(
            Formal(p.name, p.type_str, p.option == option.Optional, p.option == option.Variadic, p.is_homogeneous)
            for p in params
        )

    defaults = {}
    for name, attr in raw.attributes.items():
        if attr.default_value is not None and attr.default_value.type:
            value = onnx.helper.get_attribute_value(attr.default_value)
            if isinstance(value, bytes):
                value = value.decode()
            elif isinstance(value, (list, tuple)) or (hasattr(value, "__iter__") and not isinstance(value, str)):
                value = [v.decode() if isinstance(v, bytes) else v for v in value]
            defaults[name] = value
    functions: tuple[int, ...] = ()
    if raw.has_function:
        functions = tuple(raw.function_opset_versions)
    elif raw.has_context_dependent_function:
        functions = tuple(raw.context_dependent_function_opset_versions)
    return OpSchema(
        domain,
        op,
        raw.since_version,
        formals(raw.inputs),
        formals(raw.outputs),
        defaults,
        {name: attr.type.name for name, attr in raw.attributes.items()},
        frozenset(name for name, attr in raw.attributes.items() if attr.required),
        {c.type_param_str: tuple(sorted(c.allowed_type_strs)) for c in raw.type_constraints},
        raw.deprecated,
        raw.min_input,
        raw.max_input,
        functions,
    )
