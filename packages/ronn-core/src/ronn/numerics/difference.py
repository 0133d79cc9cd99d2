"""How far two values are apart: largest errors, cosine, signal to noise, NaN, agreement of the best classes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ronn.errors import OptionError
from ronn.ir.types import DType
from ronn.records import dataclass

RELATIVE, RELATIVE_NARROW = 1e-3, 2e-2
ABSOLUTE = 1e-6
NARROW = frozenset({"FLOAT16", "BFLOAT16"})
SMALLEST_CLASSIFIER = 10  # classes


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What counts as equal: ``|a - b| <= atol + rtol * max|a|`` element by element, ``a`` being what is expected, NaN
    and infinities in the same places.

    rtol: None for 1e-3, 2e-2 where the dtype or the precision of the session is bfloat16 or float16. It is a share of
        the *largest* expected magnitude, so that elements near zero need not be better than the others.
    atol: in the unit of the values. None for 1e-6. Of integers it says alone what may differ: None for 1 where they
        have 8 bits or fewer, which are quantised, else 0.
    share: of the elements, 0 to 1, that may differ all the same. For quantised models, in which a rounding that falls
        the other way moves an element by a whole step.
    """

    rtol: float | None = None
    atol: float | None = None
    share: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rtol", "atol", "share"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, (int, float)) and 0 <= value < math.inf):
                raise OptionError(f"{name}={value!r} is no tolerance", hint="a number that is not negative")
        if self.share > 1:
            raise OptionError(f"share={self.share!r} is more than all elements", hint="0.01 is one of a hundred")

    def allowed(self, scale: float, dtype: DType) -> float:
        """The largest difference that counts as equal, for values whose largest magnitude is ``scale``."""
        if not (dtype.is_float or dtype.name.startswith("COMPLEX")):
            step = 1.0 if dtype.bits <= 8 and dtype.is_integer else 0.0
            return step if self.atol is None else self.atol
        narrow = dtype.name in NARROW
        rtol = self.rtol if self.rtol is not None else RELATIVE_NARROW if narrow else RELATIVE
        return (ABSOLUTE if self.atol is None else self.atol) + rtol * scale

    def narrowed(self) -> Tolerance:
        """This tolerance, with the default of narrow floats where none was given."""
        return self if self.rtol is not None else Tolerance(RELATIVE_NARROW, self.atol, self.share)


@dataclass(frozen=True, slots=True)
class Difference:
    """One value against what is expected of it.

    equal: within the tolerance. reason: why not, for people; empty when equal.
    max_abs, max_rel: the largest difference of finite elements, in the unit of the values and as a share of the element
        that is expected. scale: the largest expected magnitude. allowed: what ``max_abs`` may be.
    cosine: of the angle between the two, 1 for the same direction; None without numbers. snr_db: power of the expected
        values over that of the difference in decibels; infinite when there is none.
    differing: share of elements beyond the tolerance. not_finite: elements that are NaN or infinite in one only.
    argmax: share of rows in which both have the same best class; None where the value does not look like scores.
    size: elements.
    """

    equal: bool
    reason: str = ""
    max_abs: float = 0.0
    max_rel: float = 0.0
    scale: float = 0.0
    allowed: float = 0.0
    cosine: float | None = None
    snr_db: float | None = None
    differing: float = 0.0
    not_finite: int = 0
    argmax: float | None = None
    size: int = 0

    @property
    def badness(self) -> float:
        """For putting differences in order: how many times the allowed one it is; infinite for NaN and shapes."""
        if self.not_finite or (not self.equal and self.max_abs == 0):
            return math.inf
        return self.max_abs / self.allowed if self.allowed > 0 else math.inf if self.max_abs > 0 else 0.0


def measure(expected: Any, actual: Any, tolerance: Tolerance | None = None) -> Difference:
    """The difference of two values: arrays, sequences or maps of them, absent optionals."""
    tolerance = Tolerance() if tolerance is None else tolerance
    if isinstance(expected, np.ndarray) and isinstance(actual, np.ndarray):
        return _arrays(expected, actual, tolerance)
    if isinstance(expected, (list, tuple)) and isinstance(actual, (list, tuple)):
        if len(expected) != len(actual):
            return Difference(False, f"a sequence of {len(actual)}, expected one of {len(expected)}")
        return worst([measure(e, a, tolerance) for e, a in zip(expected, actual, strict=True)])
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        if set(expected) != set(actual):
            return Difference(False, f"other keys: {len(set(expected) ^ set(actual))} are in one only")
        return measure([np.asarray(v) for v in expected.values()], [np.asarray(actual[k]) for k in expected], tolerance)
    if expected is None or actual is None:
        absent = expected is None and actual is None
        return Difference(absent, "" if absent else "absent in one only")
    if isinstance(expected, (np.ndarray, list, tuple, Mapping)) or isinstance(actual, (np.ndarray, list, Mapping)):
        return Difference(False, f"a {type(actual).__name__}, expected a {type(expected).__name__}")
    return _arrays(np.asarray(expected), np.asarray(actual), tolerance)


def worst(found: list[Difference]) -> Difference:
    """The difference that is farthest beyond what is allowed; an equal one for an empty list."""
    return max(found, key=lambda d: (not d.equal, d.badness)) if found else Difference(True)


def _arrays(expected: np.ndarray, actual: np.ndarray, tolerance: Tolerance) -> Difference:
    size = expected.size
    if expected.shape != actual.shape:
        return Difference(False, f"shape {list(actual.shape)}, expected {list(expected.shape)}", size=size)
    texts = [_is_text(expected), _is_text(actual)]
    if any(texts):
        if not all(texts):
            return Difference(False, f"dtype {actual.dtype}, expected {expected.dtype}", size=size)
        different = int(np.count_nonzero(expected.astype(str) != actual.astype(str)))
        share = different / size if size else 0.0
        equal = share <= tolerance.share
        return Difference(equal, "" if equal else f"{different} of {size} strings differ", differing=share, size=size)
    found = [DType.of(array.dtype) for array in (expected, actual)]
    coarser = found[0] if found[0].name in NARROW or not found[0].is_float else found[1]
    return _numbers(_wide(expected), _wide(actual), tolerance, coarser)


def _is_text(array: np.ndarray) -> bool:
    return array.dtype.kind in "OUST"


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _numbers(a: np.ndarray, b: np.ndarray, tolerance: Tolerance, dtype: DType) -> Difference:
    finite_a, finite_b = np.isfinite(a), np.isfinite(b)
    # Infinities are equal when their signs are, NaN to NaN.
    odd = finite_a != finite_b
    neither = ~finite_a & ~finite_b
    if neither.any():
        odd |= neither & ~((a == b) | (np.isnan(a) & np.isnan(b)))
    both = finite_a & finite_b
    left, right = a[both], b[both]
    size, bad = a.size, int(np.count_nonzero(odd))
    magnitude = np.abs(left)
    scale = float(magnitude.max()) if left.size else 0.0
    allowed = tolerance.allowed(scale, dtype)
    gap = np.abs(left - right)
    max_abs = float(gap.max()) if gap.size else 0.0
    beyond = int(np.count_nonzero(gap > allowed)) + bad
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(gap > 0, gap / magnitude, 0.0)
    share = beyond / size if size else 0.0
    equal = share <= tolerance.share
    reason = ""
    if not equal:
        nan = int(np.count_nonzero(np.isnan(a) != np.isnan(b)))
        what = f"{bad} of {size} elements are {'NaN' if nan else 'infinite'} in one only" if bad else ""
        far = f"{beyond - bad} of {size} elements differ, by up to {max_abs:.3g} (allowed {allowed:.3g})"
        reason = "; ".join(w for w in (what, far if beyond > bad else "") if w)
    return Difference(
        equal, reason, max_abs, float(relative.max()) if relative.size else 0.0, scale, allowed,
        _cosine(left, right), _snr(magnitude, gap), share, bad, _agreement(a, b) if dtype.is_float else None, size,
    )  # fmt: skip


def _cosine(a: np.ndarray, b: np.ndarray) -> float | None:
    if not a.size:
        return None
    # Scaled first: squares of large floats overflow.
    top_a, top_b = float(np.abs(a).max()), float(np.abs(b).max())
    if top_a == 0 or top_b == 0:
        return 1.0 if top_a == top_b else 0.0
    a, b = a / top_a, b / top_b
    product = float(np.vdot(a, b).real) / math.sqrt(float(np.vdot(a, a).real) * float(np.vdot(b, b).real))
    return min(1.0, max(-1.0, product))


def _snr(magnitude: np.ndarray, gap: np.ndarray) -> float | None:
    if not gap.size:
        return None
    top, most = float(gap.max()), float(magnitude.max())
    if top == 0:
        return math.inf
    if most == 0:
        return -math.inf
    noise, signal = float(np.mean((gap / top) ** 2)), float(np.mean((magnitude / most) ** 2))
    return 10 * (math.log10(signal) - math.log10(noise)) + 20 * (math.log10(most) - math.log10(top))


def _agreement(a: np.ndarray, b: np.ndarray) -> float | None:
    """How often the best class is the same, for floats (rows, classes), also with further dims of 1."""
    if not a.ndim:
        return None
    shape = a.shape if a.ndim > 1 else (1, *a.shape)
    if any(d != 1 for d in shape[2:]) or shape[1] < SMALLEST_CLASSIFIER or shape[0] == 0:
        return None
    left, right = a.reshape(shape[:2]), b.reshape(shape[:2])
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        return None
    return float(np.mean(np.argmax(left, axis=1) == np.argmax(right, axis=1)))


def each(
    expected: Mapping[str, Any], actual: Mapping[str, Any], tolerance: Tolerance
) -> Iterator[tuple[str, Difference]]:
    """Every expected value by name against the actual one."""
    for name, value in expected.items():
        if name in actual:
            yield name, measure(value, actual[name], tolerance)
        else:
            yield name, Difference(False, "there is no such value")
