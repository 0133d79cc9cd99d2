"""Latency and energy of a model on an accelerator, estimated from its profile: nothing is run, nothing is measured."""

from ronn_provider_npu.estimate.cost import Cost
from ronn_provider_npu.estimate.estimate import Estimate, estimate

__all__ = ["Cost", "Estimate", "estimate"]
