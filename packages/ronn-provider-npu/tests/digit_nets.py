"""Small networks that read scikit-learn's digits: convolutions drawn at random, the last layer fitted."""

from __future__ import annotations

from functools import cache

import numpy as np
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import ronn

TRAIN = 1200


@cache
def digits():
    """f32[n, 1, 8, 8] in 0 to 1 and classes, of training and of test."""
    images, classes = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    x = (images[order].reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    y = classes[order]
    return (x[:TRAIN], y[:TRAIN]), (x[TRAIN:], y[TRAIN:])


class Net:
    """Nodes and constants under way."""

    def __init__(self, seed=0):
        self.r = np.random.default_rng(seed)
        self.nodes, self.constants = [], []

    def const(self, array, name=None):
        name = name or f"c{len(self.constants)}"
        self.constants.append(nh.from_array(np.asarray(array), name))
        return name

    def op(self, op, *inputs, outputs=1, **attributes):
        names = [f"{op.lower()}{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(h.make_node(op, list(inputs), names, name=f"{op}_{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def conv(self, x, channels, out, kernel=3, group=1, stride=1, spread=None):
        """Conv and BatchNormalization; spread: by which factors channels of the output differ, e to the power of it."""
        w = self.r.standard_normal((out, channels // group, kernel, kernel)).astype(np.float32)
        w /= np.float32(np.sqrt(w[0].size))
        y = self.op("Conv", x, self.const(w), pads=[kernel // 2] * 4, strides=[stride] * 2, group=group)
        scale = np.exp(self.r.standard_normal(out) * (0.3 if spread is None else spread)).astype(np.float32)
        tail = [self.const(a.astype(np.float32)) for a in (scale, self.r.standard_normal(out) * 0.1 * scale)]
        tail += [self.const(np.zeros(out, np.float32)), self.const(np.ones(out, np.float32))]
        return self.op("BatchNormalization", y, *tail)

    def model(self, output, shape, opset=17):
        inputs = [h.make_tensor_value_info("x", T.FLOAT, ["n", 1, 8, 8])]
        outputs = [h.make_tensor_value_info(output, T.FLOAT, shape)]
        graph = h.make_graph(self.nodes, "digits", inputs, outputs, self.constants)
        return h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=9)

    def classifier(self, features, width, softmax=True, opset=17):
        """The model with a last layer fitted to what ``features`` [n, width] are for digits."""
        (x, y), _ = digits()
        found = ronn.Session(self.model(features, ["n", width], opset)).run({"x": x})[features]
        middle, spread = found.mean(axis=0), found.std(axis=0) + 1e-3
        fit = LogisticRegression(C=0.1, max_iter=300).fit((found - middle) / spread, y)
        w = (fit.coef_ / spread).astype(np.float32)
        bias = (fit.intercept_ - w @ middle).astype(np.float32)
        out = self.op("Gemm", features, self.const(w), self.const(bias), transB=1)
        out = self.op("Softmax", out, axis=1) if softmax else out
        return self.model(out, ["n", 10], opset).SerializeToString()


@cache
def mobile(activation="HardSwish"):
    """Like MobileNetV3: expansions, depthwise convolutions, squeeze and excitation, additions."""
    net = Net()
    x = net.op(activation, net.conv("x", 1, 16))
    for number in range(2):
        y = net.op(activation, net.conv(x, 16, 48, kernel=1))
        y = net.op(activation, net.conv(y, 48, 48, group=48))
        if number:
            s = net.op("Relu", net.conv(net.op("GlobalAveragePool", y), 48, 12, kernel=1))
            y = net.op("Mul", y, net.op("HardSigmoid", net.conv(s, 12, 48, kernel=1)))
        x = net.op("Add", x, net.conv(y, 48, 16, kernel=1))
    x = net.op(activation, net.conv(x, 16, 64, stride=2))
    return net.classifier(net.op("Flatten", x), 1024)


@cache
def residual(spread=0.3):
    """Like ResNet: two convolutions and an addition, pools of all kinds, what moves bytes."""
    net = Net(1)
    x = net.op("Relu", net.conv("x", 1, 16, spread=spread))
    x = net.op("MaxPool", net.op("Pad", x, net.const(np.array([0, 0, 1, 1] * 2))), kernel_shape=[3, 3])
    y = net.op("Relu", net.conv(x, 16, 16, spread=spread))
    y = net.op("Relu", net.conv(y, 16, 16, group=16, spread=spread))
    x = net.op("Relu", net.op("Add", x, net.conv(y, 16, 16)))
    a, b = net.op("Split", net.op("Transpose", x, perm=[0, 2, 3, 1]), outputs=2, axis=3)
    x = net.op("Transpose", net.op("Concat", net.op("Sigmoid", a), b, axis=3), perm=[0, 3, 1, 2])
    x = net.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    whole = net.op("ReduceMean", x, axes=[2, 3], keepdims=0)
    return net.classifier(net.op("Concat", net.op("Flatten", x), whole, axis=1), 272, softmax=False)
