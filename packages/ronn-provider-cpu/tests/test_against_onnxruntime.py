"""Recurrent cells, Resize, sampling, detection and quantisation against onnxruntime, over random attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ort_oracle import Draw, agree

pytestmark = pytest.mark.filterwarnings("ignore")
TWO_PARAMETERS = ("HardSigmoid", "ScaledTanh", "Affine")
ONE_PARAMETER = ("LeakyRelu", "Elu", "ThresholdedRelu")
PLAIN = ("Sigmoid", "Tanh", "Relu", "Softsign")


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_recurrent(op: str, seed: int) -> None:
    """Directions, initial states, lengths, peepholes, clip, activations with their parameters."""
    d = Draw(seed)
    direction = d.pick("forward", "reverse", "bidirectional")
    n = 2 if direction == "bidirectional" else 1
    steps, batch, size, hidden = d.ints(1, 6, 4)
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    inputs: list[Any] = [d.f(steps, batch, size), d.f(n, gates * hidden, size), d.f(n, gates * hidden, hidden)]
    inputs.append(d.f(n, 2 * gates * hidden) if d.chance(0.7) else None)
    inputs.append(np.array(d.ints(1, steps + 1, batch), np.int32) if d.chance() else None)
    inputs.append(d.f(n, batch, hidden) if d.chance() else None)
    attributes: dict[str, Any] = {"hidden_size": hidden, "direction": direction}
    if op == "LSTM":
        inputs += [d.f(n, batch, hidden) if d.chance() else None, d.f(n, 3 * hidden) if d.chance() else None]
        attributes["input_forget"] = int(d.chance(0.3))
    if op == "GRU":
        attributes["linear_before_reset"] = int(d.chance())
    if d.chance(0.3):
        attributes["clip"] = 1.5
    if d.chance():
        count = {"LSTM": 3, "GRU": 2, "RNN": 1}[op]
        names = [d.pick(*PLAIN, *ONE_PARAMETER, *TWO_PARAMETERS) for _ in range(count)] * n
        attributes["activations"] = names
        alphas = [0.3 if a in TWO_PARAMETERS else 0.2 for a in names if a not in PLAIN]
        betas = [0.6 for a in names if a in TWO_PARAMETERS]
        attributes |= {"activation_alpha": alphas} if alphas else {}
        attributes |= {"activation_beta": betas} if betas else {}
    agree(
        op, inputs, outputs=3 if op == "LSTM" else 2, domain="", opset=14, tol=1e-4, attributes=attributes,
        constants=(1, 2, 3) if d.chance() else (),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(80))
def test_resize(seed: int) -> None:
    """Modes, coordinate transformations, antialias, exclude_outside, sizes with policies, scales."""
    d = Draw(seed)
    mode = d.pick("nearest", "linear", "cubic")
    attributes: dict[str, Any] = {
        "mode": mode,
        "coordinate_transformation_mode": d.pick(
            "half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric"
        ),
    }
    if mode == "nearest":
        attributes["nearest_mode"] = d.pick("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    if mode == "cubic":
        attributes |= {"cubic_coeff_a": d.pick(-0.75, -0.5), "exclude_outside": int(d.chance())}
    if mode != "nearest" and d.chance(0.3):
        attributes["antialias"] = 1
    x = d.f(1, 2, *d.ints(2, 9, 2))
    inputs: list[Any]
    if d.chance():
        # align_corners with a scale that gives a fraction of a pixel is left to the node cases: there
        # onnxruntime rounds the length down first.
        grow = (0.5, 1.0, 2.0, 3.0) if attributes["coordinate_transformation_mode"] != "align_corners" else (2.0, 3.0)
        inputs = [x, None, np.array([1, 1, d.pick(*grow), d.pick(*grow)], np.float32)]
    elif d.chance():
        inputs = [x, None, None, np.array([1, 2, *d.ints(1, 12, 2)])]
    elif attributes["coordinate_transformation_mode"] in ("align_corners", "half_pixel_symmetric"):
        # A policy gives fractional lengths, see above.
        inputs = [x, None, None, np.array([1, 2, 7, 5])]
    else:
        attributes |= {"keep_aspect_ratio_policy": d.pick("not_larger", "not_smaller"), "axes": [2, 3]}
        inputs = [x, None, None, np.array(d.ints(2, 12, 2))]
    agree("Resize", inputs, domain="", opset=19, constants=(2, 3), attributes=attributes, tol=2e-4)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_grid_sample(seed: int, mode: str, padding: str) -> None:
    """Two spatial axes in every mode; three where onnxruntime has them."""
    d = Draw(seed)
    attributes = {"mode": mode, "padding_mode": padding, "align_corners": seed % 2}
    grid = d.f(2, 4, 5, 2) * np.float32(1.5)
    agree("GridSample", [d.f(2, 3, *d.ints(2, 7, 2)), grid], domain="", attributes=attributes, tol=1e-3)
    if mode != "cubic":
        deep = [d.f(2, 3, *d.ints(2, 7, 3)), d.f(2, 2, 3, 4, 3)]
        agree("GridSample", deep, domain="", attributes=attributes, tol=1e-3)


@pytest.mark.parametrize("seed", range(10))
def test_detection(seed: int) -> None:
    """NonMaxSuppression, RoiAlign, MaxRoiPool."""
    d = Draw(seed)
    count = d.ints(1, 30, 1)[0]
    boxes, scores = d.rng.random((2, count, 4)), d.rng.random((2, 3, count))
    limits = [np.array(d.ints(1, 10, 1)), d.rng.random(1).astype(np.float32), (d.rng.random(1) / 2).astype(np.float32)]
    agree(
        "NonMaxSuppression", [boxes.astype(np.float32), scores.astype(np.float32), *limits], domain="", opset=11,
        attributes={"center_point_box": seed % 2},
    )  # fmt: skip
    rois = (np.sort(d.rng.random((4, 2, 2)), axis=1).reshape(4, 4) * 8).astype(np.float32)
    height, width = d.ints(1, 4, 2)
    attributes = {
        "output_height": height, "output_width": width, "sampling_ratio": seed % 3, "mode": d.pick("avg", "max"),
        "coordinate_transformation_mode": d.pick("half_pixel", "output_half_pixel"),
    }  # fmt: skip
    agree("RoiAlign", [d.f(2, 3, 9, 8), rois, np.array(d.ints(0, 2, 4))], domain="", opset=16, attributes=attributes,
          tol=1e-3)  # fmt: skip
    numbered = np.concatenate([np.array(d.ints(0, 2, 4))[:, None], np.floor(rois)], axis=1).astype(np.float32)
    agree("MaxRoiPool", [d.f(2, 3, 9, 8), numbered], domain="", opset=16,
          attributes={"pooled_shape": [2, 3], "spatial_scale": d.pick(1.0, 0.5)})  # fmt: skip


@pytest.mark.parametrize("seed", range(10))
def test_quantisation(seed: int) -> None:
    """Exact integers from integer products; quantised values within one step."""
    d = Draw(seed)
    s, zero = d.scale, np.asarray(d.u8(1)[0])
    agree("ConvInteger", [d.u8(1, 2, 6, 6), d.i8(3, 2, 3, 3), zero], domain="", opset=13, tol=0)
    agree("MatMulInteger", [d.u8(2, 3, 400), d.i8(400, 5), zero, np.asarray(3, np.int8)], domain="", opset=13, tol=0)
    agree("QLinearMatMul", [d.u8(3, 40), s(), zero, d.i8(40, 5), s(), np.asarray(0, np.int8), s() * 50, zero],
          domain="", opset=13, tol=1)  # fmt: skip
    bias = np.array(d.ints(-99, 99, 3), np.int32)
    agree(
        "QLinearConv",
        [d.u8(1, 2, 6, 6), s(), zero, d.i8(3, 2, 3, 3), s(3), np.zeros(3, np.int8), s() * 10, zero, bias],
        domain="", opset=13, tol=1, constants=range(1, 9), attributes={"pads": [1, 1, 1, 1]},
    )  # fmt: skip
    spread = d.pick(1, 100, 1e-3)
    x = d.f(5, 7) * np.float32(spread) + np.float32(d.pick(0, 3, -3))
    agree("DynamicQuantizeLinear", [x], outputs=3, domain="",
          opset=13, tol=0)  # fmt: skip
    agree("QuantizeLinear", [d.f(5, 7) * np.float32(3), s(7), d.i8(7)], domain="", opset=13, tol=0,
          attributes={"axis": 1})  # fmt: skip
    agree("DequantizeLinear", [d.i8(5, 7), s(7), d.i8(7)], domain="", opset=13, attributes={"axis": 1})
