"""eliminate-identity: nodes that change nothing go, those that do stay."""

from __future__ import annotations

from typing import Any

import pytest

from ronn.passes.eliminate_identity import eliminate_identity


def text(body: str, shape: str = "2,3", opset: int = 18) -> str:
    """A graph whose ``body`` makes %m from %h; around it stand Exp and Neg."""
    head = f'opset {{"": {opset}}}\ngraph g(%x: f32[{shape}]) {{\n  %h = Exp(%x)\n'
    return f"{head}{body}  %y = Neg(%m)\n  return %y\n}}\n"


GONE = {
    "Identity": "%m = Identity(%h)",
    "Dropout": "%m, %k = Dropout(%h)",
    "Dropout in inference": "%t: bool[] = const {false}\n%r: f32[] = const {0.5}\n%m = Dropout(%h, %r, %t)",
    "Cast to the same": "%m = Cast(%h) {to=1}",
    "CastLike to the same": "%m = CastLike(%h, %x)",
    "Cast there and back": "%d = Cast(%h) {to=11}\n%m = Cast(%d) {to=1}",
    "Reshape to the same": "%s: i64[2] = const {2, 3}\n%m = Reshape(%h, %s)",
    "Reshape there and back":
        "%s: i64[1] = const {6}\n%t: i64[2] = const {2, 3}\n%r = Reshape(%h, %s)\n%m = Reshape(%r, %t)",
    "Transpose by nothing": "%m = Transpose(%h) {perm=[0, 1]}",
    "Slice of all": "%a: i64[1] = const {0}\n%b: i64[1] = const {99}\n%m = Slice(%h, %a, %b)",
    "Pad by nothing": "%p: i64[4] = const {0, 0, 0, 0}\n%m = Pad(%h, %p)",
    "Expand to the same": "%s: i64[2] = const {1, 3}\n%m = Expand(%h, %s)",
    "Tile once": "%s: i64[2] = const {1, 1}\n%m = Tile(%h, %s)",
    "Concat of one": "%m = Concat(%h) {axis=0}",
    "Sum of one": "%m = Sum(%h)",
    "Max of one": "%m = Max(%h)",
    "Clip without bounds": "%m = Clip(%h)",
    "Split into one": "%m = Split(%h) {num_outputs=1}",
    "Unsqueeze and Squeeze": "%a: i64[1] = const {1}\n%u = Unsqueeze(%h, %a)\n%m = Squeeze(%u, %a)",
    "Unsqueeze, Squeeze from the end": "%a: i64[1] = const {-1}\n%u = Unsqueeze(%h, %a)\n%m = Squeeze(%u, %a)",
    "reduction over nothing": "%a: i64[0] = const {}\n%m = ReduceSum(%h, %a) {noop_with_empty_axes=1}",
    "Flatten of two dims": "%m = Flatten(%h)",
}  # fmt: skip
STAYS = {
    "training Dropout": "%t: bool[] = const {true}\n%r: f32[] = const {0.0}\n%m = Dropout(%h, %r, %t)",
    "Cast to less and back": "%d = Cast(%h) {to=10}\n%m = Cast(%d) {to=1}",
    "Cast to ints and back": "%d = Cast(%h) {to=6}\n%m = Cast(%d) {to=1}",
    "Reshape to another": "%s: i64[2] = const {3, 2}\n%m = Reshape(%h, %s)",
    "Transpose": "%m = Transpose(%h)",
    "Slice backwards":
        "%a: i64[1] = const {99}\n%b: i64[1] = const {-99}\n%s: i64[1] = const {-1}\n%z: i64[1] = const {1}\n"
        "%m = Slice(%h, %a, %b, %z, %s)",
    "Pad and crop": "%p: i64[4] = const {1, 0, -1, 0}\n%m = Pad(%h, %p)",
    "Expand": "%s: i64[3] = const {2, 1, 1}\n%m = Expand(%h, %s)",
    "Tile twice": "%s: i64[2] = const {1, 2}\n%m = Tile(%h, %s)",
    "Concat": "%m = Concat(%h, %h) {axis=0}",
    "Unsqueeze and Squeeze elsewhere":
        "%a: i64[1] = const {0}\n%b: i64[1] = const {-1}\n%c: i64[2] = const {2, 3}\n%u = Unsqueeze(%h, %a)\n"
        "%v = Unsqueeze(%u, %b)\n%m = Squeeze(%v, %a)",
    "sum over all": "%a: i64[0] = const {}\n%m = ReduceSum(%h, %a)",
}  # fmt: skip


@pytest.mark.parametrize("body", GONE.values(), ids=GONE)
def test_goes(apply: Any, body: str) -> None:
    done = apply(eliminate_identity, text(body + "\n"), compare="Dropout" not in body or "%t" not in body)
    assert done.ops == ["Exp", "Neg"]


@pytest.mark.parametrize("body", STAYS.values(), ids=STAYS)
def test_stays(apply: Any, body: str) -> None:
    # The reference takes neither random masks nor negative pads.
    done = apply(eliminate_identity, text(body + "\n"), compare="Dropout" not in body and "Pad" not in body)
    assert not done.changed


@pytest.mark.parametrize(("opset", "training", "gone"), [(10, "", True), (6, "", False), (6, " {is_test=1}", True)])
def test_dropout_of_old_opsets(apply: Any, opset: int, training: str, gone: bool) -> None:
    done = apply(eliminate_identity, text(f"  %m = Dropout(%h){training}\n", opset=opset), compare=False)
    assert done.changed is gone


def test_used_mask_keeps_dropout(apply: Any) -> None:
    body = 'opset {"": 18}\ngraph g(%x: f32[2]) {\n  %y, %k = Dropout(%x)\n  %z = Neg(%y)\n  return %z, %k\n}\n'
    assert not apply(eliminate_identity, body).changed


def test_symbolic_dims_that_are_equal(apply: Any) -> None:
    body = "  %s = Shape(%h)\n  %m = Expand(%h, %s)\n"
    assert apply(eliminate_identity, text(body, "N,K")).ops == ["Exp", "Neg"]


def test_unknown_dims_are_not_trusted(apply: Any) -> None:
    body = "  %s: i64[2] = const {-1, 3}\n  %m = Reshape(%h, %s)\n"
    done = apply(eliminate_identity, text(body, "?,?"), feeds=None, compare=False)
    assert not done.changed


def test_outputs_stay_values_of_their_own(apply: Any) -> None:
    head = 'opset {"": 18}\ngraph g(%x: f32[2]) {\n'
    same = apply(eliminate_identity, head + "  %y = Identity(%x)\n  return %y\n}\n")
    assert same.ops == ["Identity"]
    twice = apply(eliminate_identity, head + "  %a = Exp(%x)\n  %b = Identity(%a)\n  return %a, %b\n}\n")
    assert twice.ops == ["Exp", "Identity"]
    one = apply(eliminate_identity, head + "  %a = Exp(%x)\n  %b = Identity(%a)\n  return %b\n}\n")
    assert one.ops == ["Exp"] and one.graph.output_names == ["b"]


def test_inside_a_branch(apply: Any) -> None:
    body = """opset {"": 18}
graph g(%c: bool[], %x: f32[2]) {
  %y = If(%c) {
    then_branch=graph () {
      %a = Identity(%x)
      %b = Exp(%a)
      %t = Identity(%b)
      return %t
    },
    else_branch=graph () {
      %e = Identity(%x)
      return %e
    }
  }
  return %y
}
"""
    branch = apply(eliminate_identity, body).graph.nodes[0]
    assert [n.op for n in branch.attributes["then_branch"]] == ["Exp"]
    assert [n.op for n in branch.attributes["else_branch"]] == ["Identity"]
