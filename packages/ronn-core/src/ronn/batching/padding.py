"""Padding: requests that differ in a dim are brought to a few sizes of it, and their outputs cut back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.batching.join import Request
from ronn.errors import OptionError, nearest
from ronn.ir.dims import Sym
from ronn.records import dataclass, field

if TYPE_CHECKING:
    from ronn.session import Session


@dataclass(frozen=True)
class Pad:
    """How a dim that differs from request to request is filled up. It is on you to know that the model gives the same
    for what was there before, for instance since an attention mask of zeros hides the rest.

    value: what is put in; ``values`` has another one for inputs by name.
    sizes: those that the dim may have; a request that is larger than all of them stays as it is. Default: powers of
        two.
    front: whether the padding lies in front, instead of behind.
    outputs: for outputs whose shapes do not tell, the axis along which the padding is cut off again.
    """

    value: Any = 0
    values: Mapping[str, Any] = field(default_factory=dict)
    sizes: Sequence[int] = ()
    front: bool = False
    outputs: Mapping[str, int] = field(default_factory=dict)

    def size_for(self, size: int) -> int:
        """The size that a dim of ``size`` is brought to."""
        if not self.sizes:
            return 1 << max(size - 1, 0).bit_length()
        return next((s for s in sorted(self.sizes) if s >= size), size)


class Padding:
    """The rules of a ``Batcher``, held against the dims of its model.

    Raises OptionError for a dim that no input has, and for outputs that could not be cut back.
    """

    def __init__(self, session: Session, rules: Mapping[str, Any]) -> None:
        self._rules = {n: r if isinstance(r, Pad) else Pad(r) for n, r in rules.items()}
        self._inputs: dict[str, list[tuple[int, str]]] = {}
        self._outputs: dict[str, list[tuple[int, str]]] = {}
        known: set[str] = set()
        for value in session.model.graph.inputs:
            shape = value.tensor.shape
            for axis, dim in enumerate(shape if shape is not None else ()):
                if isinstance(dim, Sym) and dim.is_name:
                    known.add(_name(dim))
                    if _name(dim) in self._rules:
                        self._inputs.setdefault(value.name, []).append((axis, _name(dim)))
        for name in self._rules:
            if name not in known:
                near = nearest(name, sorted(known))
                raise OptionError(
                    f"pad: no input has a dim {name!r}; there are {', '.join(map(repr, sorted(known))) or 'none'}",
                    hint=f"did you mean {near!r}?" if near else None,
                )
        for info in session.outputs:
            self._find_cuts(info.name, getattr(info.type, "shape", None))

    def _find_cuts(self, output: str, shape: Sequence[Any] | None) -> None:
        for name, rule in self._rules.items():
            if output in rule.outputs:
                self._outputs.setdefault(output, []).append((rule.outputs[output], name))
                continue
            if shape is None or None in shape:
                raise self._cannot(output, name, "a shape that is not known")
            for axis, dim in enumerate(shape):
                if isinstance(dim, Sym) and name in dim.names():
                    if not dim.is_name:
                        raise self._cannot(output, name, f"a dim {dim}")
                    self._outputs.setdefault(output, []).append((axis, name))

    def _cannot(self, output: str, name: str, what: str) -> OptionError:
        return OptionError(
            f"pad: output {output!r} has {what}, so it cannot be cut back from a padded {name!r}",
            hint=f"say along which axis: pad={{{name!r}: ronn.Pad(outputs={{{output!r}: AXIS}})}}",
        )

    def apply(self, request: Request) -> Request:
        """The request with its dims filled up, and with what is to be cut from its outputs."""
        if not all(isinstance(request.values.get(n), np.ndarray) for n in self._inputs):
            return request
        sizes = {dim: request.values[n].shape[axis] for n, axes in self._inputs.items() for axis, dim in axes}
        targets = {dim: self._rules[dim].size_for(size) for dim, size in sizes.items()}
        if targets == sizes:
            return request
        values = dict(request.values)
        for name, axes in self._inputs.items():
            for axis, dim in axes:
                values[name] = self._filled(values[name], name, axis, dim, targets[dim] - sizes[dim])
        cut = {}
        for name, axes in self._outputs.items():
            where = [slice(None)] * (1 + max(axis for axis, _ in axes))
            for axis, dim in axes:
                extra, front = targets[dim] - sizes[dim], self._rules[dim].front
                where[axis] = slice(extra, None) if front else slice(0, sizes[dim])
            cut[name] = tuple(where)
        return Request(values, request.outputs, request.rows, request.key, cut)

    def _filled(self, array: np.ndarray, name: str, axis: int, dim: str, extra: int) -> np.ndarray:
        rule = self._rules[dim]
        shape = (*array.shape[:axis], extra, *array.shape[axis + 1 :])
        more = np.full(shape, rule.values.get(name, rule.value), array.dtype)
        return np.concatenate([more, array] if rule.front else [array, more], axis=axis)


def _name(dim: Sym) -> str:
    return str(dim.terms[0][0][0])
