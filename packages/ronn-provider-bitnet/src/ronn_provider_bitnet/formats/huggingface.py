"""Packed BitNet checkpoints of Hugging Face's transformers.

Layout (transformers, src/transformers/integrations/bitnet.py, ``pack_weights``): ``NAME.weight`` is u8[N / 4, K]; bits
2i and 2i + 1 of row r are row ``r + i * N / 4`` of the weights, plus one. ``NAME.weight_scale`` is one number: layers
of class ``bitlinear`` divide by it (``post_quant_process``), those of class ``autobitlinear`` multiply with it
(``AutoBitLinear.forward``); ``quantization_config.linear_class`` of config.json says which, ``bitlinear`` where it is
silent. Both round each row of their inputs to eight bits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ronn.errors import ModelError
from ronn_provider_bitnet.formats.reading import extra
from ronn_provider_bitnet.formats.ternary import Ternary

Array = np.ndarray
LinearClass = Literal["bitlinear", "autobitlinear"]
_SUFFIX = ".weight"
_FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}


def read_safetensors(
    path: str | Path, *, linear_class: LinearClass | None = None, tell: Callable[[str], None] | None = None
) -> dict[str, Ternary]:
    """Ternary layers by name, of a ``.safetensors`` file or of all in a folder. Tensors that are not packed
    (embeddings, norms) are left out.

    linear_class: which way the scales go; None takes it from the config.json beside the file. A wrong class gives
    weights that are off by the square of the scale, and no error, so there is no default.
    """
    path = Path(path)
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise ModelError(f"{path}: no such checkpoint", hint="name a .safetensors file or a folder that holds some")
    kind = _configured(path if path.is_dir() else path.parent) if linear_class is None else linear_class
    if kind not in get_args(LinearClass):
        raise ModelError(f"{path}: layers of class {kind!r}", hint=f"known are {', '.join(get_args(LinearClass))}")
    found: dict[str, Ternary] = {}
    for file in files:
        found.update(_layers(file, kind, tell))
    if not found:
        raise ModelError(f"{path}: no packed ternary weights in it", hint="they are uint8, with a weight_scale beside")
    return found


def unpack_rows(packed: Array) -> Array:
    """Codes u8[4 * R, K] of packed u8[R, K]."""
    return np.concatenate([packed >> np.uint8(2 * i) & np.uint8(3) for i in range(4)])


def _configured(folder: Path) -> str:
    file = folder / "config.json"
    hint = "say linear_class='bitlinear' (divides by weight_scale) or 'autobitlinear' (multiplies with it)"
    try:
        config = json.loads(file.read_text("utf-8")).get("quantization_config")
    except FileNotFoundError:
        raise ModelError(f"{file}: not there, so nothing says which way the scales go", hint=hint) from None
    except (ValueError, AttributeError) as e:
        raise ModelError(f"{file}: cannot be read: {e}", hint=hint) from e
    if not isinstance(config, dict) or config.get("quant_method") != "bitnet":
        raise ModelError(f"{file}: its quantization_config is not BitNet's", hint=hint)
    if config.get("use_rms_norm"):
        raise ModelError(
            f"{file}: its layers hold an RMSNorm (use_rms_norm), which is not part of the weights",
            hint="put the norm into the graph, and give linear_class to read the weights alone",
        )
    return str(config.get("linear_class", "bitlinear"))


def _layers(file: Path, kind: str, tell: Callable[[str], None] | None) -> Iterator[tuple[str, Ternary]]:
    with extra("safetensors"):
        import safetensors
    try:
        with safetensors.safe_open(file, framework="numpy") as tensors:
            names = set(tensors.keys())
            for key in sorted(names):
                if not key.endswith(_SUFFIX) or tensors.get_slice(key).get_dtype() != "U8":
                    continue
                name = key.removesuffix(_SUFFIX)
                if tell is not None:
                    tell(name)
                if f"{key}_scale" not in names:
                    raise ModelError(f"{file}: {key} is packed, but there is no {key}_scale")
                bias = _floats(tensors, f"{name}.bias") if f"{name}.bias" in names else None
                yield name, _layer(name, tensors.get_tensor(key), _floats(tensors, f"{key}_scale"), bias, kind)
    except safetensors.SafetensorError as e:
        raise ModelError(f"{file}: cannot be read: {e}", hint="the file may be cut short") from e


def _floats(tensors: Any, key: str) -> Array:
    dtype = tensors.get_slice(key).get_dtype()
    if dtype not in _FLOATS:
        raise ModelError(f"{key}: numbers of type {dtype} where floats are expected")
    return np.asarray(tensors.get_tensor(key)).astype(np.float32)


def _layer(name: str, packed: Array, scale: Array, bias: Array | None, kind: str) -> Ternary:
    if packed.ndim != 2:
        raise ModelError(f"{name}.weight: packed weights of shape {packed.shape}, not [N / 4, K]")
    if scale.size != 1:
        raise ModelError(f"{name}.weight_scale: {scale.size} numbers, not one for the whole tensor")
    if kind == "bitlinear" and not scale.all():
        raise ModelError(f"{name}.weight_scale: weights cannot be divided by 0")
    one = scale.reshape(1, 1)
    codes = unpack_rows(packed)
    if bias is not None and len(codes) - 4 < len(bias) <= len(codes):
        codes = codes[: len(bias)]  # packing fills the last rows up where N is no multiple of four
    return Ternary(name, codes, np.float32(1) / one if kind == "bitlinear" else one, bias=bias, activations=8)
