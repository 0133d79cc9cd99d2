"""float16 and bfloat16 to float32 and back."""

from __future__ import annotations

from ronn_codegen.clike.kernel import Template
from ronn_codegen.clike.render.functions import functions_in


def _cast(name: str, form: str, function: str) -> Template:
    text = f"{function}(x[item])"
    return Template(f"{name}({form}, n)", f"        y[item] = {text};", over="n", functions=functions_in(text))


WIDEN_F16 = _cast("widen_f16", "x: f16*, y: f32*", "f32_of_f16")
WIDEN_BF16 = _cast("widen_bf16", "x: bf16*, y: f32*", "f32_of_bf16")
NARROW_F16 = _cast("narrow_f16", "x: f32*, y: f16*", "f16_of_f32")
NARROW_BF16 = _cast("narrow_bf16", "x: f32*, y: bf16*", "bf16_of_f32")
