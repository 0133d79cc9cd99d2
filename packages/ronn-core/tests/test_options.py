"""Session options: frozen, checked, the same in the dataclass, the builder and the types for editors."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import typing

import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper as h

import ronn
from ronn.builder import SessionOptionsBuilder
from ronn.errors import OptionError, ProviderError, RonnError
from ronn.frontend.limits import MAX_DEPTH
from ronn.options import OptionValues, SessionOptions
from ronn.plugins import registry
from ronn.provider import KernelProvider

FIELDS = {f.name: f for f in dataclasses.fields(SessionOptions)}
EXTRA = {"provider", "disable_pass", "dimension", "build"}  # methods of the builder that are no options

OTHER = {
    "providers": ("reference", ("cpu", {"threads": 3})),
    "optimization": "basic",
    "disabled_passes": frozenset({"fuse-gelu"}),
    "dimensions": {"N": 2},
    "fold_limit": 5,
    "plan_cache": 3,
    "threads": 2,
    "deterministic": True,
    "memory_limit": 512_000_000,
    "precision": "bf16",
    "max_model_bytes": 1000,
    "max_tensor_bytes": 2000,
    "max_nodes": 3000,
    "max_depth": 40,
    "router": ("some", {"fast": "small.onnx", "memory": {"path": "kept", "sizes": (1, 2)}}),
}
"""A value other than the default for each option."""


@pytest.fixture
def relu():
    graph = h.make_graph(
        [h.make_node("Relu", ["x"], ["y"])],
        "g",
        [h.make_tensor_value_info("x", T.FLOAT, ["batch"])],
        [h.make_tensor_value_info("y", T.FLOAT, ["batch"])],
    )
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9)


class Toy(KernelProvider):
    name = "toy"
    options = {"threads": 0, "colour": "red", "ratio": 0.5, "fast": False, "anything": None}


@pytest.fixture
def toy():
    registry().add(Toy())
    yield
    registry().remove("toy")


# --- one source of truth


def test_every_option_has_another_value_in_this_test():
    assert list(OTHER) == list(FIELDS)


def test_the_builder_has_a_method_for_each_option_and_no_other():
    methods = {n for n in vars(SessionOptionsBuilder) if not n.startswith("_")}
    assert methods - EXTRA == set(FIELDS)
    types = {n: f.type for n, f in FIELDS.items()}
    for name in FIELDS:
        method = getattr(SessionOptionsBuilder, name)
        parameters = list(inspect.signature(method).parameters.values())[1:]
        assert [p.annotation for p in parameters] == [types[name]], name
        assert method.__annotations__["return"] == "SessionOptionsBuilder" and method.__doc__


def test_the_types_for_editors_are_those_of_the_fields():
    known = {n: a.__forward_arg__ for n, a in OptionValues.__annotations__.items()}
    assert known == {n: f.type for n, f in FIELDS.items()}
    assert not OptionValues.__required_keys__
    assert set(typing.get_type_hints(OptionValues)) == set(FIELDS)


def test_every_option_is_described():
    text = inspect.getdoc(SessionOptions)
    assert [n for n in FIELDS if f"\n{n}: " not in text] == []


@pytest.mark.parametrize("name", FIELDS)
def test_all_ways_to_give_an_option_do_the_same(name):
    by_keyword = SessionOptions(**{name: OTHER[name]})
    assert by_keyword != SessionOptions()
    assert getattr(SessionOptions.builder(), name)(OTHER[name]).build() == by_keyword
    assert SessionOptions().replace(**{name: OTHER[name]}) == by_keyword
    assert SessionOptions.of({name: OTHER[name]}) == by_keyword
    shown = repr(by_keyword)
    assert shown.startswith(f"SessionOptions({name}=") and eval(shown) == by_keyword


# --- values


def test_the_builder():
    builder = SessionOptions.builder().provider("cpu").threads(2).memory_limit("512MB")
    options = builder.build()
    assert options == SessionOptions(providers=["cpu"], threads=2, memory_limit=512_000_000)
    assert repr(options) == "SessionOptions(providers=('cpu',), threads=2, memory_limit=512000000)"
    again = builder.provider("reference").dimension("N", 1).dimension("M", 2).disable_pass("a", "b").disable_pass("c")
    assert again.build() == options.replace(
        providers=["cpu", "reference"], dimensions={"N": 1, "M": 2}, disabled_passes=["a", "b", "c"]
    )
    assert options.providers == ("cpu",)  # what was built stays as it was


def test_options_are_frozen_hashable_and_can_be_copied():
    options = SessionOptions(**OTHER)
    for again in (copy.copy(options), copy.deepcopy(options), pickle.loads(pickle.dumps(options)), options.replace()):
        assert again == options and hash(again) == hash(options)
    assert len({options, options.replace(threads=9), SessionOptions(), SessionOptions()}) == 3
    for change in (
        lambda: setattr(options, "threads", 1),
        lambda: setattr(options, "thread", 1),
        lambda: options.dimensions.update(N=3),
        lambda: options.providers[1][1].update(threads=9),
        lambda: options.router[1].update(fast="other.onnx"),
        lambda: options.router[1]["memory"].update(path="elsewhere"),
    ):
        with pytest.raises((AttributeError, TypeError)):
            change()


def test_what_was_given_may_change_afterwards():
    sizes, own = {"N": 1}, {"threads": 1}
    options = SessionOptions(dimensions=sizes, providers=[("cpu", own)])
    config = {"memory": {"sizes": [1]}}
    routed = SessionOptions(router=("some", config))
    sizes["N"], own["threads"] = 7, 7
    config["memory"]["sizes"].append(2)
    assert routed.router == ("some", {"memory": {"sizes": (1,)}})
    assert options.dimensions == {"N": 1} and options.providers == (("cpu", {"threads": 1}),)


@pytest.mark.parametrize(
    ("call", "near"),
    [
        (lambda: SessionOptions(thread=2), "threads"),
        (lambda: SessionOptions().replace(memory_limt=2), "memory_limit"),
        (lambda: SessionOptions.of({"max_node": 2}), "max_nodes"),
        (lambda: SessionOptions.builder().provder("cpu"), "provider"),
        (lambda: SessionOptions.builder().memory_limits("1MB"), "memory_limit"),
    ],
)
def test_a_typo_is_an_error_with_the_nearest_name(call, near):
    with pytest.raises(OptionError, match=f"did you mean '{near}'"):
        call()


def test_what_is_near_to_nothing_lists_what_there_is():
    with pytest.raises(OptionError, match=r"known: providers, optimization, .*max_depth"):
        SessionOptions(zzz=1)
    with pytest.raises(OptionError, match=r"there are build, .*threads"):
        SessionOptions.builder().zzz()
    assert not hasattr(SessionOptions.builder(), "thread")


@pytest.mark.parametrize(
    "bad",
    [
        {"providers": 3}, {"providers": []}, {"providers": ["cpu", "cpu"]}, {"providers": ("cpu", {"threads": 1})},
        {"providers": [("cpu", 1)]}, {"providers": [("cpu", {}, 3)]},
        {"optimization": 3}, {"optimization": None}, {"precision": None},
        {"disabled_passes": "fuse-gelu"}, {"disabled_passes": 3}, {"disabled_passes": [3]},
        {"dimensions": "N=1"}, {"dimensions": {"N": 1.5}}, {"dimensions": {"N": -1}}, {"dimensions": {1: 1}},
        {"dimensions": {"N": True}}, {"fold_limit": -1}, {"fold_limit": "many"}, {"fold_limit": None},
        {"plan_cache": 0}, {"plan_cache": "3"}, {"threads": None}, {"threads": "all"}, {"threads": True},
        {"deterministic": "no"}, {"deterministic": 1}, {"memory_limit": []}, {"memory_limit": 1.5},
        {"max_model_bytes": 0}, {"max_tensor_bytes": "-1"}, {"max_nodes": 0}, {"max_nodes": None},
        {"max_depth": MAX_DEPTH + 1}, {"router": 3}, {"router": ("a",)}, {"router": ("a", 3)}, {"router": (3, {})},
        {"router": ("a", {3: 4})}, {"router": {}}, {"router": {"a": {}, "b": {}}}, {"router": {"a": "b"}},
    ],
    ids=str,
)  # fmt: skip
def test_values_of_the_wrong_kind_name_the_option(bad):
    with pytest.raises(OptionError, match=r"providers?\b|" + next(iter(bad))):
        SessionOptions(**bad)


@pytest.mark.parametrize(("option", "known"), [("optimization", "none, basic, full"), ("precision", "float32, bf16")])
def test_what_there_is_to_choose_from(option, known):
    with pytest.raises(OptionError, match=f"{option}='bfloat16' is not known\nhint: one of {known}"):
        SessionOptions(**{option: "bfloat16"})


def test_a_router_can_be_given_as_a_name_a_pair_or_a_mapping():
    assert SessionOptions(router="some").router == "some" == SessionOptions(router={"some": {}}).router
    pair = SessionOptions(router=("some", {"a": 1}))
    assert pair == SessionOptions(router={"some": {"a": 1}}) == SessionOptions(router=["some", {"a": 1}])
    assert hash(pair) == hash(SessionOptions(router={"some": {"a": 1}})) and pair != SessionOptions(router="some")


def test_numbers_of_numpy_will_do():
    options = SessionOptions(threads=np.int64(2), dimensions={"N": np.uint8(3)})
    assert options == SessionOptions(threads=2, dimensions={"N": 3}) and type(options.threads) is int


# --- sessions


def test_a_session_takes_providers_from_its_options(relu):
    built = SessionOptions.builder().provider("reference").build()
    assert ronn.Session(relu, options=built).providers == ["reference"]
    assert ronn.Session(relu, options={"providers": "reference"}).providers == ["reference"]
    assert ronn.load(relu).create_session(built).providers == ["reference"]


def test_the_argument_goes_before_the_options(relu, toy):
    built = SessionOptions(providers=["null"])
    assert ronn.Session(relu, providers=["reference"], options=built).providers == ["reference"]
    assert ronn.Session(relu, ["toy", "reference"], built).providers == ["toy", "reference"]


def test_absent_providers_may_be_built_but_not_used(relu):
    built = SessionOptions.builder().provider("cuda").build()
    with pytest.raises(ProviderError, match="there is no provider 'cuda'"):
        ronn.Session(relu, options=built)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"thread": 1}, "did you mean 'threads'"),
        ({"zzz": 1}, "known options"),
        ({"threads": "two"}, "'threads' of provider 'toy' is a whole number, not 'two'"),
        ({"threads": True}, "a whole number"),
        ({"colour": 1}, "is text"),
        ({"fast": 1}, "True or False"),
        ({"ratio": "half"}, "a number"),
    ],
)
def test_options_of_a_provider_are_checked(relu, toy, given, text):
    with pytest.raises(OptionError, match=text):
        ronn.Session(relu, options=SessionOptions.builder().provider("toy", **given).provider("reference").build())


def test_options_of_a_provider_that_will_do(relu, toy):
    built = SessionOptions.builder().provider("toy", threads=2, ratio=1, anything=[1]).provider("reference")
    assert ronn.Session(relu, options=built.build()).providers == ["toy", "reference"]


def test_a_builder_that_was_not_built_is_told_apart(relu):
    with pytest.raises(OptionError, match=r"\.build\(\)"):
        ronn.Session(relu, options=SessionOptions.builder())
    with pytest.raises(OptionError, match="not SessionOptions, a mapping or a file's path"):
        ronn.Session(relu, options=3)


def test_a_dim_that_the_model_does_not_have_is_an_error(relu):
    with pytest.raises(OptionError, match="did you mean 'batch'"):
        ronn.Session(relu, options={"dimensions": {"bach": 1}})
    assert ronn.Session(relu, options={"dimensions": {"batch": 1}}).run(np.ones(1, np.float32))[0] == 1


def test_every_mistake_is_a_ronn_error_and_a_value_error():
    with pytest.raises(RonnError):
        SessionOptions(zzz=1)
    with pytest.raises(ValueError, match="zzz"):
        SessionOptions(zzz=1)


def test_a_dim_whose_name_is_no_word_can_be_fixed() -> None:
    value = h.make_tensor_value_info("x", T.FLOAT, ["Dynamic.0", 2])
    out = h.make_tensor_value_info("y", T.FLOAT, None)
    model = h.make_model(h.make_graph([h.make_node("Relu", ["x"], ["y"])], "g", [value], [out]))
    session = ronn.Session(model, options={"dimensions": {"Dynamic.0": 3}})
    assert session.run(np.ones((3, 2), np.float32))["y"].shape == (3, 2)
    with pytest.raises(ronn.InputError, match=r"dim 'Dynamic\.0' is 4"):
        session.run(np.ones((4, 2), np.float32))
