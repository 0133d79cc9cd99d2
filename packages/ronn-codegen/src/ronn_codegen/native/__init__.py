"""From numba functions to machine code that a process maps and calls without importing numba."""
