"""``dataclass`` as in ``dataclasses``, made for programs that declare many of them and start often.

The standard library compiles the source of six or more methods for each class: half a millisecond a class, and a
session meets more than a hundred. Here only ``__init__`` is compiled; the other methods are shared.
``dataclasses.fields``, ``replace`` and ``asdict`` work on the result; ``order``, ``kw_only`` and the like are left to
the standard library.
"""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, Field, field, replace
from inspect import get_annotations
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass", "field", "replace"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls=None, /, *, frozen=False, slots=False, eq=True):
        """Declares the annotated names of a class as fields, and gives it the methods that go with them."""
        if cls is None:
            return lambda c: _declare(c, frozen, slots, eq)
        return _declare(cls, frozen, slots, eq)


_TABLE = "__record_fields__"
_put = object.__setattr__


def _declare(cls: type, frozen: bool, slots: bool, eq: bool) -> type:
    own = [_own_field(cls, n) for n, t in get_annotations(cls).items() if not _is_class_var(t)]
    inherited = [f for base in reversed(cls.__mro__[1:]) for f in base.__dict__.get(_TABLE, {}).values()]
    table = {f.name: f for f in (*inherited, *own)}
    members: dict[str, Any] = {"__init__": _init(cls, table, frozen), "__repr__": _repr, "__replace__": replace}
    if eq:
        key = _key([f.name for f in table.values() if f.compare])
        members["__eq__"] = _equal(key)
        members["__hash__"] = _hash(key) if frozen else None
    if frozen:
        members["__setattr__"], members["__delattr__"] = _refuse_to_set, _refuse_to_delete
        if slots:
            members["__getstate__"], members["__setstate__"] = _get_state, _set_state
    explicit = vars(cls)
    members = {n: m for n, m in members.items() if n not in explicit or (n == "__hash__" and _implied(explicit))}
    members |= {"__match_args__": tuple(n for n, f in table.items() if f.init), _TABLE: table}
    members["__dataclass_fields__"] = _StandardFields()
    if slots:
        return _with_slots(cls, [f.name for f in own], members)
    for name, member in members.items():
        setattr(cls, name, member)
    for f in own:
        if f.default is not MISSING:
            setattr(cls, f.name, f.default)
        elif f.name in explicit:
            delattr(cls, f.name)
    return cls


def _own_field(cls: type, name: str) -> Field[Any]:
    given = cls.__dict__.get(name, MISSING)
    made: Field[Any] = given if isinstance(given, Field) else field(default=given)
    if type(made.default).__hash__ is None:
        raise ValueError(f"{cls.__qualname__}.{name}: all instances would share its default; use default_factory")
    made.name = name
    made.type = cls.__annotations__[name]
    return made


def _is_class_var(annotation: Any) -> bool:
    return str(annotation).startswith(("ClassVar", "typing.ClassVar"))


def _implied(explicit: Any) -> bool:
    """Whether a class has ``__hash__ = None`` only because it defines ``__eq__``."""
    return explicit["__hash__"] is None and "__eq__" in explicit


def _with_slots(cls: type, slots: list[str], members: dict[str, Any]) -> type:
    """The class anew: slots cannot be added to one."""
    left_out = {*slots, "__dict__", "__weakref__"}
    body = {n: m for n, m in cls.__dict__.items() if n not in left_out}
    taken = {s for base in cls.__mro__[1:] for s in base.__dict__.get("__slots__", ())}
    made = type(cls)(cls.__name__, cls.__bases__, {**body, **members, "__slots__": tuple(set(slots) - taken)})
    made.__qualname__ = cls.__qualname__
    return made


def _init(cls: type, table: dict[str, Field[Any]], frozen: bool) -> Any:
    names: dict[str, Any] = {"put": _put, "MISSING": MISSING}
    parameters, lines = ["self"], []
    for name, f in table.items():
        value = name
        if f.default is not MISSING:
            names[f"default_{name}"] = f.default
            parameters += [f"{name}=default_{name}"] if f.init else []
            value = name if f.init else f"default_{name}"
        elif f.default_factory is not MISSING:
            names[f"make_{name}"] = f.default_factory
            parameters += [f"{name}=MISSING"] if f.init else []
            value = f"make_{name}() if {name} is MISSING else {name}" if f.init else f"make_{name}()"
        elif f.init:
            parameters.append(name)
        else:
            continue
        lines.append(f"put(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    body = "\n  ".join(lines) if lines else "pass"
    exec(f"def __init__({', '.join(parameters)}):\n  {body}", names)
    made = names["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    made.__module__ = cls.__module__
    made.__annotations__ = {n: f.type for n, f in table.items() if f.init} | {"return": None}
    return made


def _key(names: list[str]) -> Any:
    return attrgetter(*names) if names else lambda record: ()


def _equal(key: Any) -> Any:
    def __eq__(self: Any, other: Any) -> Any:
        return key(self) == key(other) if other.__class__ is self.__class__ else NotImplemented

    return __eq__


def _hash(key: Any) -> Any:
    def __hash__(self: Any) -> int:
        return hash(key(self))

    return __hash__


@recursive_repr()
def _repr(self: Any) -> str:
    shown = (f"{n}={getattr(self, n)!r}" for n, f in getattr(self, _TABLE).items() if f.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _refuse_to_set(self: Any, name: str, value: Any) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _get_state(self: Any) -> list[Any]:
    return [getattr(self, name) for name in getattr(self, _TABLE)]


def _set_state(self: Any, state: list[Any]) -> None:
    for name, value in zip(getattr(self, _TABLE), state, strict=True):
        _put(self, name, value)


class _StandardFields:
    """What the functions of ``dataclasses`` look for, made when they do."""

    def __get__(self, record: Any, owner: Any) -> Any:
        table: dict[str, Field[Any]] = getattr(owner, _TABLE)
        like = dataclasses.make_dataclass(owner.__name__, [(n, f.type, _copy(f)) for n, f in table.items()])
        owner.__dataclass_fields__ = like.__dict__["__dataclass_fields__"]
        return owner.__dataclass_fields__


def _copy(f: Field[Any]) -> Any:
    options: dict[str, Any] = {"init": f.init, "repr": f.repr, "compare": f.compare}
    if f.default_factory is not MISSING:
        return field(default_factory=f.default_factory, **options)
    return field(**options) if f.default is MISSING else field(default=f.default, **options)
