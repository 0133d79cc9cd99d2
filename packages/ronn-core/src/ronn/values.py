"""What goes into and comes out of a session: conversion and checks of inputs, the mapping of outputs, value infos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any, cast

import numpy as np

from ronn import dlpack
from ronn.errors import InputError, MemoryLimitError, OptionError, nearest
from ronn.ir.dims import Shape, Sym
from ronn.ir.graph import Graph, Value
from ronn.ir.types import DType, MapType, OptionalType, SequenceType, TensorType, Type
from ronn.records import dataclass
from ronn.usage import Copies


@dataclass(frozen=True, slots=True)
class ValueInfo:
    """An input or output of a model, as people see it.

    ``dtype`` is ONNX's name (``float``, ``int64``); ``shape`` has ints, symbol strings and None for unknown; both are
    None where the value is not a tensor, or not known.
    """

    name: str
    dtype: str | None
    shape: tuple[int | str | None, ...] | None
    type: Type | None

    @classmethod
    def of(cls, value: Value, name: str | None = None) -> ValueInfo:
        """What a value of a graph is, under its own name or another one."""
        t = value.tensor
        shape = None if t.shape is None else tuple(plain_dim(d) for d in t.shape)
        return cls(value.name if name is None else name, t.dtype.onnx_name if t.dtype else None, shape, value.type)

    def __str__(self) -> str:
        return f"{self.name}: {self.type if self.type is not None else '?'}"


def plain_dim(d: int | Sym | None) -> int | str | None:
    """An int, the symbol's own text (``batch``, ``2*N+1``), or None."""
    if isinstance(d, Sym):
        return str(d.terms[0][0][0]) if d.is_name else str(d)
    return d


class Outputs(Mapping[str, Any]):
    """The results of a run: a mapping in output order that also unpacks and indexes like a tuple.

    ``out["logits"]``, ``out[0]``, ``a, b = out`` and ``dict(out.items())`` all work; iteration gives the *values*, as
    unpacking needs, so ask ``.keys()`` for the names.
    """

    __slots__ = ("_names", "_values")

    def __init__(self, names: Sequence[str], values: Sequence[Any]) -> None:
        self._names = tuple(names)
        self._values = tuple(values)

    def __getitem__(self, key: str | int) -> Any:
        if isinstance(key, (int, slice)):
            return self._values[key]
        for name, value in zip(self._names, self._values, strict=True):
            if name == key:
                return value
        raise KeyError(f"{key!r}; the outputs are {', '.join(self._names)}")

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._names

    def keys(self) -> Any:
        return dict.fromkeys(self._names).keys()

    def values(self) -> Any:
        return dict(zip(self._names, self._values, strict=True)).values()

    def items(self) -> Any:
        return dict(zip(self._names, self._values, strict=True)).items()

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        from ronn.plan.plan import describe_array

        inner = ", ".join(f"{n!r}: {describe_array(v)}" for n, v in zip(self._names, self._values, strict=True))
        return f"Outputs({inner})"


def gather_inputs(given: Any, inputs: Sequence[Value], optional: Sequence[str] = ()) -> dict[str, Any]:
    """The values by input name, from a mapping, a sequence in input order, or one array for a one-input model.

    ``optional`` names further inputs that a mapping may give. Raises InputError for unknown, missing or surplus ones.
    """
    names = [v.name for v in inputs]
    if isinstance(given, Mapping):
        known = {*names, *optional}
        for key in given:
            if key not in known:
                near = nearest(str(key), [*names, *optional])
                raise InputError(
                    f"the model has no input {key!r}; it takes {', '.join(map(repr, names)) or 'none'}",
                    hint=f"did you mean {near!r}?" if near else None,
                )
        missing = [n for n, v in zip(names, inputs, strict=True) if n not in given and not _may_lack(v)]
        if missing:
            absent = [v for v in inputs if v.name in missing]
            raise InputError(
                f"required inputs are missing: {', '.join(f'{v.name!r} ({v.type})' for v in absent)}",
                hint=f"give them by name: session.run({{{', '.join(f'{n!r}: ...' for n in names)}}})",
            )
        return {**{n: None for n in names if n not in given}, **given}
    if given is None:
        given = ()
    if is_one_array(given) or (len(names) == 1 and _is_the_input(given, inputs[0].type)):
        given = (given,)
    if not isinstance(given, Sequence):
        raise InputError(
            f"inputs are {type(given).__name__}", hint="pass a mapping of input name to array, a list, or one array"
        )
    if len(given) != len(names):
        raise InputError(
            f"got {len(given)} inputs, the model takes {len(names)}: {', '.join(map(repr, names)) or 'none'}",
            hint="pass a mapping of input name to array",
        )
    return dict(zip(names, given, strict=True))


def plain_inputs(given: Any, names: Sequence[str]) -> Sequence[Any] | None:
    """One value for each input, in order, where that is plain to see and none is a list; None elsewhere."""
    if isinstance(given, dict):
        found: Sequence[Any] = [given.get(n) for n in names] if len(given) == len(names) else ()
    else:
        found = [given] if is_one_array(given) else given if isinstance(given, (list, tuple)) else ()
    plain = len(found) == len(names) and not any(v is None or isinstance(v, (list, tuple)) for v in found)
    return found if plain else None


def _may_lack(value: Value) -> bool:
    return isinstance(value.type, OptionalType)


def is_one_array(given: Any) -> bool:
    """Whether a caller gave one array (or number, or text), not several."""
    return isinstance(given, (np.ndarray, np.generic, int, float, bool, str, bytes, bytearray, memoryview)) or (
        not isinstance(given, (list, tuple))
        and any(hasattr(given, a) for a in ("__dlpack__", "__array__", "__array_interface__"))
    )


def _is_the_input(given: Any, declared: Type | None) -> bool:
    """For a one-input model: whether ``given`` is the input itself (so is a nested list of numbers of its rank), not a
    sequence that holds it."""
    if not isinstance(given, (list, tuple)):
        return True
    if not isinstance(declared, TensorType):
        return False
    depth, first = 0, cast(Any, given)
    while isinstance(first, (list, tuple)):
        depth, first = depth + 1, first[0] if first else None
    if hasattr(first, "__array__") or hasattr(first, "__dlpack__"):
        return False
    return len(given) != 1 or depth == declared.rank


def convert(value: Any, declared: Type | None, name: str) -> Any:
    """``value`` as what the plan runs on: an ndarray (zero copy where possible), a list for a sequence, and so on.

    Python scalars and lists take the declared dtype; arrays must have it. Raises InputError with both types.
    """
    if isinstance(declared, OptionalType):
        return None if value is None else convert(value, declared.element, name)
    if isinstance(declared, SequenceType):
        if not isinstance(value, (list, tuple)):
            raise InputError(f"input {name!r} is {declared}; got {type(value).__name__}", hint="pass a list")
        return [convert(v, declared.element, f"{name}[{i}]") for i, v in enumerate(value)]
    if isinstance(declared, MapType):
        if not isinstance(value, Mapping):
            raise InputError(f"input {name!r} is {declared}; got {type(value).__name__}", hint="pass a dict")
        return dict(value)
    want = declared.dtype if isinstance(declared, TensorType) else None
    array = as_array(value, want, name)
    if isinstance(declared, TensorType):
        _check(array, declared, name)
    return array


def as_array(value: Any, want: DType | None, name: str) -> np.ndarray:
    """An ndarray of anything with ``__dlpack__``, a buffer or ``__array__``, and of numbers, strings and lists."""
    if type(value) is np.ndarray:
        array = value
    elif value is None:
        raise InputError(f"input {name!r} is None")
    else:
        array = _foreign(value, want, name)
    if array.dtype.kind in "US" or (want is DType.STRING and array.dtype.kind == "T"):
        array = np.char.decode(array, "utf-8").astype(object) if array.dtype.kind == "S" else array.astype(object)
    return array


def _foreign(value: Any, want: DType | None, name: str) -> np.ndarray:
    plain = isinstance(value, (bool, int, float, complex, str, list, tuple))
    try:
        if plain:
            return np.asarray(value, dtype=None if want is None else want.numpy)
        if isinstance(value, bytes) and want in (DType.UINT8, DType.INT8):
            return np.frombuffer(value, want.numpy)
        if hasattr(value, "__array_interface__") or isinstance(value, (np.generic, memoryview, bytearray)):
            return np.asarray(value)
        if hasattr(value, "__dlpack__"):
            return dlpack.read(value)
        return np.asarray(value)
    except Exception as dlpack_failed:
        if not plain and hasattr(value, "__array__"):
            try:
                return np.asarray(value)
            except Exception as e:
                raise InputError(f"input {name!r}: cannot read {type(value).__name__} as an array: {e}") from e
        raise InputError(
            f"input {name!r}: cannot read {type(value).__name__} as an array: {dlpack_failed}"
        ) from dlpack_failed


def _check(array: np.ndarray, declared: TensorType, name: str) -> None:
    want = declared.dtype
    if want is not None and array.dtype != want.numpy:
        if want is DType.STRING and array.dtype.kind in "OT":
            return
        raise InputError(
            f"input {name!r} is {declared}; got {array.dtype}{list(array.shape)}",
            hint=f"convert it: array.astype({numpy_name(want)})",
        )
    shape = declared.shape
    if shape is None:
        return
    if len(shape) != array.ndim:
        raise InputError(
            f"input {name!r} is {declared} (rank {len(shape)}); got rank {array.ndim}: {list(array.shape)}",
            hint=_way_to(array.shape, shape),
        )
    for i, (d, got) in enumerate(zip(shape, array.shape, strict=True)):
        if isinstance(d, int) and d != got:
            raise InputError(
                f"input {name!r} is {declared}; got {got} instead of {d} at axis {i}: {list(array.shape)}",
                hint=_way_to(array.shape, shape),
            )


_MOST_AXES = 5  # of an array whose axes are tried in other orders


def _way_to(shape: tuple[int, ...], wanted: Shape) -> str:
    """What makes an array of ``shape`` one of the wanted shape, if it is a matter of axes."""

    def fits(found: Sequence[int]) -> bool:
        return len(found) == len(wanted) and all(not isinstance(d, int) or d == n for d, n in zip(wanted, found))

    if fits((1, *shape)):
        return "the first axis is missing: array[None] adds it"
    if shape[:1] == (1,) and fits(shape[1:]):
        return "it has an axis too many: array[0] takes it away"
    if len(shape) == len(wanted) <= _MOST_AXES:
        for order in permutations(range(len(shape))):
            if fits([shape[i] for i in order]):
                return f"the axes may be in another order: array.transpose{order} fits"
    return "the model fixes these sizes: resize, pad or cut the data"


def numpy_name(dtype: DType) -> str:
    """What to write in Python for the NumPy dtype of a DType."""
    return repr(dtype.numpy_name) if dtype.numpy.isbuiltin == 1 else f"ml_dtypes.{dtype.numpy_name}"


def check_symbols(values: Mapping[str, Any], inputs: Sequence[Value], fixed: Mapping[str, int]) -> None:
    """One symbol, one size: InputError when two inputs (or an option) give the same dim different sizes."""
    seen: dict[str, tuple[int, str]] = {n: (s, "the session's dimensions") for n, s in fixed.items()}
    for value in inputs:
        shape, got = value.tensor.shape, values.get(value.name)
        if shape is None or not isinstance(got, np.ndarray):
            continue
        for d, size in zip(shape, got.shape, strict=False):
            if isinstance(d, Sym) and d.is_name:
                symbol = str(d.terms[0][0][0])
                known = seen.setdefault(symbol, (size, f"input {value.name!r}"))
                if known[0] != size:
                    raise InputError(
                        f"dim {symbol!r} is {size} in input {value.name!r} but {known[0]} in {known[1]}",
                        hint="inputs that share a dim must agree in it",
                    )


def check_dimensions(dimensions: Mapping[str, int], graph: Graph) -> None:
    """OptionError for a size of a symbolic dim that a model does not have."""
    known = sorted(symbols_of(graph)) if dimensions else []
    for name in dimensions:
        if name not in known:
            near = nearest(name, known)
            there = ", ".join(map(repr, known)) if known else "none"
            raise OptionError(
                f"the model has no dim {name!r} to fix; its symbolic dims: {there}",
                hint=f"did you mean {near!r}?" if near else "sizes without a name in the model cannot be fixed",
            )


def symbols_of(graph: Graph) -> set[str]:
    """Names of the symbolic dims in the types of a graph and its subgraphs."""
    shapes = (v.type.shape for v in graph.values() if isinstance(v.type, TensorType) and v.type.shape is not None)
    found = {n for s in shapes for d in s if isinstance(d, Sym) and d.is_name for n in d.names()}
    return found.union(*(symbols_of(sub) for sub in graph.inner_graphs()))


def type_of(value: Any, declared: Type | None) -> Type | None:
    """The type of one run's value: exact for tensors, the declared one for the rest."""
    if isinstance(value, np.ndarray):
        return TensorType(DType.of(value.dtype), value.shape)
    return declared


def signature_text(types: Sequence[Type | None]) -> str:
    """``f32[1,3], i64[4]``: the types of the inputs of a run."""
    return ", ".join("?" if t is None else str(t) for t in types)


def positions(wanted: Sequence[str], names: Sequence[str]) -> list[int]:
    """Where in ``names`` the outputs are that a run asks for. InputError, with the nearest name, for an unknown one."""
    places = {name: i for i, name in enumerate(names)}
    for name in wanted:
        if name not in places:
            near = nearest(name, names)
            raise InputError(
                f"the model has no output {name!r}; it gives {', '.join(map(repr, names))}",
                hint=f"did you mean {near!r}?" if near else "intermediate values are named in trace=[...]",
            )
    return [places[name] for name in wanted]


def is_copy(array: Any, value: Any) -> bool:
    """Whether ``array`` is a copy of what a caller gave, as far as it can be told."""
    return array is not value and isinstance(array, np.ndarray) and array.base is None


def own(values: Sequence[Any], foreign: Sequence[Any], copies: Copies | None = None) -> list[Any]:
    """The outputs as the caller's own: copied where they are read-only, or share memory with inputs or each other.

    ``copies`` is told of those.
    """
    taken: set[int] = set()
    for f in foreign:
        if type(f) is np.ndarray:
            taken.add(id(f if f.base is None else _base(f)))
        else:
            taken.update(id(_base(a)) for a in _arrays((f,)))
    made = [_own(v, taken) for v in values]
    if copies is not None:
        copied = sum(m is not v and isinstance(v, np.ndarray) for m, v in zip(made, values, strict=True))
        if copied:
            copies.count(outs=copied)
    return made


def _own(value: Any, taken: set[int]) -> Any:
    if isinstance(value, np.ndarray):
        base = id(value if value.base is None else _base(value))
        if base in taken or not value.flags.writeable:
            try:
                return value.copy()
            except MemoryError as e:
                raise MemoryLimitError(f"an output does not fit into memory: {e}", hint="run smaller inputs") from e
        taken.add(base)
        return value
    if isinstance(value, list):
        # Maps hold numbers and strings.
        return list(value) if value and isinstance(value[0], dict) else [_own(v, taken) for v in value]
    return value


def _base(array: np.ndarray) -> Any:
    base: Any = array
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    return base


def _arrays(values: Sequence[Any]) -> Iterator[np.ndarray]:
    for v in values:
        if isinstance(v, np.ndarray):
            yield v
        elif isinstance(v, (list, tuple)):
            yield from _arrays(v)
