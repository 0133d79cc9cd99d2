"""What ``ronn.op`` accepts and refuses, and what it reads off a function."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from custom_models import DOMAIN, model, node

import ronn
from ronn.custom import find
from ronn.entry_points import EntryPoint
from ronn.errors import ModelError, OptionError
from ronn.ops.schema import find_schema
from ronn.plugins import Registry


def squash(x, *, scale: float = 1.0):
    return x / scale


def test_a_signature_becomes_a_schema():
    @ronn.op(DOMAIN, "Many", 2, outputs=("values", "places"))
    def many(
        x, mask=None, *more, k: int, sorted: bool = True, mode: Literal["a", "b"] = "a", scales: list[float] = (1,),
        names=("u",), table: np.ndarray | None = None,
    ):  # fmt: skip
        return x, x

    schema = find_schema(DOMAIN, "Many", 3)
    assert schema is not None
    assert [(f.name, f.optional, f.variadic) for f in schema.inputs] == [
        ("x", False, False), ("mask", True, False), ("more", False, True),
    ]  # fmt: skip
    assert [f.name for f in schema.outputs] == ["values", "places"]
    assert schema.attributes == {
        "k": "INT", "sorted": "INT", "mode": "STRING", "scales": "FLOATS", "names": "STRINGS", "table": "TENSOR",
    }  # fmt: skip
    assert schema.required == {"k"}
    assert schema.defaults == {"sorted": True, "mode": "a", "scales": [1.0], "names": ["u"]}
    assert (schema.since, schema.min_inputs) == (2, 1)
    assert find_schema(DOMAIN, "Many", 1) is None


@pytest.mark.parametrize(
    ("annotation", "count"),
    [("np.ndarray", 1), ("tuple[np.ndarray, np.ndarray]", 2), ("tuple[int, ...]", 1), ("Undefined[3]", 1)],
)
def test_the_return_annotation_tells_how_many_outputs_there_are(annotation, count):
    def f(x):
        return x

    f.__annotations__["return"] = annotation
    ronn.op(DOMAIN, "F", 1)(f)
    assert len(find(DOMAIN, "F").signature.outputs) == count


def test_the_function_stays_what_it_is():
    assert ronn.op(DOMAIN, "Squash", 1)(squash) is squash


@pytest.mark.parametrize(
    ("fn", "says", "cure"),
    [
        (lambda x, **more: x, r"takes \*\*more", "name the attributes"),
        (lambda x, y=3: x, "input 'y' of .* has the default 3", "behind a \\*"),
        (lambda x, *, k: x, "attribute 'k' .* has no type", "annotate it: k: float"),
        (lambda x, *, k=None: x, "attribute 'k' .* has no type: .* the default None", "annotate it"),
    ],
)
def test_functions_that_no_operator_can_have(fn, says, cure):
    with pytest.raises(OptionError, match=says) as e:
        ronn.op(DOMAIN, "F", 1)(fn)
    assert e.value.hint is not None
    assert re.search(cure, e.value.hint)
    assert find(DOMAIN, "F") is None


def test_annotations_that_no_attribute_can_have():
    def f(x, *, k: dict[str, int]):
        return x

    with pytest.raises(OptionError, match=r"attribute 'k' .* annotated as dict\[str, int\]"):
        ronn.op(DOMAIN, "F", 1)(f)

    def g(x, *, k: Undefined):  # noqa: F821
        return x

    with pytest.raises(OptionError, match=r"'Undefined' of .* cannot be read"):
        ronn.op(DOMAIN, "F", 1)(g)

    def h(x, *, k: int = "three"):
        return x

    with pytest.raises(OptionError, match=r"the default of attribute 'k' .* must be INT, not STRING"):
        ronn.op(DOMAIN, "F", 1)(h)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"shape": "T[N]"}, "has no '->'"),
        ({"shape": "T[N], T[N] -> T[N]"}, "has 2 inputs, the function 1"),
        ({"shape": "T[N] -> T[N], T[N]"}, "has 2 outputs, the function 1"),
        ({"shape": "T[N -> T[N]"}, "is no type"),
        ({"shape": "floot32[N] -> T[N]"}, "no element type 'floot32'.*\n.*'float32'"),
        ({"shape": "T[N+] -> T[N]"}, "not a dim"),
        ({"shape": "T[..., N, ...] -> T[N]"}, "more than one"),
        ({"shape": "*T[N] -> T[N]"}, r"a \* stands before"),
        ({"shape": 3}, "a text such as"),
        ({"dtypes": {"z": "floats"}}, "'z', which is no input"),
        ({"dtypes": "flaots"}, "no element type 'flaots'"),
        ({"outputs": 0}, "a number of outputs"),
        ({"outputs": ("a", "a")}, "a number of outputs"),
        ({"loop": "elementvise"}, "'elementvise'.*\n.*'elementwise'"),
        ({"loop": "rows", "outputs": 2}, "loops have one"),
        ({"body": [3]}, "cannot be read"),
    ],
)
def test_options_that_are_wrong(options, says):
    with pytest.raises(OptionError, match=says):
        ronn.op(DOMAIN, "Squash", 1, **options)(squash)
    assert find(DOMAIN, "Squash") is None


def test_names_and_versions_that_are_wrong():
    for given in ((DOMAIN, "My Op", 1), (DOMAIN, "MyOp", 0), (DOMAIN, "MyOp", "1")):
        with pytest.raises(OptionError):
            ronn.op(*given)(squash)
    with pytest.raises(OptionError, match=r"an operator of ONNX") as e:
        ronn.op("", "Relu", 1)(squash)
    assert "domain of its own" in e.value.hint
    with pytest.raises(OptionError, match=r"an operator of RONN or a plugin"):
        ronn.op("com.microsoft", "FastGelu", 1)(squash)


def test_another_function_for_the_same_version_is_refused():
    ronn.op(DOMAIN, "Squash", 1)(squash)
    with pytest.raises(OptionError, match=r"registered already: Python function squash") as e:
        ronn.op(DOMAIN, "Squash", 1)(lambda x: x)
    assert "ronn.remove_op" in e.value.hint
    ronn.op(DOMAIN, "Squash", 2)(lambda x: x)
    assert find(DOMAIN, "Squash", 1).fn is squash
    assert find(DOMAIN, "Squash", 7).since == 2


def test_the_same_function_again_replaces_it():
    """As a cell of a notebook does that is run twice."""
    cell = f"@ronn.op({DOMAIN!r}, 'Cell', 1, shape='T -> T')\ndef cell(x):\n    return x * %d\n"
    scope = {"ronn": ronn, "np": np, "__name__": "__main__"}
    x = np.ones(2, np.float32)
    for factor in (2, 3):
        exec(cell % factor, scope)
        s = ronn.Session(model([node("Cell", ["x"], ["y"])]))
        assert s.run(x)["y"].tolist() == [factor, factor]


def test_a_reloaded_module_replaces_its_operators(tmp_path, monkeypatch):
    path = tmp_path / "ops_of_mine.py"
    path.write_text(f"import ronn\n@ronn.op({DOMAIN!r}, 'Mine', 1)\ndef mine(x):\n    return x + 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("ops_of_mine")
    first = find(DOMAIN, "Mine").fn
    importlib.reload(module)
    assert find(DOMAIN, "Mine").fn is not first
    del sys.modules["ops_of_mine"]


def test_what_is_removed_is_gone():
    ronn.op(DOMAIN, "Squash", 1)(squash)
    ronn.remove_op(DOMAIN, "Squash")
    assert find(DOMAIN, "Squash") is None
    assert find_schema(DOMAIN, "Squash", 1) is None
    with pytest.raises(ronn.PlacementError, match=f"{DOMAIN}::Squash") as e:
        ronn.Session(model([node("Squash", ["x"], ["y"])]))
    assert f"@ronn.op('{DOMAIN}', 'Squash', 1)" in e.value.hint
    ronn.op(DOMAIN, "Other", 1)(squash)
    with pytest.raises(OptionError, match=r"no operator test.custom::Othre is registered") as e:
        ronn.remove_op(DOMAIN, "Othre")
    assert "test.custom::Other" in e.value.hint


def test_an_unregistered_neighbour_is_named():
    ronn.op(DOMAIN, "Squash", 1)(squash)
    with pytest.raises(ronn.PlacementError, match=r"there is test.custom::Squash"):
        ronn.Session(model([node("Sqash", ["x"], ["y"])]))


def test_a_model_of_an_older_version():
    ronn.op(DOMAIN, "Squash", 3)(squash)
    with pytest.raises(ronn.PlacementError, match=r"registered for versions from 3 on; the model imports 2"):
        ronn.Session(model([node("Squash", ["x"], ["y"])], version=2))


@pytest.mark.parametrize(
    ("attributes", "inputs", "says"),
    [
        ({"scal": 1.0}, ["x"], "no attribute 'scal' .*\n(.*\n)*hint: did you mean 'scale'"),
        ({"scale": "much"}, ["x"], "attribute 'scale' of test.custom::Squash must be FLOAT, not STRING"),
        ({}, ["x", "x"], r"takes 1 inputs \(x\), not 2"),
        ({}, [""], "input 'x' of test.custom::Squash is left out"),
    ],
)
def test_nodes_that_do_not_fit(attributes, inputs, says):
    ronn.op(DOMAIN, "Squash", 1)(squash)
    with pytest.raises(ModelError, match=says):
        ronn.Session(model([node("Squash", inputs, ["y"], name="n", **attributes)]))


def test_more_outputs_than_the_function_has():
    ronn.op(DOMAIN, "Squash", 1)(squash)
    with pytest.raises(ModelError, match=r"has 1 output\(s\), the node 2"):
        ronn.Session(model([node("Squash", ["x"], ["y", "z"])]))


def test_choices_and_required_attributes():
    @ronn.op(DOMAIN, "Choose", 1, shape="T -> T")
    def choose(x, *, mode: Literal["up", "down"], by: int):
        return x + by if mode == "up" else x - by

    x = np.ones(1, np.float32)
    assert ronn.Session(model([node("Choose", ["x"], ["y"], mode="down", by=3)])).run(x)["y"].tolist() == [-2]
    with pytest.raises(ModelError, match=r"'mode' .* is 'left', not one of 'up', 'down'"):
        ronn.Session(model([node("Choose", ["x"], ["y"], mode="left", by=3)]))
    with pytest.raises(ModelError, match=r"'by' of test.custom::Choose is missing"):
        ronn.Session(model([node("Choose", ["x"], ["y"], mode="up")]))


def test_dtypes_are_a_constraint():
    ronn.op(DOMAIN, "Squash", 1, dtypes={"x": "float64 ints"})(squash)
    with pytest.raises(ModelError, match=r"input 0 \(x\) is float; test.custom::Squash takes float64"):
        ronn.Session(model([node("Squash", ["x"], ["y"])]))


@pytest.mark.parametrize("target", ["ops_of_a_package", "ops_of_a_package:mine"])
def test_an_entry_point_may_name_a_module_of_operators(tmp_path, monkeypatch, target):
    (tmp_path / "ops_of_a_package.py").write_text(
        f"import ronn\n@ronn.op({DOMAIN!r}, 'Mine', 1)\ndef mine(x):\n    return x + 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    records = Registry([EntryPoint("mine", target, "a-package", "1.0")]).records
    (record,) = [r for r in records if r.name == "mine"]
    assert record.ok
    assert find(DOMAIN, "Mine") is not None
    del sys.modules["ops_of_a_package"]


def test_an_entry_point_that_clashes_is_told_with_the_reason(tmp_path, monkeypatch):
    ronn.op(DOMAIN, "Mine", 1)(squash)
    text = f"import ronn\n@ronn.op({DOMAIN!r}, 'Mine', 1)\ndef mine(x):\n    return x\n"
    (tmp_path / "clashing_ops.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    records = Registry([EntryPoint("mine", "clashing_ops", "a-package", "1.0")]).records
    (record,) = [r for r in records if r.name == "mine"]
    assert "test.custom::Mine of version 1 is registered already: Python function squash" in record.reason
