"""Matrix products: Y = finish(A @ B), for any strides and batches, by work-groups that share tiles in local memory.

A work-group computes ``Tile.rows`` x ``Tile.columns`` of Y. It goes along k by ``Tile.depth``: all work-items bring the
next tiles of A and B to local memory, each multiplies what its own ``tall`` x ``wide`` sums need. With two buffers the
next tiles arrive while the present ones are multiplied. Beyond the edges tiles are zero, and nothing is stored.

Operands hold elements of any type: tiles hold them as they are multiplied (float32 for float16, int16 with its zero
point taken off for bytes), sums are float32, float64 or integers that wrap.
"""

from __future__ import annotations

from functools import cache
from math import lcm

from ronn.cached import cached_property
from ronn.records import dataclass
from ronn_codegen.clike.kernel import Grid, Param, Sizes, Target, head
from ronn_codegen.clike.render.functions import functions_in
from ronn_codegen.clike.render.statements import statements
from ronn_codegen.clike.render.values import Term, cast
from ronn_codegen.clike.templates._finish import Finish
from ronn_codegen.loops.language import BITS, FLOATS
from ronn_codegen.native.declare import Signature

_MULADD = "#ifndef MULADD\n#define MULADD(a, b, c) ((a) * (b) + (c))\n#endif\n"


@dataclass(frozen=True)
class Operand:
    """An operand of a product: what memory holds, what is multiplied, and whether a zero point is taken off (an
    element of the same type, found along the rows and columns by two strides)."""

    stored: str
    staged: str
    zero: bool = False

    def load(self, place: str, zero: str) -> str:
        """The element at ``place`` as it is multiplied."""
        if self.zero:
            return f"({self.staged})((i32){place} - (i32){zero})"
        return cast(Term(place, self.stored), self.staged)


@dataclass(frozen=True)
class Form:
    """What the text of a product depends on beside its tile. ``sums``: their type; ``y``: what is stored."""

    a: Operand
    b: Operand
    sums: str
    y: str
    finish: Finish

    @cached_property
    def params(self) -> tuple[Param, ...]:
        found = [Param(n, "i64") for n in ("m", "n", "k", "batch")]
        found.append(Param("offsets", "i64*"))
        for name, kind in (("a", self.a.stored), ("b", self.b.stored), ("y", self.y)):
            found += [Param(name, f"{kind}*"), Param(f"{name}_row", "i64"), Param(f"{name}_column", "i64")]
        for name, operand in (("a_zero", self.a), ("b_zero", self.b)):
            if operand.zero:
                found += [Param(name, f"{operand.stored}*"), Param(f"{name}_step", "i64")]
        for p in self.finish.arrays:
            found += [p, Param(f"{p.name}_row", "i64"), Param(f"{p.name}_column", "i64")]
        return (*found, *self.finish.numbers)

    @property
    def moved(self) -> tuple[str, ...]:
        """The arrays that the columns of ``offsets`` belong to."""
        return ("a", "b", "y", *(p.name for p in self.finish.arrays))

    def offsets(self) -> str:
        """Statements that move every array on to the matrices of number ``e``."""
        lines = "".join(f"        {name} += at[{i}];\n" for i, name in enumerate(self.moved))
        return (
            f"    if (batch > 1) {{\n        GLOBAL const i64 *at = offsets + e * {len(self.moved)};\n{lines}    }}\n"
        )

    def store(self, total: str, indent: str) -> str:
        """Statements that finish the sum of row ``i`` and column ``j`` and store it."""
        places = {p.name: f"{p.name}[i * {p.name}_row + j * {p.name}_column]" for p in self.finish.arrays}
        places |= {p.name: p.name for p in self.finish.numbers}
        total = total if self.sums == self.finish.sums else f"({self.finish.sums}){total}"
        places |= {"sum": total, "y": "y[i * y_row + j * y_column]"}
        lines, _ = statements(self.finish.instrs, places, places)
        return "\n".join(indent + line for line in lines)


@dataclass(frozen=True)
class Tile:
    """down x across work-items, each with tall x wide sums; depth: steps of k at once; buffers: 1 or 2."""

    down: int
    across: int
    tall: int
    wide: int
    depth: int
    buffers: int = 2

    @property
    def rows(self) -> int:
        return self.down * self.tall

    @property
    def columns(self) -> int:
        return self.across * self.wide

    @property
    def items(self) -> int:
        return self.down * self.across

    def local_bytes(self, a_size: int, b_size: int) -> int:
        """Local memory that it takes with staged elements of so many bytes."""
        return self.buffers * self.depth * (self.rows * a_size + self.columns * b_size)


SUMS = 64
"""Sums of one work-item at most, where the matrix unit does not ask for more."""


@cache
def tile_of(target: Target, a_size: int, b_size: int) -> Tile | None:
    """The tile for a target, whose staged elements have so many bytes: of those that fit into the target's local
    memory one that is a multiple of its matrix unit, then one that moves least for each product; None if none fits."""
    rows, columns, steps = target.unit
    found: list[tuple[tuple[float, ...], Tile]] = []
    items = 1 << (max(target.group, 1).bit_length() - 1)
    while items:
        down = 1 << (items.bit_length() - 1) // 2
        sides, across = (1, 2, 4, 8, 16, 32), items // down
        for tall in sorted({*sides, lcm(rows, down) // down}):
            for wide in sorted({*sides, lcm(columns, across) // across}):
                for depth in sorted({1, 2, 4, 8, 16, 32, 64, 128, 256, steps}):
                    for buffers in (1, 2):
                        tile = Tile(down, across, tall, wide, depth, buffers)
                        whole = [tile.rows % rows, tile.columns % columns, depth % steps].count(0)
                        asked = whole == 3 and target.unit != (1, 1, 1)
                        most = max(SUMS, lcm(rows, down) * lcm(columns, across) // items) if asked else SUMS
                        if tile.local_bytes(a_size, b_size) > target.local_bytes or tall * wide > most:
                            continue
                        if depth > max(steps, 32):
                            continue
                        moved = 1 / tile.rows + 1 / tile.columns
                        rank = (
                            -whole,
                            -min(items, 32),
                            moved,
                            -min(depth, 8),
                            -buffers,
                            -items,
                            -min(depth, 16),
                            depth,
                        )
                        found.append((rank, tile))
        items //= 2
    return min(found, key=lambda pair: pair[0])[1] if found else None


@dataclass(frozen=True)
class TiledProduct:
    """A product by work-groups. ``a_along``, ``b_along``: whether neighbours along k lie side by side in memory."""

    form: Form
    tile: Tile
    a_along: bool = True
    b_along: bool = False

    @property
    def params(self) -> tuple[Param, ...]:
        return self.form.params

    @cached_property
    def signature(self) -> Signature:
        return signature("gemm", self.params)

    @cached_property
    def text(self) -> str:
        return repr(self)

    def grid(self, sizes: Sizes, target: Target) -> Grid:
        m, n, batch = (int(sizes[s]) for s in ("m", "n", "batch"))
        return Grid(
            (max(-(-m // self.tile.rows) * -(-n // self.tile.columns) * batch, 1), 1, 1), (self.tile.items, 1, 1)
        )

    def source(self, entry: str, target: Target) -> str:
        t, form = self.tile, self.form
        two = t.buffers == 2
        sizes = {
            "DOWN": t.down, "ACROSS": t.across, "TALL": t.tall, "WIDE": t.wide, "DEPTH": t.depth, "ROWS": t.rows,
            "COLUMNS": t.columns, "ITEMS": t.items,
        }  # fmt: skip
        enum = ", ".join(f"{name} = {value}" for name, value in sizes.items())
        a, b = form.a.staged, form.b.staged
        stage = self._stage("a", "p", "a_next" if two else "a_tile") + self._stage(
            "b", "p", "b_next" if two else "b_tile"
        )
        return with_functions(
            head(entry, self.params, target)
            + f"    enum {{ {enum} }};\n"
            f"    LOCAL {a} a_tiles[{t.buffers} * DEPTH * ROWS];\n"
            f"    LOCAL {b} b_tiles[{t.buffers} * DEPTH * COLUMNS];\n"
            "    const i64 down = (m + ROWS - 1) / ROWS, across = (n + COLUMNS - 1) / COLUMNS;\n"
            "    const i64 group = GROUP_ID(0), e = group / (down * across);\n"
            "    const i64 i0 = group % down * ROWS, j0 = group / down % across * COLUMNS;\n"
            "    const i32 item = (i32)LOCAL_ID(0), of_row = item / ACROSS, of_column = item % ACROSS;\n"
            + form.offsets()
            + f"    {form.sums} sums[TALL * WIDE];\n"
            "    for (i32 s = 0; s < TALL * WIDE; s++) sums[s] = 0;\n"
            + self._loop(stage, two)
            + "    for (i32 r = 0; r < TALL; r++) {\n"
            "        const i64 i = i0 + of_row * TALL + r;\n"
            "        for (i32 c = 0; c < WIDE; c++) {\n"
            "            const i64 j = j0 + c * ACROSS + of_column;\n"
            "            if (i < m && j < n) {\n"
            + form.store("sums[r * WIDE + c]", " " * 16)
            + "\n            }\n        }\n    }\n}\n"
        )  # fmt: skip

    def _loop(self, stage: str, two: bool) -> str:
        """The steps along k. ``p`` is what is brought: with two buffers one step ahead of what is multiplied."""
        turn = "(p / DEPTH & 1)"
        if two:
            return (
                "    for (i64 p = 0; p < k + DEPTH; p += DEPTH) {\n"
                f"        LOCAL {self.form.a.staged} *a_next = a_tiles + {turn} * (DEPTH * ROWS);\n"
                f"        LOCAL {self.form.b.staged} *b_next = b_tiles + {turn} * (DEPTH * COLUMNS);\n"
                "        if (p < k) {\n"
                f"{stage}"
                "        }\n"
                "        if (p > 0) {\n"
                f"            LOCAL {self.form.a.staged} *a_tile = a_tiles + !{turn} * (DEPTH * ROWS);\n"
                f"            LOCAL {self.form.b.staged} *b_tile = b_tiles + !{turn} * (DEPTH * COLUMNS);\n"
                f"{self._multiply()}"
                "        }\n"
                "        BARRIER();\n"
                "    }\n"
            )
        return (
            "    for (i64 p = 0; p < k; p += DEPTH) {\n"
            f"        LOCAL {self.form.a.staged} *a_tile = a_tiles;\n"
            f"        LOCAL {self.form.b.staged} *b_tile = b_tiles;\n"
            f"        {{\n{stage}        }}\n"
            "        BARRIER();\n"
            f"        {{\n{self._multiply()}        }}\n"
            "        BARRIER();\n"
            "    }\n"
        )

    def _multiply(self) -> str:
        sums = self.form.sums
        cast = "" if self.form.a.staged == sums else f"({sums})"
        return (
            "            for (i32 step = 0; step < DEPTH; step++) {\n"
            f"                {sums} left[TALL];\n"
            f"                for (i32 r = 0; r < TALL; r++) left[r] = {cast}a_tile[step * ROWS + of_row * TALL + r];\n"
            "                for (i32 c = 0; c < WIDE; c++) {\n"
            f"                    const {sums} right = {cast}b_tile[step * COLUMNS + c * ACROSS + of_column];\n"
            "                    for (i32 r = 0; r < TALL; r++)\n"
            f"                        sums[r * WIDE + c] = {muladd(sums, 'left[r]', 'right', 'sums[r * WIDE + c]')};\n"
            "                }\n"
            "            }\n"
        )

    def _stage(self, name: str, at: str, to: str) -> str:
        """Brings a tile from step ``at`` on to local memory, neighbours in memory by neighbouring work-items."""
        operand = getattr(self.form, name)
        along = self.a_along if name == "a" else self.b_along
        size, index, edge = ("ROWS", "i", "m") if name == "a" else ("COLUMNS", "j", "n")
        step, line = ("x % DEPTH", "x / DEPTH") if along else (f"x / {size}", f"x % {size}")
        place = f"a[{index} * a_row + q * a_column]" if name == "a" else f"b[q * b_row + {index} * b_column]"
        value = operand.load(place, f"{name}_zero[{index} * {name}_zero_step]")
        return (
            f"            for (i32 x = item; x < DEPTH * {size}; x += ITEMS) {{\n"
            f"                const i32 step = {step}, line = {line};\n"
            f"                const i64 {index} = {index}0 + line, q = {at} + step;\n"
            f"                {to}[step * {size} + line] = {index} < {edge} && q < k ? {value} : 0;\n"
            "            }\n"
        )


def muladd(kind: str, x: str, y: str, z: str) -> str:
    """x * y + z: of floats rounded once or twice, whichever is quicker."""
    return f"MULADD({x}, {y}, {z})" if kind in FLOATS else f"{x} * {y} + {z}"


def with_functions(text: str) -> str:
    """A kernel's text behind the functions that it calls."""
    return functions_in(text) + (_MULADD if "MULADD(" in text else "") + text


def signature(name: str, params: tuple[Param, ...]) -> Signature:
    """Parameters as lowerings name them."""
    return Signature(name, tuple([(p.name, "i64" if p.is_array else p.kind) for p in params]))


def size(kind: str) -> int:
    """Bytes of an element."""
    return max(BITS[kind] // 8, 1)
