"""The goals of ronn-hrm, measured: `python -m benchmarks.hrm`."""
