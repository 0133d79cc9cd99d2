"""A profile in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ronn_provider_npu.profiles.profile import DeviceProfile, Rates

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_SMALL = ((1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"))


def large(number: float, unit: str) -> str:
    """``8 Tops/s``: a number with a decimal prefix."""
    for factor, prefix in _PREFIXES:
        if number >= factor:
            return f"{number / factor:.3g} {prefix}{unit}"
    return f"{number:.3g} {unit}"


def small(number: float, unit: str) -> str:
    """``20 us``: a number of at most a few, with the prefix that makes it readable."""
    if number == 0:
        return f"0 {unit}"
    for factor, prefix in _SMALL:
        if number >= factor:
            return f"{number / factor:.3g} {prefix}{unit}"
    return f"{number:.2g} {unit}"


def binary(nbytes: int) -> str:
    """``4 MiB``: bytes as memories are sold."""
    for factor, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if nbytes >= factor:
            return f"{nbytes / factor:.4g} {unit}"
    return f"{nbytes} bytes"


def rates(given: Rates, unit: str) -> str:
    return ", ".join(f"{_name(n, given)} {large(v, unit)}" for n, v in given.pairs)


def _name(dtype: str, given: Rates) -> str:
    if dtype != "*":
        return dtype
    return "any other" if len(given) > 1 else "any dtype"


def explained(p: DeviceProfile) -> str:
    """The profile, a line for each thing that it says, and what follows from it."""
    m, t, w = p.memory, p.transfer, p.power
    unit = "none: products run on the vector unit"
    if p.has_matrix_unit:
        unit = f"{p.matrix.rows} x {p.matrix.columns}, depth {p.matrix.depth}; {rates(p.matrix.peak, 'op/s')}"
    cache = f" behind {binary(m.cache)} of cache" if m.cache else ""
    lanes = f"{p.vector.width} x 32 bits, " if p.vector.width else ""
    buffered = "one piece moves while another is worked on" if t.double_buffering else "moves and work in turns"
    lines = [
        f"{p.name}: {p.description}" if p.description else p.name,
        f"  matrix unit      {unit}",
        f"  vector unit      {lanes}groups of {p.vector.group}; {rates(p.vector.peak, 'op/s')}",
        f"  on-chip memory   {binary(m.on_chip)}; a kernel may use {binary(p.kernel_bytes)}",
        f"  memory           {large(m.bandwidth, 'B/s')}{cache}; tensors start at multiples of {m.alignment} bytes"
        f"{', slices of others at any byte' if m.views else ', slices of others too'}",
        f"  transfers        {large(t.bandwidth, 'B/s')}, {small(t.latency_s, 's')} before the first byte, pieces of "
        f"{binary(t.chunk)}; {buffered}",
        f"  operators        {_operators(p)}",
        f"  starting         {small(p.launch_s, 's')} a kernel",
        f"  power            {small(w.idle_w, 'W')} idle, {small(w.tdp_w, 'W')} at most"
        + (f"; {_energy(p)}" if len(w.operation_j) else ""),
    ]
    if p.int8_only:
        lines.append("  products are of 8-bit integers only: models are quantised for it")
    return "\n".join(lines)


def _operators(p: DeviceProfile) -> str:
    o = p.operators
    words = ["all" if o.allow == ("*",) else ", ".join(o.allow)]
    if o.deny:
        words.append(f"but not {', '.join(o.deny)}")
    words.append(f"rank {o.max_rank} at most")
    words += [f"{op} of {', '.join(names)}" for op, names in o.dtypes]
    return "; ".join(words)


def _energy(p: DeviceProfile) -> str:
    each = ", ".join(f"{_name(n, p.power.operation_j)} {small(v, 'J')}" for n, v in p.power.operation_j.pairs)
    return f"an operation of {each}; {small(p.power.byte_j, 'J')} a byte of memory"
