"""Every hook, used by a plugin through a session."""

import inspect
import sys

import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper as h

import ronn
from ronn import hookspecs
from ronn.ops.schema import Formal, OpSchema, find_schema
from ronn.passes.manager import define_pass
from ronn.plugins import registry
from ronn.provider import KernelProvider, kernel


@pytest.fixture
def plug():
    """Registers plugins for one test."""
    registered = []

    def add(plugin):
        registry().manager.register(plugin)
        registered.append(plugin)

    yield add
    for plugin in registered:
        registry().manager.unregister(plugin)


def model(op="Relu", domain=""):
    graph = h.make_graph(
        [h.make_node(op, ["x"], ["y"], domain=domain)],
        "g",
        [h.make_tensor_value_info("x", T.FLOAT, ["N"])],
        [h.make_tensor_value_info("y", T.FLOAT, ["N"])],
    )
    imports = [h.make_opsetid("", 18)] + ([h.make_opsetid(domain, 1)] if domain else [])
    return h.make_model(graph, opset_imports=imports, ir_version=9)


X = np.array([-1, 2], np.float32)


@pytest.mark.parametrize("stage", ["portable", "specialised", "late"])
def test_hook_ronn_passes(plug, stage):
    @define_pass("relu-to-abs")
    def relu_to_abs(graph, context):
        found = [n for n in graph if n.op == "Relu"]
        for node in found:
            node.op = "Abs"
        return bool(found)

    class Plugin:
        @ronn.hookimpl
        def ronn_passes(self, stage):
            return [relu_to_abs] if stage == wanted else []

    wanted = stage
    plug(Plugin())
    np.testing.assert_array_equal(ronn.Session(model(), providers=["reference"]).run(X)["y"], [1, 2])


def test_hook_ronn_choose(plug):
    class Second(KernelProvider):
        name = "second"

        @kernel("Relu", since=6)
        def relu(self, ctx, x):
            return x * 0 - 7

    class Plugin:
        @ronn.hookimpl
        def ronn_choose(self, graph, bids):
            assert all(len(b) == 2 for b in bids.values())
            return dict.fromkeys(bids, "second")

    plug(Plugin())
    registry().add(Second())
    try:
        session = ronn.Session(model(), providers=["reference", "second"])
        np.testing.assert_array_equal(session.run(X)["y"], -7)
        (row,) = session.placement()
        assert row.provider == "second" and "chosen by a plugin" in row.reason
    finally:
        registry().remove("second")


def test_hook_ronn_ops_and_ronn_providers():
    from importlib.metadata import EntryPoint

    from ronn.plugins import Registry

    class Vendor(KernelProvider):
        name = "vendor"

        @kernel("Twice", domain="my.vendor")
        def twice(self, ctx, x, *, times):
            return x * np.float32(times)

    class Plugin:
        @ronn.hookimpl
        def ronn_ops(self):
            tensor = Formal("x", "T")
            schema = OpSchema("my.vendor", "Twice", 1, (tensor,), (tensor,), {"times": 2}, {"times": "INT"})
            return [schema]

        @ronn.hookimpl
        def ronn_providers(self):
            return [Vendor()]

    import sys
    import types

    module = types.ModuleType("vendor_plugin")
    module.plugin = Plugin()
    sys.modules["vendor_plugin"] = module
    try:
        found = Registry([EntryPoint("vendor", "vendor_plugin:plugin", "ronn")])
    finally:
        del sys.modules["vendor_plugin"]
    assert find_schema("my.vendor", "Twice", 1).defaults == {"times": 2}
    registry().add(found.get("vendor").provider)
    try:
        session = ronn.Session(model("Twice", "my.vendor"), providers=["vendor"])
        np.testing.assert_array_equal(session.run(X)["y"], 2 * X)
    finally:
        registry().remove("vendor")


def test_hooks_stay_few_and_documented():
    hooks = {n: f for n, f in vars(hookspecs).items() if n.startswith("ronn_")}
    assert 0 < len(hooks) <= 12
    assert all(inspect.getdoc(f) for f in hooks.values())


def test_late_passes_of_a_provider_see_what_the_pipeline_left_and_who_gets_a_node():
    seen = {}

    @define_pass("early")
    def early(graph, context):
        seen["early"] = [n.op for n in graph]
        return False

    @define_pass("late", late=True)
    def late(graph, context):
        seen["late"] = [(n.op, context.owns(n)) for n in graph]
        return False

    class Second(KernelProvider):
        name = "second"

        @kernel("Relu", since=6)
        def relu(self, ctx, x):
            return np.maximum(x, 0)

        def passes(self, device):
            return (early, late)

    graph = h.make_graph(
        [h.make_node("Identity", ["x"], ["i"]), h.make_node("Relu", ["i"], ["r"]), h.make_node("Neg", ["r"], ["y"])],
        "g",
        [h.make_tensor_value_info("x", T.FLOAT, ["N"])],
        [h.make_tensor_value_info("y", T.FLOAT, ["N"])],
    )
    two = h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9)
    registry().add(Second())
    try:
        ronn.Session(two, providers=["second", "reference"], options={"optimization": "none"}).run(X)
        assert seen["early"] == ["Identity", "Relu", "Neg"]
        assert seen["late"] == [("Identity", False), ("Relu", True), ("Neg", False)]
        ronn.Session(two, providers=["second", "reference"]).run(X)
        assert seen["late"] == [("Relu", True), ("Neg", False)]
    finally:
        registry().remove("second")


def test_hook_ronn_listeners(monkeypatch):
    from importlib.metadata import EntryPoint

    from ronn import plugins

    seen = []

    class Plugin:
        @ronn.hookimpl
        def ronn_listeners(self):
            return [(seen.append, ["SessionCreated", "RunFinished"])]

    found = plugins.entry_points("ronn")
    module = sys.modules[__name__]
    monkeypatch.setattr(module, "listening", Plugin(), raising=False)
    monkeypatch.setitem(sys.modules, "listening_plugin", module)
    point = EntryPoint("listening", "listening_plugin:listening", "ronn")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [*found, point])
    plugins.reset()
    try:
        ronn.Session(model(), providers=["reference"]).run(X)
    finally:
        plugins.reset()
    monkeypatch.undo()
    assert [e.kind for e in seen] == ["SessionCreated", "RunFinished"]
    ronn.Session(model(), providers=["reference"])
    assert len(seen) == 2, "a plugin that is gone hears nothing"
