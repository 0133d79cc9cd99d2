"""Routers: what plugins make in a session's place, and what is said when they do not."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper as h

import ronn
from ronn import plugins
from ronn.errors import OptionError, RonnError
from ronn.model import Model
from ronn.options import SessionOptions


class Sign:
    """Runs one of two sessions, by the sign of the first number."""

    def __init__(self, model, options, config):
        self.model, self.options, self.config = model, options, dict(config)
        self.full, self.fast = model.create_session(options), ronn.load(config["fast"]).create_session(options)
        self.inputs, self.outputs = self.full.inputs, self.full.outputs

    def run(self, inputs=None, *, outputs=None):
        return (self.full if np.asarray(inputs["x"]).flat[0] < 0 else self.fast).run(inputs, outputs=outputs)

    def close(self):
        self.full.close()

    def __repr__(self):
        return "Sign of two"


class Plugin:
    def __init__(self, routers):
        self.routers = routers

    @ronn.hookimpl
    def ronn_routers(self):
        return self.routers() if callable(self.routers) else self.routers


@pytest.fixture
def plug():
    manager, registered = plugins.registry().manager, []

    def add(routers, name="some-package:some"):
        registered.append(plugin := Plugin(routers))
        manager.register(plugin, name)

    yield add
    for plugin in registered:
        manager.unregister(plugin)


def model(op="Neg"):
    graph = h.make_graph(
        [h.make_node(op, ["x"], ["y"])], "g",
        [h.make_tensor_value_info("x", T.FLOAT, ["N"])], [h.make_tensor_value_info("y", T.FLOAT, ["N"])],
    )  # fmt: skip
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9)


X = np.array([-1, 2], np.float32)


def test_hook_ronn_routers(plug):
    plug({"sign": Sign})
    config = {"fast": model("Abs")}
    routed = ronn.load(model()).create_session({"threads": 1}, router=("sign", config))
    assert isinstance(routed, Sign) and isinstance(routed.model, Model)
    assert routed.run({"x": X})["y"].tolist() == [1, -2] and routed.run({"x": -X})["y"].tolist() == [1, 2]
    assert routed.options == SessionOptions(threads=1) and routed.config == config


def test_the_argument_goes_before_the_option_and_providers_are_passed_on(plug):
    plug({"sign": Sign, "other": lambda *given: pytest.fail("not this one")})
    options = SessionOptions(router="other")
    routed = ronn.load(model()).create_session(options, providers=["reference"], router=("sign", {"fast": model()}))
    assert routed.options == SessionOptions(providers=["reference"])


def test_a_file_of_options_alone_switches_routing_on(plug, tmp_path):
    (tmp_path / "small.onnx").write_bytes(model("Abs").SerializeToString())
    (tmp_path / "deploy.toml").write_text("threads = 1\n[router.sign]\nfast = 'small.onnx'\n", encoding="utf-8")

    def make(model, options, config):
        from ronn.options_file import beside

        return Sign(model, options, {**config, "fast": beside(config, config["fast"])})

    plug({"sign": make})
    routed = ronn.load(model()).create_session(tmp_path / "deploy.toml")
    assert routed.run({"x": -X})["y"].tolist() == [1, 2]


@pytest.mark.parametrize("router", ["sign", ("sign", {"fast": "a.onnx"})], ids=str)
def test_a_session_itself_does_not_route(router):
    with pytest.raises(OptionError, match=r"name the router 'sign'\nhint: .*create_session\(options\)"):
        ronn.Session(model(), options={"router": router})
    with pytest.raises(OptionError, match="'sign'"):
        ronn.bisect(model(), options={"router": router})


def test_a_router_that_there_is_not(plug):
    plug({"sign": Sign})
    with pytest.raises(OptionError, match=r"no router 'signs'; installed: .*sign.*\nhint: did you mean 'sign'"):
        ronn.load(model()).create_session(router="signs")
    with pytest.raises(OptionError, match=r"hint: pip install the package that has it \(.*ronn-hrm"):
        ronn.load(model()).create_session(router="qqq")


def test_what_to_install_for_a_router_of_ronn(monkeypatch):
    monkeypatch.setattr("ronn.routers.offers", dict)
    monkeypatch.setattr(plugins.registry(), "records", [])
    with pytest.raises(OptionError, match="there is no router 'hrm'; installed: none\nhint: pip install ronn-hrm"):
        ronn.load(model()).create_session(router="hrm")


def test_a_plugin_that_could_not_be_loaded_says_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "broken_router", None)
    point = EntryPoint("broken", "broken_router", "ronn")
    found = plugins.entry_points("ronn")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [*found, point])
    plugins.reset()
    try:
        with pytest.raises(OptionError, match=r"no router 'broken': .*broken_router.*\nhint: `ronn doctor`"):
            ronn.load(model()).create_session(router="broken")
    finally:
        monkeypatch.undo()
        plugins.reset()


def fails(model, options, config):
    raise KeyError("fast")


def refuses(model, options, config):
    raise OptionError("there is no setting 'alhpa'", hint="did you mean 'alpha'?")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (fails, r"router 'sign' of plugin some-package:some failed: KeyError: 'fast'"),
        (lambda *given: 3, r"router 'sign' of plugin some-package:some made int, which has no run\(\)"),
    ],
)
def test_a_router_that_fails_is_reported_with_its_plugin(plug, make, said):
    plug({"sign": make})
    with pytest.raises(RonnError, match=said):
        ronn.load(model()).create_session(router="sign")


def test_what_a_router_refuses_stays_as_it_says_it(plug):
    plug({"sign": refuses})
    with pytest.raises(OptionError, match="there is no setting 'alhpa'") as caught:
        ronn.load(model()).create_session(router="sign")
    assert str(caught.value) == "there is no setting 'alhpa'\nhint: did you mean 'alpha'?"
    assert caught.value.__notes__ == ["raised by router 'sign' of plugin some-package:some"]


@pytest.mark.parametrize("routers", [lambda: 1 / 0, {"sign": 3}, 3], ids=["raises", "no callable", "no mapping"])
def test_a_hook_that_fails_is_reported_with_its_plugin(plug, routers):
    plug(routers)
    with pytest.raises(RonnError, match="plugin some-package:some cannot say what routers it has"):
        ronn.load(model()).create_session(router="sign")


def test_two_plugins_with_one_name(plug):
    plug({"sign": Sign})
    plug({"sign": Sign}, "another:another")
    with pytest.raises(RonnError, match=r"another:another.*some-package:some|some-package:some.*another:another"):
        ronn.load(model()).create_session(router="sign")
