"""Kernels as C-like text: one walk over loops, templates, and what a device needs to run them (OpenCL C, CUDA C, C)."""
