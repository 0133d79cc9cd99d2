"""Products with weights of one and two bits against float32 and against other runtimes' kernels, end to end: see
``python -m benchmarks.bitnet --help``."""
