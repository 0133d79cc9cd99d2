"""Discovery is isolated, deterministic, and remembers why something is unusable."""

import sys
import types
from importlib.metadata import EntryPoint

import pytest

import ronn
from ronn.errors import ProviderError
from ronn.plugins import Registry
from ronn.provider import Device, KernelProvider, Provider, Unavailable, kernel


class Good(KernelProvider):
    name = "good"

    @kernel("Relu", dtypes="float32")
    def relu(self, ctx, x):
        return x


class Twin(Provider):
    name = "good"


class Old(Provider):
    name = "old"
    api_version = 0


class Absent(Provider):
    name = "absent"

    def devices(self):
        raise Unavailable("no such card in this machine")


class Clumsy(Provider):
    name = "clumsy"

    def devices(self):
        raise OSError("libfoo.so not found")


class Nameless(Provider):
    name = ""


class Plugin:
    @ronn.hookimpl
    def ronn_providers(self):
        return [Good()]


class WrongHook:
    @ronn.hookimpl
    def ronn_nothing_of_the_kind(self):
        return []


@pytest.fixture
def discover(monkeypatch):
    module = types.ModuleType("fake_dist")
    for thing in (Good, Twin, Old, Absent, Clumsy, Nameless):
        setattr(module, thing.__name__, thing)
    module.plugin, module.wrong_hook, module.neither = Plugin(), WrongHook(), object()
    monkeypatch.setitem(sys.modules, "fake_dist", module)

    def make(**points):
        return Registry([EntryPoint(name, target, "ronn") for name, target in points.items()])

    return make


def reasons(registry):
    return {r.name: r.reason for r in registry.records}


def test_a_broken_package_leaves_the_others_alone(discover):
    found = discover(broken="no_such_module_at_all:x", good="fake_dist:Good", missing="fake_dist:NoSuchName")
    assert found.get("good").provider.name == "good"
    assert "ModuleNotFoundError" in reasons(found)["broken"]
    assert "AttributeError" in reasons(found)["missing"]


def test_asking_for_a_broken_one_tells_why(discover):
    found = discover(broken="no_such_module_at_all:x")
    with pytest.raises(ProviderError, match="no_such_module_at_all") as e:
        found.get("broken")
    assert isinstance(e.value.__cause__, ModuleNotFoundError)


def test_names_are_unique_first_in_order_wins(discover):
    found = discover(b="fake_dist:Twin", a="fake_dist:Good")
    assert type(found.get("good").provider) is Good
    assert "taken by" in next(r.reason for r in found.records if not r.ok)


def test_other_api_versions_are_refused(discover):
    assert "provider API 0" in reasons(discover(old="fake_dist:Old"))["old"]


@pytest.mark.parametrize("target, text", [("Absent", "no such card"), ("Clumsy", "libfoo.so")])
def test_absent_hardware_is_a_reason_not_an_exception(discover, target, text):
    found = discover(x=f"fake_dist:{target}")
    with pytest.raises(ProviderError, match=text):
        found.get(target.lower())


def test_a_provider_needs_a_name(discover):
    assert "has no name" in reasons(discover(x="fake_dist:Nameless"))["x"]


def test_a_plugin_brings_providers_through_its_hook(discover):
    assert discover(x="fake_dist:plugin").get("good").devices() == (Device("good"),)


def test_something_that_is_no_plugin_is_refused_with_words(discover):
    found = reasons(discover(x="fake_dist:neither", y="fake_dist:wrong_hook"))
    assert "neither a Provider nor a plugin" in found["x"]
    assert "ronn_nothing_of_the_kind" in found["y"]


def test_allow_list(discover, monkeypatch):
    monkeypatch.setenv("RONN_PROVIDERS", "other, good")
    assert reasons(discover(good="fake_dist:Good", broken="no_such_module_at_all:x")) == {"good": ""}


def test_unknown_names_get_a_hint(discover):
    with pytest.raises(ProviderError, match="did you mean 'good'"):
        discover(good="fake_dist:Good").get("goood")


def test_providers_made_in_this_process_can_be_added_and_removed(discover):
    found = discover()
    found.add(Good())
    with pytest.raises(ProviderError, match="taken"):
        found.add(Twin())
    found.remove("good")
    found.add(Twin())
