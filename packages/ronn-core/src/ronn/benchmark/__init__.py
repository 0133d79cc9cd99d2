"""How long a model takes: quantiles over threads, callers and sizes, beside other runtimes, with what disturbed it."""

from __future__ import annotations

from ronn.benchmark.data import Benchmark, Row
from ronn.benchmark.measure import benchmark

__all__ = ["Benchmark", "Row", "benchmark"]
