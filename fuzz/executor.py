"""Arrays into sessions: outputs or a RonnError, whatever dtype, shape and content they have."""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from typing import Any

import atheris
import numpy as np

with atheris.instrument_imports(include=["ronn"]):
    import ronn.plugins
    import ronn.session

    for part in ("frontend", "ir", "ops", "passes", "plan", "provider", "providers"):  # also what is imported late
        package = importlib.import_module(f"ronn.{part}")
        for found in pkgutil.walk_packages(package.__path__, f"ronn.{part}."):
            importlib.import_module(found.name)
    from ronn.errors import InternalError, RonnError
    from ronn.ir.types import DType, TensorType

from fuzz.models import MODELS

NAMES = list(MODELS)
OPTIONS = {"memory_limit": "256MB", "max_tensor_bytes": "64MB", "plan_cache": 4}
TIMEOUT_S = 2.0
DTYPES = list(DType)
SIZES = (0, 1, 1, 2, 2, 3, 3, 4, 5, 7, 8, 16, 17, 33)
MAX_ELEMENTS = 4096
NUMBERS = (0, 1, -1, 2, -2, 3, 4, 5, 7, 8, -8, 100, 255, -128, 32767, 2**31 - 1, -(2**31), 2**40, 2**63 - 1, -(2**63))
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-3, 1e9, -1e9, 1e38, float("inf"), float("-inf"), float("nan"), 3.7)
TEXTS = ("", "a", "a b", "ä,ö", "\ud800", "x" * 50)

_sessions: dict[tuple[str, bool], Any] = {}


def prepare() -> None:
    """Compiles the library of kernels, where that has not been done: no input must wait for it."""
    record = ronn.plugins.registry().get("cpu")
    record.provider.warm_up(record.devices()[0])


def seeds() -> list[bytes]:
    """One input for each model; what is not there reads as zeros."""
    rng = np.random.default_rng(0)
    return [bytes([0] * n) for n in (1, 64)] + [rng.bytes(120) for _ in NAMES]


def session(name: str, reference: bool) -> Any:
    found = _sessions.get((name, reference))
    if found is None:
        providers = ["reference"] if reference else ["cpu", "reference"]
        found = _sessions[name, reference] = ronn.Session(MODELS[name](), providers=providers, options=OPTIONS)
    return found


def run(data: bytes) -> str:
    """Runs one model on arrays that the bytes describe; returns what became of it."""
    given = atheris.FuzzedDataProvider(data)
    name = NAMES[given.ConsumeIntInRange(0, len(NAMES) - 1)]
    used = session(name, given.ConsumeIntInRange(0, 7) == 0)
    # Few sizes for all inputs: shapes that nearly fit one another are worth most.
    pool = [SIZES[given.ConsumeIntInRange(0, len(SIZES) - 1)] for _ in range(3)]
    rank = given.ConsumeIntInRange(0, 5)
    feed = {v.name: _array(given, v.type, pool, rank) for v in used.inputs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            outputs = used.run(feed, timeout=TIMEOUT_S)
        except InternalError:
            raise
        except RonnError as e:
            return type(e).__name__
    for output, found in zip(used.outputs, outputs, strict=True):
        declared = output.type
        if isinstance(declared, TensorType) and declared.dtype not in (None, DType.STRING):
            assert found.dtype == declared.dtype.numpy, f"{name}: {output.name} is {found.dtype}, not {declared}"
            found.sum() if found.dtype.kind in "iuf" and found.size else None  # every byte can be read
    return "ran"


def _array(given: atheris.FuzzedDataProvider, declared: Any, pool: list[int], rank: int) -> Any:
    kind = given.ConsumeIntInRange(0, 31)
    if kind == 0:
        return [None, "text", [], {}, 3.5, object(), [[1], [1, 2]], b"bytes"][given.ConsumeIntInRange(0, 7)]
    dtype = declared.dtype if kind > 2 else DTYPES[given.ConsumeIntInRange(0, len(DTYPES) - 1)]
    shape: list[int] = []
    if given.ConsumeIntInRange(0, 2) == 0:
        rank = given.ConsumeIntInRange(0, 5)
    for _ in range(rank):
        choice = given.ConsumeIntInRange(0, 15)
        shape.append(pool[choice % 3] if choice else SIZES[given.ConsumeIntInRange(0, len(SIZES) - 1)])
        if np.prod(shape) > MAX_ELEMENTS:
            shape.pop()
    count = int(np.prod(shape)) if shape else 1
    pattern = [_element(given, dtype) for _ in range(min(count, given.ConsumeIntInRange(1, 8)))]
    elements = [pattern[i % len(pattern)] for i in range(count)] if pattern else []
    if dtype is DType.STRING:
        array = np.empty(count, object)
        array[:] = elements
    else:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            array = _numbers(elements, dtype)
    array = array.reshape(shape)
    match given.ConsumeIntInRange(0, 9):
        case 0:
            return np.asfortranarray(array)
        case 1:
            return np.repeat(array, 2, axis=0)[::2] if array.ndim else array
        case 2:
            return array[::-1] if array.ndim else array
    return array


def _element(given: atheris.FuzzedDataProvider, dtype: DType) -> Any:
    if dtype is DType.STRING:
        return TEXTS[given.ConsumeIntInRange(0, len(TEXTS) - 1)]
    if given.ConsumeBool():
        return given.ConsumeIntInRange(-3, 6)
    if dtype.is_integer or dtype is DType.BOOL:
        return NUMBERS[given.ConsumeIntInRange(0, len(NUMBERS) - 1)]
    return FLOATS[given.ConsumeIntInRange(0, len(FLOATS) - 1)]


def _numbers(elements: list[Any], dtype: DType) -> np.ndarray:
    if dtype.is_integer:
        if dtype.bits >= 8:
            wrapped = [e % 2**dtype.bits for e in elements]
            return np.array(wrapped, f"u{dtype.bits // 8}").view(dtype.numpy)
        return np.array([e % 2 ** (dtype.bits - 1) for e in elements], np.uint8).astype(dtype.numpy)
    return np.array(elements, np.float64).astype(dtype.numpy)
