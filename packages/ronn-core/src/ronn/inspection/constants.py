"""What constants hold: range, mean, spread, zeros, a histogram."""

from __future__ import annotations

from typing import Any

import numpy as np

_SHOWN = 12  # elements of a constant that are shown whole
_BINS = 24
_EXACT, _BLOCKS, _BLOCK = 1 << 22, 256, 4096  # elements: larger arrays are looked at in so many blocks of so many


def statistics(array: np.ndarray) -> dict[str, Any]:
    """Figures of one array, any dtype, for JSON. ``sample``: how many elements they are from, where not from all."""
    found: dict[str, Any] = {"bytes": int(array.nbytes)}
    if array.size <= _SHOWN:
        found["values"] = [_short(v) for v in array.reshape(-1).tolist()]
    if array.size == 0 or array.dtype.kind in "OSUTc":
        return found
    flat = array.reshape(-1)
    if flat.size > _EXACT:
        starts = np.linspace(0, flat.size - _BLOCK, _BLOCKS).astype(np.int64)
        flat = np.concatenate([flat[s : s + _BLOCK] for s in starts])
        found["sample"] = int(flat.size)
    wide = flat.astype(np.float64)
    finite = wide[np.isfinite(wide)]
    if finite.size < wide.size:
        found["not_finite"] = int(wide.size - finite.size)
    if finite.size:
        low, high = float(finite.min()), float(finite.max())
        scale = max(abs(low), abs(high)) if low or high else 1.0
        unit = finite / scale  # sums of large numbers must not overflow
        found |= {"min": low, "max": high, "mean": float(unit.mean()) * scale, "std": float(unit.std()) * scale}
        found["zeros"] = float((finite == 0).mean())
        # Numbers that differ by less than the bins can tell apart have no histogram.
        if finite.size > _SHOWN and (high / scale - low / scale) / _BINS > np.finfo(np.float64).eps:
            found["histogram"] = np.histogram(unit, _BINS, (low / scale, high / scale))[0].tolist()
    return found


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else text[:39] + "…"


def brief(array: np.ndarray) -> str:
    """An array in a line: all of a small one, else what it looks like."""
    values = ", ".join(_short(v) for v in array.reshape(-1)[:_SHOWN].tolist())
    return f"{array.dtype}{list(array.shape)} {{{values}{', …' if array.size > _SHOWN else ''}}}"
