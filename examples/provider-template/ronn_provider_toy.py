"""Execution provider ``toy``: two operators of float32, in NumPy."""

import numpy as np

from ronn.provider import KernelContext, KernelProvider, kernel


class ToyProvider(KernelProvider):
    """Each method is a kernel: it claims nodes of its operator whose first input has one of its dtypes."""

    name = "toy"

    @kernel("Relu", since=6, dtypes="float32")
    def relu(self, ctx: KernelContext, x: np.ndarray) -> np.ndarray:
        return np.where(x < 0, np.float32(0), x)

    @kernel("Add", since=7, dtypes="float32")
    def add(self, ctx: KernelContext, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(a + b)
