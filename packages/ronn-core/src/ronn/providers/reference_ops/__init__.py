"""Operators that ``onnx.reference`` lacks or computes against the specification, as NumPy kernels."""

from __future__ import annotations

from ronn.provider import KernelSet


def kernel_set() -> KernelSet:
    """Every kernel of this package and of the ``com.microsoft`` operators, by operator."""
    from ronn.ops import contrib
    from ronn.providers.reference_ops import containers, convolution, legacy, missing, quantise, recurrent

    found = KernelSet.from_module(containers, convolution, legacy, missing, quantise, recurrent)
    found.extend(contrib.kernels())
    return found
