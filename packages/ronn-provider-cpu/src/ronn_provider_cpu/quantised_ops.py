"""Quantised operators of the ``ronn.cpu`` domain: convolutions over channels-last bytes with all that follows them.

| operator | does |
| --- | --- |
| ``QConvNhwc(x, w, scale, bias, affine?, limits?, add?)`` | see below; ``x`` is u8[N, H, W, C], the result too |
| ``ConvIntegerToFloat(x, w, x_scale, w_scale, x_zero?, w_zero?, bias?)`` | ``ConvInteger`` times scales, plus bias |

``QConvNhwc``: the sums over ``(x - x_zero) * w`` (w int8[K, C / group, R, S]) plus ``bias`` (int32[K]) times ``scale``
(f32[K]) are rounded and clamped to [low, high]. Then stage by stage the rounded value r becomes
``r * affine[i, 0] + affine[i, 1]`` (f32[stages, 2, K]), plus ``add * limits[i, 2]`` in stage ``add_stage`` (``add`` is
u8 and shaped like the result), clamped to ``limits[i, :2]`` (f32[stages, 3]) and rounded. The result is that plus
``y_zero``.

``ConvIntegerToFloat`` has channels first; scales are f32 (``x_scale`` one, ``w_scale`` one or K), ``bias`` is f32[K].
It is added as ``floor(bias / (x_scale * w_scale))`` to the integer sums, as quantisers of models have it.
"""

from __future__ import annotations

from ronn.ir.dims import Dim, floordiv
from ronn.ir.types import DType
from ronn.ops.infer import InferContext, rule
from ronn.ops.schema import Formal, OpSchema, register_schema
from ronn_provider_cpu.ops import DOMAIN

__all__ = ["CONV_TO_FLOAT", "DOMAIN", "QCONV"]

_U8, _I8, _F, _I32 = "tensor(uint8)", "tensor(int8)", "tensor(float)", "tensor(int32)"
_GEOMETRY = {"strides": "INTS", "pads": "INTS", "dilations": "INTS", "group": "INT"}

QCONV = OpSchema(
    DOMAIN, "QConvNhwc", 1,
    (
        Formal("x", _U8), Formal("w", _I8), Formal("scale", _F), Formal("bias", _I32),
        Formal("affine", _F, optional=True), Formal("limits", _F, optional=True), Formal("add", _U8, optional=True),
    ),
    (Formal("y", _U8),),
    defaults={"group": 1, "add_stage": -1},
    attributes={
        **_GEOMETRY, "x_zero": "INT", "y_zero": "INT", "low": "FLOAT", "high": "FLOAT", "add_stage": "INT",
    },
    required=frozenset({"strides", "pads", "dilations", "x_zero", "y_zero", "low", "high"}),
    min_inputs=4, max_inputs=7,
)  # fmt: skip
CONV_TO_FLOAT = OpSchema(
    DOMAIN, "ConvIntegerToFloat", 1,
    (
        Formal("x", "T1"), Formal("w", "T2"), Formal("x_scale", _F), Formal("w_scale", _F),
        Formal("x_zero", "T1", optional=True), Formal("w_zero", "T2", optional=True),
        Formal("bias", _F, optional=True),
    ),
    (Formal("y", _F),),
    types={"T1": (_U8, _I8), "T2": (_U8, _I8)},
    defaults={"group": 1},
    attributes=_GEOMETRY,
    required=frozenset({"strides", "pads", "dilations"}),
    min_inputs=4, max_inputs=7,
)  # fmt: skip

for _schema in (QCONV, CONV_TO_FLOAT):
    register_schema(_schema)


@rule("QConvNhwc", domain=DOMAIN)
def qconv_nhwc(c: InferContext) -> None:
    x, w = c.shape(0), c.shape(1)
    filters = None if w is None else w[0]
    n, h, wide = (None,) * 3 if x is None else x[:3]
    c.set(0, DType.UINT8, (n, *_windows(c, (h, wide)), filters))


@rule("ConvIntegerToFloat", domain=DOMAIN)
def conv_integer_to_float(c: InferContext) -> None:
    x, w = c.shape(0), c.shape(1)
    if x is None or w is None:
        return
    c.set(0, DType.FLOAT32, (x[0], w[0], *_windows(c, tuple(x[2:]))))


def _windows(c: InferContext, spatial: tuple[Dim | None, ...]) -> list[Dim | None]:
    w = c.shape(1)
    strides, pads, dilations = (c.attr(name) for name in ("strides", "pads", "dilations"))
    rank = len(spatial)
    out: list[Dim | None] = []
    for i, size in enumerate(spatial):
        k = None if w is None else w[2 + i]
        if size is None or not isinstance(k, int):
            out.append(None)
        else:
            extent = (k - 1) * dilations[i] + 1
            out.append(floordiv(size + pads[i] + pads[i + rank] - extent, strides[i]) + 1)
    return out
