"""Linear and convolution layers that train weights of one or two bits, and models that get them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ronn_provider_bitnet.training import TrainingError, quantisers

BITS = (1, 1.58)
ACTIVATIONS = (1, 8, None)


class _Bits:
    """What both layers have: float weights that are trained, and the quantised ones that are used.

    bits: of a weight: 1 (binary), 1.58 (ternary), or None: as they are, which ``freeze`` leaves behind.
    activations: bits of the inputs: 8, rounded by token or image; 1, their signs; None, as they are.
    per_row: whether each output has a scale of its own, or all have one.
    """

    weight: nn.Parameter
    bits: float | None
    activations: int | None
    per_row: bool

    def set_bits(self, bits: float | None, activations: int | None, per_row: bool) -> None:
        if bits is not None and bits not in BITS:
            raise TrainingError(f"weights of {bits} bits", hint="bits is 1 (binary) or 1.58 (ternary)")
        if activations not in ACTIVATIONS:
            raise TrainingError(f"activations of {activations} bits", hint="activations is 8, 1 (signs) or None")
        self.bits, self.activations, self.per_row = bits, activations, per_row

    def quantised_weight(self) -> Tensor:
        if self.bits is None:
            return self.weight
        return (quantisers.binary if self.bits == 1 else quantisers.ternary)(self.weight, per_row=self.per_row)

    def quantised_input(self, x: Tensor, axes: tuple[int, ...]) -> Tensor:
        if self.activations is None:
            return x
        return quantisers.signs(x) if self.activations == 1 else quantisers.eight_bits(x, axes)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, bits={self.bits}, activations={self.activations}, per_row={self.per_row}"  # type: ignore[misc]


class BitLinear(_Bits, nn.Linear):
    """``torch.nn.Linear`` with weights of one or two bits; inputs float[..., K], rounded by row.

    Arguments are those of Linear, then ``bits``, ``activations`` and ``per_row``.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, bits: float | None = 1.58,
        activations: int | None = 8, per_row: bool = True, **place: Any,
    ) -> None:  # fmt: skip
        super().__init__(in_features, out_features, bias, **place)
        self.set_bits(bits, activations, per_row)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(self.quantised_input(x, (-1,)), self.quantised_weight(), self.bias)


class BitConv2d(_Bits, nn.Conv2d):
    """``torch.nn.Conv2d`` with weights of one or two bits; inputs float[N, C, H, W], rounded by image.

    Arguments are those of Conv2d, then ``bits``, ``activations`` and ``per_row``. Padding is with zeros, of signs too.
    """

    def __init__(
        self, *arguments: Any, bits: float | None = 1.58, activations: int | None = 8, per_row: bool = True,
        **keywords: Any,
    ) -> None:  # fmt: skip
        super().__init__(*arguments, **keywords)
        self.set_bits(bits, activations, per_row)

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(self.quantised_input(x, (-3, -2, -1)), self.quantised_weight(), self.bias)


_BIT_LAYERS: dict[type, Any] = {nn.Linear: BitLinear, nn.Conv2d: BitConv2d}


def convert(
    model: nn.Module, *, bits: float = 1.58, activations: int | None = 8, per_row: bool = True, edges: bool = False,
    skip: Collection[str] = (),
) -> list[str]:  # fmt: skip
    """Makes the Linear and Conv2d layers of a model, in place, such with weights of one or two bits, and gives their
    names. They keep their float weights (the same parameters), so a trained model is a warm start.

    edges: the first and the last layer as well; both lose the most.
    skip: names of layers to leave alone.
    Also left: convolutions by groups, layers whose weights another module has too.

    Raises TrainingError where no layer is left, or ``skip`` names none.
    """
    layers = {name: layer for name, layer in model.named_modules() if type(layer) in _BIT_LAYERS}
    if unknown := set(skip) - set(layers):
        raise TrainingError(f"no layer {', '.join(map(repr, sorted(unknown)))}", hint=f"layers: {', '.join(layers)}")
    names = [name for name in layers if name not in skip]
    owners = [id(p) for module in model.modules() for p in module._parameters.values()]
    found = [
        name for name in (names if edges else [n for n in names if n not in (*list(layers)[:1], *list(layers)[-1:])])
        if name and owners.count(id(layers[name].weight)) == 1 and getattr(layers[name], "groups", 1) == 1
    ]  # fmt: skip
    if not found:
        raise TrainingError("no layer to convert", hint="edges=True converts the first and the last layer as well")
    for name in found:
        old = layers[name]
        new = _BIT_LAYERS[type(old)].__new__(_BIT_LAYERS[type(old)])
        new.__dict__.update(old.__dict__)
        new.set_bits(bits, activations, per_row)
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, new)
    return found


@torch.no_grad()
def freeze(model: nn.Module) -> nn.Module:
    """Puts the quantised weights, in place, where the float ones were; nothing that the model computes changes."""
    for layer in model.modules():
        if isinstance(layer, _Bits):
            layer.weight.copy_(layer.quantised_weight())
            layer.bits = None
    return model
