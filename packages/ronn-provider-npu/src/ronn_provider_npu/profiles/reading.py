"""Profiles from TOML text: every key is checked, and an error names the file, the key and what may stand there."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

from ronn.errors import OptionError, nearest
from ronn.ir.types import DType
from ronn.plan.budget import parse_size
from ronn_provider_npu.profiles.profile import (
    ANY,
    DeviceProfile,
    MatrixUnit,
    Memory,
    Operators,
    Power,
    Rates,
    Transfer,
    VectorUnit,
)

DTYPES = tuple(d.numpy_name for d in DType if d.bits)
"""The dtypes that a profile may name."""

_MAX_ALIGNMENT = 4096

Reader = Callable[[Any], Any]
"""Turns what TOML has into a value of a profile. ``_Wrong`` for what cannot be one."""


class _Wrong(Exception):
    """The value is not one that the key may have; the text says what may stand there."""


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _Wrong("text")
    return value


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong("true or false")
    return value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _Wrong("a whole number from 1 on")
    return value


def _alignment(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MAX_ALIGNMENT or value & (value - 1):
        raise _Wrong(f"a power of two from 1 to {_MAX_ALIGNMENT}")
    return value


def _bytes(value: Any) -> int:
    try:
        return parse_size(value)
    except OptionError as e:
        raise _Wrong('bytes, or text as "256 KiB"') from e


def _number(least: float, *, open_: bool, words: str) -> Reader:
    def read(value: Any) -> float:
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not good or value < least or (open_ and value == least):
            raise _Wrong(words)
        return float(value)

    return read


_positive = _number(0.0, open_=True, words="a number above 0")
_amount = _number(0.0, open_=False, words="a number from 0 on")


def _patterns(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(p, str) and p for p in value):
        raise _Wrong('a list of operators, as ["Conv", "com.microsoft::*"]')
    return tuple(value)


def _dtype(name: Any, *, any_: bool = False) -> str:
    if name in DTYPES or (any_ and name == ANY):
        return str(name)
    near = nearest(str(name), list(DTYPES))
    raise _Wrong(f"dtypes ({', '.join(DTYPES)}){f'; did you mean {near!r}?' if near else ''}, not {name!r}")


def _rates(value: Any) -> Rates:
    if not isinstance(value, dict):
        raise _Wrong("a table of dtypes and numbers, as { int8 = 8e12 }")
    pairs = []
    for name, number in value.items():
        try:
            pairs.append((_dtype(name, any_=True), _positive(number)))
        except _Wrong as e:
            raise _Wrong(f"{e}, by dtype; it has {name} = {number!r}" if name in (*DTYPES, ANY) else str(e)) from e
    return Rates(tuple(pairs))


def _operator_dtypes(value: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if not isinstance(value, dict) or not all(isinstance(names, list) for names in value.values()):
        raise _Wrong('a table of operators and dtypes, as { QuantizeLinear = ["float32", "int8"] }')
    return tuple((op, tuple(_dtype(n) for n in names)) for op, names in value.items())


SECTIONS: Mapping[str, tuple[type, Mapping[str, Reader]]] = {
    "matrix": (MatrixUnit, {"rows": _count, "columns": _count, "depth": _count, "peak": _rates}),
    "vector": (VectorUnit, {"width": _count, "group": _count, "peak": _rates}),
    "memory": (
        Memory,
        {
            "on_chip": _bytes, "bandwidth": _positive, "alignment": _alignment, "views": _switch, "cached": _switch,
            "cache": _bytes,
        },
    ),
    "operators": (
        Operators, {"allow": _patterns, "deny": _patterns, "dtypes": _operator_dtypes, "max_rank": _count}
    ),
    "transfer": (
        Transfer, {"bandwidth": _positive, "latency_s": _amount, "chunk": _bytes, "double_buffering": _switch}
    ),
    "power": (Power, {"idle_w": _amount, "tdp_w": _amount, "operation_j": _rates, "byte_j": _amount}),
}  # fmt: skip
"""The tables of a profile: what they become, and how each key is read."""

_PLAIN: Mapping[str, Reader] = {"name": _text, "description": _text, "launch_s": _amount}

_NEEDED = (("name", ""), ("vector", "peak"), ("memory", "on_chip"), ("memory", "bandwidth"))


def profile_of(text: str, source: str) -> DeviceProfile:
    """The profile that TOML text tells. ``source`` names it in errors (OptionError)."""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise OptionError(f"{source}: is not TOML: {e}", hint='for instance name = "my-npu"') from e
    for section, key in _NEEDED:
        inside = given.get(section)
        if inside is None or (key and isinstance(inside, dict) and key not in inside):
            missing = f"{section}.{key}" if key else section
            raise OptionError(f"{source}: {missing} is missing", hint="every profile has it")
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key in _PLAIN:
            values[key] = _read(_PLAIN[key], value, key, source)
        elif key in SECTIONS:
            kind, readers = SECTIONS[key]
            if not isinstance(value, dict):
                hint = f"a table [{key}] with {_listed(readers)}"
                raise OptionError(f"{source}: {key} = {value!r} is not allowed", hint=hint)
            for inner in value:
                if inner not in readers:
                    raise _unknown(f"{key}.{inner}", inner, readers, source)
            values[key] = kind(**{k: _read(readers[k], v, f"{key}.{k}", source) for k, v in value.items()})
        else:
            raise _unknown(key, key, {**_PLAIN, **SECTIONS}, source)
    if not values["name"]:
        raise OptionError(f"{source}: name is empty")
    if not len(values["vector"].peak):
        raise OptionError(f"{source}: vector.peak is empty", hint="operations a second by dtype, as { float32 = 1e10 }")
    return DeviceProfile(**values, source=source)


def _read(reader: Reader, value: Any, key: str, source: str) -> Any:
    try:
        return reader(value)
    except _Wrong as e:
        raise OptionError(f"{source}: {key} = {value!r} is not allowed", hint=f"it is {e}") from e


def _unknown(whole: str, key: str, known: Mapping[str, Any], source: str) -> OptionError:
    near = nearest(key, list(known))
    return OptionError(
        f"{source}: there is no key {whole!r}",
        hint=f"did you mean {near!r}?" if near else f"known: {_listed(known)}",
    )


def _listed(known: Mapping[str, Any]) -> str:
    return ", ".join(known)
