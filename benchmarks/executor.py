"""What the executor itself costs: a launch, a kernel more, a barrier, the Python around a run. Writes executor.json.

python -m benchmarks.executor [--threads T ...]
"""

from __future__ import annotations

import argparse
import json
import timeit
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

import ronn
from benchmarks.machine import describe
from ronn_codegen.native.library import library
from ronn_provider_cpu.engine.measure import ceilings, launch_costs

RESULTS = Path(__file__).parent / "results" / "executor.json"


def smallest_run() -> float:
    """Microseconds of a run of one native kernel on 8 x 8 floats: next to nothing but overhead."""
    node = helper.make_node("Transpose", ["x"], ["y"])
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [8, 8])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = ronn.Session(model.SerializeToString(), providers=["cpu"])
    x = np.ones((8, 8), np.float32)
    session.run(x)
    return min(timeit.repeat(lambda: session.run(x), number=2000, repeat=15)) / 2000 * 1e6


def measure(threads: list[int]) -> dict[str, Any]:
    """Everything, with the machine and its load."""
    rows = []
    for count in threads:
        costs, most = launch_costs(library(), count), ceilings(library(), count)
        rows.append(
            {
                "threads": count,
                **{f"{name}_ns": round(value, 1) for name, value in costs.items()},
                "gflops": round(most.flops / 1e9, 1),
                "memory_gb_s": round(most.memory / 1e9, 1),
                "cache_gb_s": round(most.cache / 1e9, 1),
            }
        )
    return {"machine": describe(), "smallest_run_us": round(smallest_run(), 2), "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    found = measure(parser.parse_args().threads)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found["rows"], indent=1), f"smallest run: {found['smallest_run_us']} us", sep="\n")


if __name__ == "__main__":
    main()
