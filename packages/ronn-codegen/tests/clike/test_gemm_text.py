"""Matrix products as C: the text of a tile in local memory and of a strip of vectors, which people read."""

from __future__ import annotations

from pathlib import Path

import pytest

from ronn.records import replace
from ronn_codegen.clike.kernel import Kernel, Target
from ronn_codegen.clike.opencl import OpenCL
from ronn_codegen.clike.templates._finish import Loads, finish
from ronn_codegen.clike.templates.gemm import Form, Operand, Tile, TiledProduct
from ronn_codegen.clike.templates.gemm_strips import Strip, StripProduct, strip_of
from ronn_codegen.loops.write import Value

GOLDEN = Path(__file__).parent / "golden"
TARGET = Target(OpenCL())


def biased(total: Value, loads: Loads) -> Value:
    """Relu of the sum and a bias."""
    return (total + loads.array("bias", "f32")).max(0.0)


FLOATS = Form(Operand("f32", "f32"), Operand("f32", "f32"), "f32", "f32", finish("f32", "f32", biased))
BYTES = Form(
    Operand("u8", "u8", zero=True), Operand("i8", "i8"), "i32", "i32", finish("i32", "i32", lambda total, _: total)
)
KERNELS: dict[str, Kernel] = {
    "product_tiles": TiledProduct(FLOATS, Tile(4, 4, 2, 2, 8)),
    "product_strips": StripProduct(BYTES, Strip(2, 2, 8), packed=True),
}


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_texts(name: str) -> None:
    assert KERNELS[name].source(name, TARGET) == (GOLDEN / f"{name}.cl").read_text(encoding="utf-8")


def test_an_unused_array_is_no_parameter() -> None:
    def forgetful(total: Value, loads: Loads) -> Value:
        loads.array("unused", "f32")
        loads.number("factor", "f32")
        return total

    assert finish("f32", "f32", forgetful).arrays == finish("f32", "f32", forgetful).numbers == ()


def test_halves_are_staged_as_float32() -> None:
    form = replace(FLOATS, a=Operand("f16", "f32"))
    text = TiledProduct(form, Tile(1, 1, 1, 1, 1)).source("halves", TARGET)
    assert "DEVICE f32 f32_of_f16(" in text and "? f32_of_f16(a[i * a_row + q * a_column]) : 0;" in text
    assert "LOCAL f32 a_tiles" in text


def test_grids_cover_what_there_is() -> None:
    sizes = {"m": 9, "n": 17, "k": 3, "batch": 5}
    tiles = KERNELS["product_tiles"].grid(sizes, TARGET)
    assert (tiles.groups, tiles.local) == ((2 * 3 * 5, 1, 1), (16, 1, 1))
    assert KERNELS["product_strips"].grid(sizes, TARGET).groups == (5 * 2 * 5, 1, 1)


@pytest.mark.parametrize(("rows", "height"), [(1, 1), (2, 2), (3, 2), (5, 4), (6, 6), (100, 6)])
def test_strips_are_no_higher_than_the_product(rows: int, height: int) -> None:
    assert strip_of(TARGET, "f32", rows) == Strip(height, 2, 8)
    assert strip_of(replace(TARGET, width=1), "f32", rows).lanes == 1
    assert strip_of(TARGET, "f64", rows).lanes == 4
