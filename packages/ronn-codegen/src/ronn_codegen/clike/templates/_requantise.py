"""How int32 sums become bytes again: QLinearConv's y = saturate(round(sum * x_scale * w_scale / y_scale) + y_zero)."""

from __future__ import annotations


def rescale(y: str) -> list[str]:
    """Statements that declare what holds for all sums of ``channel``, for bytes of type ``y``."""
    least, most = (-128, 127) if y == "i8" else (0, 255)
    return [
        "const f32 scale = x_scale[0] * w_scale[channel * w_step] / y_scale[0];",
        "const f32 shift = y_zero ? (f32)y_zero[0] : 0.0f;",
        f"const f32 lowest = {least}.0f - shift, highest = {most}.0f - shift;",
    ]


def requantised(total: str, to: str, y: str) -> list[str]:
    """Statements that store a sum as a byte of type ``y``."""
    return [
        f"f32 v = rint((f32)({total}) * scale);",
        "v = v < lowest ? lowest : v > highest ? highest : v;",
        f"{to} = ({y})(i32)(v + shift);",
    ]
