"""Models of one convolution with weights of one or two bits, and NumPy's answer."""

from __future__ import annotations

import numpy as np
from bit_models import quantiser
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

from ronn_codegen.windows import resolve_pads
from ronn_provider_cpu.kernels.conv import convolve


def filters(
    shape: tuple[int, ...], *, zeros: bool, group: int = 0, seed: int = 0, scale: float | None = None
) -> np.ndarray:
    """f32[M, C, kernel...] of -s, 0 (where ``zeros``) and s, an s for each filter and ``group`` channels (``scale``:
    one for all)."""
    r = np.random.default_rng(seed)
    signs = r.integers(-1, 2, shape) if zeros else 2 * r.integers(0, 2, shape) - 1
    width = group if group else shape[1]
    ones = (1,) * (len(shape) - 2)
    s = r.uniform(0.5, 2, (shape[0], shape[1] // width, *ones)) if scale is None else np.full((1, 1, *ones), scale)
    wide = np.repeat(s.astype(np.float32), width if scale is None else shape[1], axis=1)
    return (signs * wide).astype(np.float32)


def image_quantiser(axes: list[int] | None = None) -> tuple[list[object], list[object]]:
    """BitNet's quantiser of ``bit_models``, of whole images."""
    nodes, inits = quantiser()
    inits[-1] = nh.from_array(np.array([1, 2, 3] if axes is None else axes), "axis")
    return nodes, inits


def convolution(
    shape: tuple[int, ...], w: np.ndarray, *, quantised: bool = False, axes: list[int] | None = None,
    bias: np.ndarray | None = None, opset: int = 20, more: tuple[list[object], list[object]] | None = None,
    **attributes: object,
) -> bytes:  # fmt: skip
    """y = conv(q(x), w) + bias with x f32 of ``shape``, and the nodes and initialisers of ``more`` from y to z."""
    rank = len(shape)
    nodes, inits = image_quantiser(list(range(1, rank)) if axes is None else axes) if quantised else ([], [])
    inits += [nh.from_array(w, "w"), *([] if bias is None else [nh.from_array(bias, "b")])]
    names = ["q" if quantised else "x", "w", *([] if bias is None else ["b"])]
    nodes.append(h.make_node("Conv", names, ["y"], **attributes))
    if more is not None:
        nodes, inits = [*nodes, *more[0]], [*inits, *more[1]]
    graph = h.make_graph(
        nodes, "convolution", [h.make_tensor_value_info("x", T.FLOAT, shape)],
        [h.make_tensor_value_info("y" if more is None else "z", T.FLOAT, None)], inits,
    )  # fmt: skip
    return h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=9).SerializeToString()


def expected(
    x: np.ndarray, w: np.ndarray, *, auto_pad: str = "NOTSET", pads: list[int] | None = None,
    strides: list[int] | None = None, dilations: list[int] | None = None, group: int = 1,
) -> np.ndarray:  # fmt: skip
    """The convolution in float64: exact for integers."""
    rank = x.ndim - 2
    s, d = (strides if strides else [1] * rank), (dilations if dilations else [1] * rank)
    resolved = resolve_pads(auto_pad, pads, x.shape[2:], w.shape[2:], s, d)
    return convolve(x.astype(np.float64), w.astype(np.float64), group, s, d, resolved)


def rounded(x: np.ndarray, *, together: bool = False) -> np.ndarray:
    """What the quantiser leaves of images."""
    axes = None if together else tuple(range(1, x.ndim))
    steps = np.float32(127) / np.maximum(np.abs(x).max(axis=axes, keepdims=True), np.float32(1e-5))
    return np.clip(np.rint(x * steps), -128, 127) / steps
