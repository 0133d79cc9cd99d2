"""How the work-groups of convolutions share their work on a target."""

from __future__ import annotations

from functools import cache
from math import lcm

from ronn.records import dataclass
from ronn_codegen.clike.kernel import Target
from ronn_codegen.lowering import Refused

EXACT = 256
"""Products of two bytes with their zero points taken off, that float32 sums exactly."""
SUMS = 64
"""Sums of one work-item at most, where the matrix unit does not ask for more."""
STEPS = 16
"""Steps of the depth in local memory at once where many work-items share them, if the matrix unit takes fewer."""
BYTES = {"i16": 2, "i32": 4, "f32": 4, "f64": 8}


@dataclass(frozen=True)
class Shape:
    """How a group shares its work: work-items down and across, sums of each (vectors of ``lanes`` across), steps of the
    depth in local memory at once, and whether it goes over many panels."""

    down: int
    across: int
    tall: int
    wide: int
    lanes: int
    depth: int
    many: bool

    @property
    def rows(self) -> int:
        return self.down * self.tall

    @property
    def pixels(self) -> int:
        return self.across * self.wide * self.lanes

    @property
    def items(self) -> int:
        return self.down * self.across


def takes_panels(target: Target) -> bool:
    """Whether one work-item at a time does most on a target: it has vector units, or no groups."""
    return (target.dialect.vectors and target.width > 1) or target.group == 1


def has_unit(target: Target) -> bool:
    """Whether a target has a matrix unit."""
    return target.unit != (1, 1, 1)


def shape_of(target: Target, rows: int, x: str) -> tuple[Shape, str, str]:
    """The shape for a target and ``rows`` channels of a group, and the types that elements of type ``x`` are multiplied
    and summed in. Where there is a matrix unit, rows, pixels and steps of the depth are multiples of its own. Refused
    where the least does not fit into local memory."""
    quantised, vectors = x in ("i8", "u8"), target.dialect.vectors and target.width > 1
    many = takes_panels(target) and not has_unit(target)
    sums = "i32" if quantised else "f64" if x == "f64" else "f32"
    staged = ("f32" if many else "i16") if quantised else sums
    if has_unit(target):
        return unit_shape(target, rows, BYTES[staged]), staged, sums
    tall = 4 if rows > 2 else rows
    if many:
        lanes = (4 if staged == "f64" else 8) if vectors else 1
        shape, most = Shape(1, 1, tall, 2, lanes, 1, True), EXACT if quantised else 512
    else:
        across = 1 << (max(target.group, 1).bit_length() - 1) // 2
        down = min(target.group // across, 1 << (-(-rows // 4) - 1).bit_length())
        shape, most = Shape(down, across, tall, 4, 1, 1, False), STEPS
    size = BYTES[staged]
    depth = min((target.local_bytes - fixed_bytes(shape, size)) // step_bytes(shape, size), most)
    if depth < 1:
        raise Refused(f"tiles do not fit into {target.local_bytes} bytes of local memory")
    depth = depth // 8 * 8 if depth >= 8 else depth
    return Shape(shape.down, shape.across, tall, shape.wide, shape.lanes, depth, many), staged, sums


@cache
def unit_shape(target: Target, rows: int, size: int) -> Shape:
    """A shape of whole tiles of the matrix unit, with staged elements of ``size`` bytes: channels by pixels by steps of
    the depth are multiples of the unit's rows, columns and depth.

    Local memory holds the operands of a tile alone, ``Shape.depth`` steps at a time. Its sums (of 128 x 128 in int32:
    64 KiB) are split among the work-items of the group, tall x wide to each, and stay in their registers. Refused where
    not even the unit's own tile with one of its steps fits.
    """
    high, across, steps = target.unit
    least: tuple[int, Shape] | None = None
    items = 1 << (max(target.group, 1).bit_length() - 1)
    while items:
        y = 1 << (items.bit_length() - 1) // 2
        x = items // y
        tall, wide = lcm(high, y) // y, lcm(across, x) // x
        found = [Shape(y, x, tall * a, wide * b, 1, steps, False) for a in (1, 2, 4) for b in (1, 2, 4)]
        useful = [found[0], *(s for s in found[1:] if _useful(s, rows, high))]
        fitting = [s for s in useful if unit_bytes(s, size) <= target.local_bytes]
        if fitting:
            best = min(fitting, key=lambda s: (1 / s.rows + 1 / s.pixels, s.rows))
            more = (target.local_bytes - fixed_bytes(best, size)) // (step_bytes(best, size) * steps)
            depth = steps * max(min(more, STEPS // steps), 1)
            return Shape(best.down, best.across, best.tall, best.wide, 1, depth, False)
        if least is None or unit_bytes(found[0], size) < least[0]:
            least = unit_bytes(found[0], size), found[0]
        items //= 2
    assert least is not None
    raise Refused(
        f"a tile of {least[1].rows} channels x {least[1].pixels} pixels x {steps} steps takes {least[0]} bytes of "
        f"local memory, and there are {target.local_bytes}"
    )


def _useful(shape: Shape, rows: int, unit_rows: int) -> bool:
    """Whether work-items can hold the sums of a shape, and not whole tiles of it are beyond all ``rows``."""
    return shape.tall * shape.wide <= SUMS and shape.rows < rows + lcm(unit_rows, shape.down)


def step_bytes(shape: Shape, size: int) -> int:
    """Local memory of one step of the depth."""
    return size * (shape.pixels + (0 if shape.many else shape.rows))


def fixed_bytes(shape: Shape, size: int) -> int:
    """Local memory beside what is staged, for up to eight spatial dims."""
    return shape.pixels * (8 + 4 + 4 * 8) + (size * shape.rows * shape.pixels if shape.many else 0) + 64


def unit_bytes(shape: Shape, size: int) -> int:
    """Local memory that a shape takes with its own steps of the depth."""
    return fixed_bytes(shape, size) + step_bytes(shape, size) * shape.depth
