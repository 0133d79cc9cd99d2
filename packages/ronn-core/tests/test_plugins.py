"""Discovery is isolated, deterministic, and remembers why something is unusable."""

import os
import shutil
import sys
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from importlib.metadata import EntryPoint as StandardEntryPoint

import pytest

import ronn
from ronn.entry_points import EntryPoint, entry_points
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
        return Registry([StandardEntryPoint(name, target, "ronn") for name, target in points.items()])

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


def test_threads_that_ask_at_once_get_the_same_devices():
    asked, go_on = threading.Event(), threading.Event()

    class Slow(Provider):
        name = "slow"

        def devices(self):
            assert not asked.is_set(), "asked twice"
            asked.set()
            assert go_on.wait(30)
            return [Device("slow:0")]

    record = Registry([]).add(Slow())
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(record.devices)
        assert asked.wait(30)
        second = pool.submit(record.devices)
        time.sleep(0.02)
        go_on.set()
        assert first.result(30) == second.result(30) == (Device("slow:0"),)


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


def install(folder, name, version, points, metadata="METADATA"):
    """Puts a distribution that has ``points`` (the text of its entry points) into a folder."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / metadata).write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: of no interest\n")
    if points:
        (info / "entry_points.txt").write_text(points)
    return info


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """Two folders in front of the path, in which distributions can be installed."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (second, first):
        folder.mkdir()
        monkeypatch.syspath_prepend(str(folder))
    return first, second


def vendor_points():
    found = [p for p in entry_points("ronn") if "vendor" in p.value]
    return [(p.name, p.value, p.distribution, p.version) for p in found]


def of_the_standard_library():
    return [(p.name, p.value, p.dist.name, p.dist.version) for p in metadata.entry_points(group="ronn")]


def test_installed_entry_points_are_those_of_the_standard_library(environment):
    first, second = environment
    install(first, "vendor-a", "1.0", "[console_scripts]\nx = y:z\n\n[ronn]\na = vendor_a:Provider\n[other]\nb = c:d\n")
    install(second, "vendor-b", "2.0", "  [ronn]\nb = vendor_b:Provider [extra]\n# c = d:e\nc=vendor_b:Other\n")
    install(second, "vendor-c", "3.0", "[ronnier]\nd = vendor_c:Provider\n")
    install(second, "vendor-d", "3.0", "")
    assert len(vendor_points()) == 3
    found = [(p.name, p.value, p.distribution, p.version) for p in entry_points("ronn")]
    assert sorted(found) == sorted(of_the_standard_library())


def test_what_is_installed_or_removed_is_noticed(environment):
    first, _ = environment
    assert vendor_points() == []
    info = install(first, "vendor-a", "1.0", "[ronn]\na = vendor_a:Provider\n")
    assert vendor_points() == [("a", "vendor_a:Provider", "vendor-a", "1.0")]
    shutil.rmtree(info)
    assert vendor_points() == []


@pytest.mark.parametrize("shadow", ["[ronn]\na = vendor_other:Provider\n", "[console_scripts]\nx = y:z\n", ""])
def test_the_first_distribution_of_a_name_counts(environment, shadow):
    first, second = environment
    install(second, "Vendor.A", "1.0", "[ronn]\na = vendor_a:Provider\n")
    install(first, "vendor-a", "2.0", shadow)
    expected = [("a", "vendor_other:Provider", "vendor-a", "2.0")] if "other" in shadow else []
    assert vendor_points() == expected
    assert [f for f in of_the_standard_library() if "vendor" in f[1]] == expected


def test_a_distribution_that_does_not_tell_its_name_is_found(environment):
    first, _ = environment
    install(first, "vendor-a", "1.0", "[ronn]\na = vendor_a:Provider\n", metadata="NOTHING")
    assert vendor_points() == [("a", "vendor_a:Provider", "?", "?")]


@pytest.mark.parametrize("way", ["archive", "finder"])
def test_what_is_not_in_folders_is_asked_of_the_standard_library(environment, monkeypatch, tmp_path, way):
    first, _ = environment
    info = install(first, "vendor-a", "1.0", "[ronn]\na = vendor_a:Provider\n")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(first)])
    if way == "archive":
        shutil.make_archive(str(tmp_path / "packed"), "zip", first)
        monkeypatch.syspath_prepend(str(tmp_path / "packed.zip"))
    else:

        class Finder(metadata.DistributionFinder):
            def find_spec(self, name, path=None, target=None):
                return None

            def find_distributions(self, context):
                return [metadata.Distribution.at(info)]

        monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder()])
    assert vendor_points() == [("a", "vendor_a:Provider", "vendor-a", "1.0")]


def test_entry_points_load_what_they_name():
    assert EntryPoint("x", "os.path:join").load() is os.path.join
    assert EntryPoint("x", "os : path.join [extra]").load() is os.path.join
    assert EntryPoint("x", "os.path").load() is os.path
    with pytest.raises(ValueError, match="'a b' is no entry point"):
        EntryPoint("x", "a b").load()
    with pytest.raises(ModuleNotFoundError):
        EntryPoint("x", "no_such_module:x").load()
