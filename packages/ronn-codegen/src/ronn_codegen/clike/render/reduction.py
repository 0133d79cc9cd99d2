"""Reductions in C: accumulators of a work-item, and the parts of the work-items of a row combined in local memory."""

from __future__ import annotations

import math

from ronn.records import dataclass
from ronn_codegen.clike.render.values import literal
from ronn_codegen.loops.language import BITS, FLOATS, POSITIONS, Instr, LoopError, Section


@dataclass(frozen=True)
class Reduction:
    """One reduction, whose result is the variable ``name``. Of a position the extreme stands in ``best``."""

    op: str
    dtype: str
    name: str

    @classmethod
    def of(cls, instr: Instr, section: Section) -> Reduction:
        """The reduction that ``instr`` is."""
        made = next((i for i in section.instrs if i.result == instr.args[0]), None)
        if made is None:
            raise LoopError(f"%{instr.result} = {instr.op} reduces a row value")
        return cls(instr.op, made.dtype, f"v{instr.result}")

    @property
    def positions(self) -> bool:
        return self.op in POSITIONS

    @property
    def parts(self) -> dict[str, str]:
        """What work-items leave in local memory, and of which types; reductions of one type use it in turns."""
        value = {f"part_{self.dtype}": self.dtype}
        return {**value, "part_position": "i64"} if self.positions else value

    @property
    def best(self) -> str:
        return f"best{self.name[1:]}" if self.positions else self.name

    def neutral(self) -> str:
        """What leaves it as it is."""
        op, dtype = self.op, self.dtype
        if op in ("sum", "prod"):
            return literal(0 if op == "sum" else 1, dtype)
        low = op in ("largest", "peak", "argmax", "lastmax")
        if dtype in FLOATS:
            return literal(-math.inf if low else math.inf, dtype)
        bits = BITS[dtype]
        if dtype.startswith("i"):
            return literal(-(1 << (bits - 1)) if low else (1 << (bits - 1)) - 1, dtype)
        return literal(0 if low else (1 << bits) - 1, dtype)

    def start(self, width: int) -> list[str]:
        """Declares the accumulators, ``width`` of them, and sets them."""
        if width == 1:
            lines = [f"{self.dtype} {self.best} = {self.neutral()};"]
            return [*lines, f"i64 {self.name} = -1; /* none yet */"] if self.positions else lines
        lines = [f"{self.dtype} {self.best}_of[{width}];"]
        if self.positions:
            lines.append(f"i64 {self.name}_of[{width}];")
        lines.append(f"for (i32 u = 0; u < {width}; ++u) {{")
        lines.append(f"    {self.best}_of[u] = {self.neutral()};")
        if self.positions:
            lines.append(f"    {self.name}_of[u] = -1; /* none yet */")
        return [*lines, "}"]

    def take(self, value: str, position: str, u: str) -> list[str]:
        """Takes an element in, to accumulator ``u`` (``[u]``, ``[0]``, or empty where there is one)."""
        suffix = f"_of{u}" if u else ""
        return self._into(self.best + suffix, self.name + suffix, value, position)

    def _into(self, best: str, at: str, value: str, position: str) -> list[str]:
        if not self.positions:
            return [f"{best} = {self.join(best, value)};"]
        condition = self.better(value, position, best, at)
        return [f"if ({condition}) {{", f"    {best} = {value};", f"    {at} = {position};", "}"]

    def join(self, a: str, b: str) -> str:
        """An accumulator with another value."""
        if self.op in ("sum", "prod"):
            sign = "+" if self.op == "sum" else "*"
            if self.dtype in FLOATS:
                return f"{a} {sign} {b}"
            wide = "u64" if BITS[self.dtype] == 64 else "u32"
            return f"({self.dtype})(({wide}){a} {sign} ({wide}){b})"
        sign = ">" if self.op == "smallest" else "<"
        if self.op == "peak" or self.dtype not in FLOATS:  # of NaN ``peak`` takes none
            return f"{a} {sign} {b} ? {b} : {a}"
        return f"{a} {sign} {b} || {b} != {b} ? {b} : {a}"

    def better(self, value: str, position: str, best: str, at: str) -> str:
        """Whether ``value`` is more extreme than ``best``, or as extreme and on the wanted side, or the first."""
        beats = f"{best} < {value}" if self.op.endswith("max") else f"{value} < {best}"
        equal = f"{value} == {best}"
        if self.dtype in FLOATS:  # NaN is more extreme than any number
            beats += f" || ({value} != {value} && {best} == {best})"
            equal = f"({equal} || ({value} != {value} && {best} != {best}))"
        side = f"{at} < {position}" if self.op.startswith("last") else f"{position} < {at}"
        return f"{beats} || ({equal} && {side}) || {at} == -1"

    def across(self, width: int) -> list[str]:
        """One result of ``width`` accumulators."""
        best, at = f"{self.best}_of", f"{self.name}_of"
        lines = [f"for (i32 beyond = {width // 2}; beyond > 0; beyond /= 2)", "    for (i32 u = 0; u < beyond; ++u) {"]
        if self.positions:
            better = self.better(f"{best}[u + beyond]", f"{at}[u + beyond]", f"{best}[u]", f"{at}[u]")
            lines += [
                f"        if ({at}[u + beyond] != -1 && ({better})) {{",
                f"            {best}[u] = {best}[u + beyond];", f"            {at}[u] = {at}[u + beyond];", "        }",
            ]  # fmt: skip
        else:
            lines.append("        " + self._into(f"{best}[u]", "", f"{best}[u + beyond]", "")[0])
        lines += ["    }", f"{self.dtype} {self.best} = {best}[0];"]
        return [*lines, f"i64 {self.name} = {at}[0];"] if self.positions else lines

    def combine(self, side: int) -> list[str]:
        """One result of the parts of all lanes, which lie along dim ``side`` of the group: then every lane has it."""
        part, where = f"part_{self.dtype}", "part_position"
        step = "" if side == 0 else " * LOCAL_SIZE(0)"
        lines = [
            "if (lanes > 1) {",
            "    const i64 me = LOCAL_ID(1) * LOCAL_SIZE(0) + LOCAL_ID(0);",
            f"    {part}[me] = {self.best};",
        ]
        if self.positions:
            lines.append(f"    {where}[me] = {self.name};")
        lines += [
            "    for (i64 left = lanes; left > 1; left = (left + 1) / 2) {",
            f"        const i64 beyond = (left + 1) / 2, other = me + beyond{step};",
            "        BARRIER();",
            "        if (lane + beyond < left) {",
        ]
        if self.positions:
            better = self.better(f"{part}[other]", f"{where}[other]", f"{part}[me]", f"{where}[me]")
            lines += [
                f"            if ({where}[other] != -1 && ({better})) {{",
                f"                {part}[me] = {part}[other];",
                f"                {where}[me] = {where}[other];", "            }",
            ]  # fmt: skip
        else:
            lines.append(f"            {part}[me] = {self.join(f'{part}[me]', f'{part}[other]')};")
        lines += ["        }", "    }", "    BARRIER();", f"    {self.best} = {part}[me - lane{step}];"]
        if self.positions:
            lines.append(f"    {self.name} = {where}[me - lane{step}];")
        return [*lines, "    BARRIER();", "}"]
